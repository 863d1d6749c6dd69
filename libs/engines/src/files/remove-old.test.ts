import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { GgufFolder } from './gguf-folder.ts'
import { OllamaFolder } from './ollama-folder.ts'

const folder = async () => {
  const path = await mkdtemp(join(tmpdir(), 'drover-old-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
const put = async (path: string, hours: number) => {
  await writeFile(path, 'x')
  const then = new Date(Date.now() - hours * 3_600_000)
  await utimes(path, then, then)
}

test('what has not become whole for a day is removed, and nothing else', async () => {
  const root = await folder()
  await mkdir(join(root, 'blobs'))
  const [blob, old, fresh] = [`sha256-${'a'.repeat(64)}`, `sha256-${'b'.repeat(64)}-drover`, `sha256-${'c'.repeat(64)}-drover`]
  for (const [name, hours] of [[blob, 50], [old, 25], [fresh, 23], ['notes', 50]] as const) await put(join(root, 'blobs', name), hours)
  await new OllamaFolder(root).sweep()
  expect((await readdir(join(root, 'blobs'))).toSorted()).toEqual(['notes', blob, fresh].toSorted())

  const models = new GgufFolder(await folder())
  await put(join(models.root, 'model.gguf'), 50)
  await put(await models.partOf('old.gguf', 'a'.repeat(64)), 25)
  await put(await models.partOf('fresh.gguf', 'b'.repeat(64)), 23)
  await models.sweep()
  expect((await readdir(models.root, { recursive: true })).toSorted()).toEqual(['.incoming', '.incoming/bbbbbbbbbbbbbbbb-fresh.gguf', 'model.gguf'])
})

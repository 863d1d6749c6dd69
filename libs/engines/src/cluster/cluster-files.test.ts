import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { clusterFiles } from './cluster-files.ts'

const SMALL = fileURLToPath(new URL('../../../../deploy/model/drover-small.gguf', import.meta.url))

test('models of a folder and of an Ollama are found under the names that people use, and one blob serves all its names', async () => {
  const root = await mkdtemp(join(tmpdir(), 'drover-files-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const [folder, store] = [join(root, 'models'), join(root, 'ollama')]
  const names = join(store, 'manifests/registry.ollama.ai/library/tale')
  for (const each of [folder, names, join(store, 'blobs')]) await mkdir(each, { recursive: true })
  await copyFile(SMALL, join(folder, 'story.gguf'))
  const digest = createHash('sha256').update(await readFile(SMALL)).digest('hex')
  const blob = join(store, 'blobs', `sha256-${digest}`)
  await copyFile(SMALL, blob)
  const manifest = JSON.stringify({ layers: [{ mediaType: 'application/vnd.ollama.image.model', digest: `sha256:${digest}` }] })
  for (const tag of ['1b', 'latest']) await writeFile(join(names, tag), manifest)
  const leftOut: string[] = []
  const files = clusterFiles({ folder, stores: [store, join(root, 'none')], onLeftOut: (model, reason) => void leftOut.push(`${model} ${reason}`) })
  const found = await files()
  expect(Object.fromEntries(found.map(({ model, path }) => [model, path]))).toEqual({ 'story:latest': join(folder, 'story.gguf'), 'tale:1b': blob, 'tale:latest': blob })
  expect(new Set(found.map(({ facts: { shape } }) => shape.layers.length)).size).toBe(1)
  expect(leftOut).toEqual([])
  // Of two with one name that of the folder counts.
  await copyFile(SMALL, join(folder, 'tale.gguf'))
  expect((await files()).find(({ model }) => model === 'tale:latest')?.path).toBe(join(folder, 'tale.gguf'))
})

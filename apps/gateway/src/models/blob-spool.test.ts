import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BlobSpool } from './blob-spool.ts'

test('what nobody has used for an hour is removed, and nothing else of that folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-blobs-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [old, used, fresh, draft, foreign] = [`sha256-${'a'.repeat(64)}`, `sha256-${'b'.repeat(64)}`, `sha256-${'c'.repeat(64)}`, '.draft-x', 'notes.txt']
  for (const name of [old, used, fresh, draft, foreign]) await writeFile(join(folder, name), 'x')
  const longAgo = new Date(Date.now() - 2 * 3_600_000)
  for (const name of [old, used, draft, foreign]) await utimes(join(folder, name), longAgo, longAgo)
  const spool = new BlobSpool({ folder, most: 1e9, onError: (error) => expect.fail(String(error)) })
  onTestFinished(() => spool.close())
  expect((await spool.find('b'.repeat(64)))?.size).toBe(1)
  await spool.sweep()
  expect((await readdir(folder)).toSorted()).toEqual([foreign, fresh, used].toSorted())
})

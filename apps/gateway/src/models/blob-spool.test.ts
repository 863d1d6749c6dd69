import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BlobSpool } from './blob-spool.ts'

test('what nobody has used for a day is removed, what has stopped coming in after an hour, and nothing else of that folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-blobs-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [old, used, fresh, draft, foreign] = [`sha256-${'a'.repeat(64)}`, `sha256-${'b'.repeat(64)}`, `sha256-${'c'.repeat(64)}`, '.draft-x', 'notes.txt']
  for (const name of [old, used, fresh, draft, foreign]) await writeFile(join(folder, name), 'x')
  for (const [name, hours] of [[old, 25], [used, 25], [foreign, 25], [fresh, 2], [draft, 2]] as const) {
    const then = new Date(Date.now() - hours * 3_600_000)
    await utimes(join(folder, name), then, then)
  }
  const spool = new BlobSpool({ folder, most: 1e9, onError: (error) => expect.fail(String(error)) })
  onTestFinished(() => spool.close())
  expect((await spool.find('b'.repeat(64)))?.size).toBe(1)
  await spool.sweep()
  expect((await readdir(folder)).toSorted()).toEqual([foreign, fresh, used].toSorted())
})

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { placementReader } from '../../libs/engines/src/cluster/placement.ts'
import { batchOf, memoryNeeded } from '../../libs/engines/src/supervised/memory.ts'
import { modelFiles } from '../../libs/engines/src/supervised/model-files.ts'
import { writeTinyModel, type TinyModelOptions } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'

let folder = ''
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'drover-memory-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

test.skipIf(skipsWithoutLlamaServer()).each<[string, Omit<TinyModelOptions, 'path'>, { slots: number; ctx: number }]>([
  ['a long context', { embd: 128, heads: 8, context: 4_096 }, { slots: 3, ctx: 4_096 }],
  ['wide feed-forward networks', { embd: 256, heads: 4, ffn: 2_048 }, { slots: 1, ctx: 300 }],
  ['experts', { embd: 256, heads: 4, ffn: 512, experts: 4 }, { slots: 1, ctx: 512 }],
  ['whole texts to embed', { embd: 256, heads: 16, pooling: 1 }, { slots: 2, ctx: 1_024 }],
])('a llama-server takes no more memory than is reserved for its model: %s', async (name, options, { slots, ctx }) => {
  const path = join(folder, `${name}.gguf`)
  const log = join(folder, `${name}.log`)
  await writeTinyModel({ path, ...options })
  const [file] = await modelFiles(async () => [path], () => {})()
  if (!file) return expect.fail('the model was not read')
  const batch = String(batchOf(file.facts, ctx))
  const embeds = file.facts.embedding ? ['--embeddings', '--pooling', 'mean', '-b', batch, '-ub', batch] : []
  await using server = await startLlamaServer({ model: path, slots, ctx, extraArgs: [...embeds, '-lv', '4', '--log-file', log] })
  const { placement, read } = placementReader()
  for (const line of (await readFile(log, 'utf8')).split('\n')) read(line)
  const [kv = 0] = placement.kv.values()
  const [compute = 0] = placement.compute.values()
  expect(Math.min(kv, compute)).toBeGreaterThan(0)
  const besides = memoryNeeded(file, { slots, ctx }) - file.size
  expect(kv + compute).toBeLessThan(besides)
  // What the process has beside its file is in it, too, once it has computed a batch.
  const body = JSON.stringify({ prompt: ' ba'.repeat(ctx - 10), input: ' ba'.repeat(ctx - 10), n_predict: 1 })
  await fetch(`${server.url}${file.facts.embedding ? '/v1/embeddings' : '/completion'}`, { method: 'POST', body }).then((answer) => expect(answer.status).toBe(200))
  const [, own] = /RssAnon:\s+(\d+) kB/.exec(await readFile(`/proc/${server.pid}/status`, 'utf8')) ?? []
  expect(Number(own) * 1_024).toBeGreaterThan(compute / 2)
  expect(Number(own) * 1_024).toBeLessThan(besides)
})

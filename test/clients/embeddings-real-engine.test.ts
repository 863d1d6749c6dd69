import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { test as world } from '../support/world.ts'

const MODEL = 'tiny'

const test = world
  .extend('servers', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const folder = await mkdtemp(join(tmpdir(), 'drover-embed-'))
    const model = join(folder, 'tiny.gguf')
    await writeTinyModel({ path: model })
    const [embeds, ranks] = await Promise.all([
      startLlamaServer({ model, alias: MODEL, slots: 2, extraArgs: ['--embeddings', '--pooling', 'mean'] }),
      startLlamaServer({ model, alias: 'ranks', extraArgs: ['--reranking'] }),
    ])
    onCleanup(async () => {
      await Promise.all([embeds.stop(), ranks.stop()])
      await rm(folder, { recursive: true, force: true })
    })
    return { embeds: embeds.url, ranks: ranks.url }
  })
  .extend('site', { scope: 'file' }, async ({ house, servers }) => {
    const gateway = await house.gateway()
    await house.worker('n1', [servers.embeds, servers.ranks], { gateway })
    return { url: gateway.url, ollama: new Ollama({ host: gateway.url }), openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 }) }
  })
  .skipIf(skipsWithoutLlamaServer())

const post = async (url: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> => {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { connection: 'close' } })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

/** What the engine itself says. */
const said = async (url: string, input: unknown, more: object = {}): Promise<{ vectors: number[][]; tokens: number }> => {
  const { body } = await post(`${url}/v1/embeddings`, { input, ...more })
  const { data, usage } = body as unknown as { data: { embedding: number[] }[]; usage: { prompt_tokens: number } }
  return { vectors: data.map(({ embedding }) => embedding), tokens: usage.prompt_tokens }
}

/** The same text on another slot or beside another one is computed in another batch, which moves the last bits. */
const near = (vector: readonly number[] = []) => vector.map((value) => expect.closeTo(value, 4) as number)

const texts = ['Drover embeds.', 'another text', '']

test('both clients get the embeddings of a real llama-server as it gives them itself', async ({ site, servers }) => {
  const { vectors, tokens } = await said(servers.embeds, texts)
  const expected = vectors.map(near)
  expect(vectors[0]).toHaveLength(64)
  const { data, usage, model } = await site.openai.embeddings.create({ model: MODEL, input: texts })
  expect(data.map(({ embedding }) => embedding)).toEqual(expected)
  expect(usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens })
  expect(model).toBe(MODEL)
  expect((await site.openai.embeddings.create({ model: MODEL, input: texts, encoding_format: 'float' })).data.map(({ embedding }) => embedding)).toEqual(expected)
  const native = await site.ollama.embed({ model: MODEL, input: texts })
  expect(native).toMatchObject({ embeddings: expected, prompt_eval_count: tokens })
  const many = Array.from({ length: 40 }, (_, i) => texts[i % 3] ?? '')
  expect((await site.ollama.embed({ model: MODEL, input: many })).embeddings).toEqual(many.map((_, i) => expected[i % 3]))
})

test('a real llama-server’s embeddings are shortened, left as they are, or made from tokens', async ({ site, servers }) => {
  const text = texts[0] ?? ''
  const { vectors: [whole = []] } = await said(servers.embeds, text)
  const first = whole.slice(0, 8)
  const length = Math.hypot(...first)
  const short = first.map((value) => value / length)
  expect((await site.ollama.embed({ model: MODEL, input: text, dimensions: 8 })).embeddings).toEqual([near(short)])
  expect((await site.openai.embeddings.create({ model: MODEL, input: text, dimensions: 8 })).data[0]?.embedding).toEqual(near(short))
  const { vectors: [raw] } = await said(servers.embeds, text, { embd_normalize: -1 })
  expect(Math.hypot(...(raw ?? []))).not.toBeCloseTo(1, 2)
  expect((await site.ollama.embeddings({ model: MODEL, prompt: text })).embedding).toEqual(near(raw))
  const { tokens } = (await post(`${site.url}/tokenize`, { model: MODEL, content: text, add_special: true })).body as { tokens: number[] }
  expect((await site.openai.embeddings.create({ model: MODEL, input: tokens })).data[0]?.embedding).toEqual(near(whole))
})

test('a real llama-server’s refusals are refusals, and not tried again', async ({ site }) => {
  const long = 'word '.repeat(900)
  await expect(site.openai.embeddings.create({ model: MODEL, input: long })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('too large to process') as string })
  await expect(site.ollama.embed({ model: MODEL, input: long, truncate: false })).rejects.toMatchObject({ status_code: 400, error: 'the input length exceeds the context length' })
  await expect(site.openai.embeddings.create({ model: MODEL, input: [99_999] })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('invalid tokens') as string })
  expect(await post(`${site.url}/detokenize`, { model: MODEL, tokens: [99_999] })).toMatchObject({ status: 400 })
  expect(await post(`${site.url}/v1/rerank`, { model: MODEL, query: 'a', documents: ['b'] })).toMatchObject({ status: 501 })
})

test('ranks, tokens and texts of a real llama-server are its own', async ({ site, servers }) => {
  const ranking = { query: 'drover', documents: ['a', 'drover', 'other words'] }
  const own = await post(`${servers.ranks}/v1/rerank`, ranking)
  const ours = await post(`${site.url}/v1/rerank`, { model: 'Ranks', ...ranking })
  expect(ours).toEqual({ status: 200, body: { ...own.body, model: 'Ranks' } })
  for (const body of [{ content: 'hello world' }, { content: ['hello', 5], add_special: true, with_pieces: true }]) {
    const { body: tokens } = await post(`${servers.embeds}/tokenize`, body)
    expect(await post(`${site.url}/tokenize`, { model: MODEL, ...body })).toEqual({ status: 200, body: tokens })
  }
  const { tokens } = (await post(`${site.url}/tokenize`, { model: MODEL, content: 'hello world' })).body
  expect((await post(`${site.url}/detokenize`, { model: MODEL, tokens })).body).toEqual({ content: 'hello world' })
})

/** What a value is made of, without its texts and numbers; a list as its first item. */
const shapeOf = (value: unknown): unknown => {
  if (value === null || typeof value !== 'object') return typeof value
  if (Array.isArray(value)) return [shapeOf(value[0])]
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)]))
}

test('the scripted llama-server answers in the shape of the real one', async ({ servers, engines }) => {
  const embeds = await engines({ kind: 'llama-server', models: [{ name: 'x', capabilities: ['embedding'] }] })
  const ranks = await engines({ kind: 'llama-server', models: [{ name: 'x', capabilities: ['rerank'] }] })
  const requests: [scripted: string, real: string, path: string, body: object][] = [
    ...['one', ['one', 'two'], [5, 6], [[5], [6]], undefined, []].map((input) => [embeds.url, servers.embeds, '/v1/embeddings', { input }] as [string, string, string, object]),
    [embeds.url, servers.embeds, '/v1/rerank', { query: 'a', documents: ['b'] }],
    [ranks.url, servers.ranks, '/v1/rerank', { query: 'a', documents: ['b', 'c'] }],
    [ranks.url, servers.ranks, '/v1/rerank', { query: 'a', documents: ['b', 'c'], top_n: 1 }],
    [ranks.url, servers.ranks, '/v1/rerank', { query: 5 }],
    [ranks.url, servers.ranks, '/v1/rerank', {}],
    [embeds.url, servers.embeds, '/tokenize', { content: 'ab' }],
    [embeds.url, servers.embeds, '/tokenize', { content: ['ab', 5], with_pieces: true }],
    [embeds.url, servers.embeds, '/detokenize', { tokens: [300] }],
    [embeds.url, servers.embeds, '/detokenize', { tokens: 'x' }],
    [embeds.url, servers.embeds, '/detokenize', { tokens: [9_999_999] }],
  ]
  for (const [scripted, real, path, body] of requests) {
    const [given, wanted] = [await post(scripted + path, body), await post(real + path, body)]
    expect({ status: given.status, shape: shapeOf(given.body) }, `${path} ${JSON.stringify(body)}`).toEqual({ status: wanted.status, shape: shapeOf(wanted.body) })
  }
})

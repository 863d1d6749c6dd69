import { setTimeout as sleep } from 'node:timers/promises'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { rawVector, vectorOf } from '../engine/formats/embeddings.ts'
import { promptTokens } from '../engine/prompt.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
type Kind = (typeof KINDS)[number]
const MODELS = { ollama: 'native:8b', 'llama-server': 'other:latest' } as const satisfies Record<Kind, string>

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const started: Record<Kind, ScriptedEngine> = {
    ollama: await engines({ kind: 'ollama', models: [{ name: MODELS.ollama, capabilities: ['embedding'] }, 'talker'] }),
    'llama-server': await engines({ kind: 'llama-server', slots: 2, models: [{ name: 'other', capabilities: ['embedding', 'rerank'], contextLength: 2_000 }] }),
  }
  const plain = await engines({ kind: 'llama-server', models: ['plain'] })
  const gateway = await house.gateway()
  await house.worker('n1', [...Object.values(started), plain].map(({ url }) => url), { gateway, env: { DROVER_KEEP_ALIVE: '10m', DROVER_NUM_CTX: '4096' } })
  return {
    url: gateway.url,
    engines: started,
    ollama: new Ollama({ host: gateway.url }),
    openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 }),
  }
})

const LONG = 'long '.repeat(9_000)

interface Posted {
  status: number
  headers: Headers
  body: Record<string, unknown>
}

const post = async (url: string, path: string, body: unknown): Promise<Posted> => {
  const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Record<string, unknown> }
}

/** Equal as far as a float32 tells. */
const near = (vector: readonly number[]) => vector.map((value) => expect.closeTo(value, 6) as number)

test.for(KINDS)('the ollama client embeds texts over %s, in their order', async (kind, { site }) => {
  const model = MODELS[kind]
  const answer = await site.ollama.embed({ model, input: ['one', 'two', ''] })
  expect(answer).toMatchObject({ model, embeddings: ['one', 'two', ''].map((text) => near(vectorOf(text))) })
  expect(answer.prompt_eval_count).toBeGreaterThan(0)
  expect(Math.hypot(...(answer.embeddings[0] ?? []))).toBeCloseTo(1, 5)
  expect((await site.ollama.embed({ model, input: 'one' })).embeddings).toEqual([near(vectorOf('one'))])
})

test.for(KINDS)('an embedding over %s is shortened and has length 1 again', async (kind, { site }) => {
  const short = await site.ollama.embed({ model: MODELS[kind], input: 'one', dimensions: 3 })
  expect(short.embeddings).toEqual([near(vectorOf('one', 3))])
  const whole = await site.ollama.embed({ model: MODELS[kind], input: 'one', dimensions: 800 })
  expect(whole.embeddings).toEqual([near(vectorOf('one'))])
})

test.for(KINDS)('no input is no embedding over %s, and no mistake', async (kind, { site }) => {
  for (const input of ['', [] as string[]]) expect(await site.ollama.embed({ model: MODELS[kind], input })).toMatchObject({ model: MODELS[kind], embeddings: [] })
  expect(await site.ollama.embeddings({ model: MODELS[kind], prompt: '' })).toEqual({ embedding: [] })
})

test.for(KINDS)('the older route of the ollama client gives one vector over %s, as the model made it', async (kind, { site }) => {
  const { embedding } = await site.ollama.embeddings({ model: MODELS[kind], prompt: 'one' })
  expect(embedding).toEqual(near(rawVector('one')))
  expect(Math.hypot(...embedding)).not.toBeCloseTo(1, 2)
})

test.for(KINDS)('the openai client embeds over %s, in base64 by itself and as numbers if asked', async (kind, { site }) => {
  const model = MODELS[kind]
  for (const format of [{}, { encoding_format: 'float' as const }, { encoding_format: 'float' as const, dimensions: 3 }, { dimensions: 3 }]) {
    const { data, usage, ...rest } = await site.openai.embeddings.create({ model, input: ['one', 'two'], ...format })
    expect(rest).toMatchObject({ object: 'list', model })
    const size = 'dimensions' in format ? format.dimensions : undefined
    expect(data).toEqual(['one', 'two'].map((text, index) => ({ object: 'embedding', index, embedding: near(vectorOf(text, size)) })))
    expect(usage.prompt_tokens).toBeGreaterThan(0)
    expect(usage.total_tokens).toBe(usage.prompt_tokens)
  }
  const raw = await post(site.url, '/v1/embeddings', { model, input: 'one', encoding_format: 'base64', dimensions: 3 })
  const [first] = raw.body['data'] as { embedding: string }[]
  expect([...new Float32Array(new Uint8Array(Buffer.from(first?.embedding ?? '', 'base64')).buffer)]).toEqual(near(vectorOf('one', 3)))
})

test('tokens in place of text are for a llama-server, and refused at once where there is none', async ({ site }) => {
  const { openai } = site
  const { data } = await openai.embeddings.create({ model: MODELS['llama-server'], input: [[5, 6, 7], [8]] })
  expect(data.map(({ embedding }) => embedding)).toEqual([near(vectorOf([5, 6, 7])), near(vectorOf([8]))])
  expect((await openai.embeddings.create({ model: MODELS['llama-server'], input: [5, 6, 7] })).data).toHaveLength(1)
  const refused = openai.embeddings.create({ model: MODELS.ollama, input: [5, 6, 7] })
  await expect(refused).rejects.toMatchObject({ status: 400, type: 'invalid_request_error', message: expect.stringMatching(/invalid input type: only a llama-server/) as string })
})

test('load-time options and keep_alive are the node’s, and the rest of a native request the client’s', async ({ site }) => {
  await site.ollama.embed({ model: MODELS.ollama, input: 'job=policy', truncate: true, keep_alive: 5, options: { num_ctx: 1, num_gpu: 3, temperature: 0.5 } })
  const { last } = await site.engines.ollama.admin.stats()
  const seen = last.find(({ key }) => key === 'policy')
  expect(seen?.path).toBe('/api/embed')
  expect(JSON.parse(seen?.body ?? '')).toEqual({
    model: MODELS.ollama, input: 'job=policy', truncate: true, keep_alive: '10m', options: { num_ctx: 4096, temperature: 0.5 },
  })
})

test.for([
  ['/api/embed', { input: 'x' }, 404, "model '' not found"],
  ['/api/embed', { model: 'nobody', input: 'x' }, 404, 'model "nobody" not found, try pulling it first'],
  ['/api/embed', { model: 'a b', input: 'x' }, 400, 'invalid model name'],
  ['/api/embed', { model: MODELS.ollama, input: 3 }, 400, 'invalid input type'],
  ['/api/embed', { model: MODELS.ollama, input: ['x', 3] }, 400, 'invalid input type'],
  ['/api/embed', { model: MODELS.ollama, input: 'x', options: { num_ctx: 'x' } }, 500, 'option "num_ctx" must be of type integer'],
  ['/api/embed', { model: MODELS.ollama, input: 'x', keep_alive: '5' }, 400, 'time: missing unit in duration "5"'],
  ['/api/embed', { model: MODELS.ollama, input: LONG, truncate: false }, 400, 'the input length exceeds the context length'],
  ['/api/embed', { model: 'other', input: LONG, truncate: false }, 400, 'the input length exceeds the context length'],
  ['/api/embed', { model: 'other', input: LONG }, 400, 'the input length exceeds the context length, and this engine cannot cut it'],
  ['/api/embeddings', { prompt: 'x' }, 400, 'model is required'],
  ['/api/embeddings', { model: 'nobody', prompt: 'x' }, 404, 'model "nobody" not found, try pulling it first'],
  ['/api/embeddings', { model: MODELS.ollama, prompt: 'job=f1 fail=400' }, 400, 'scripted failure'],
  ['/api/embed', { model: 'plain', input: 'x' }, 501, 'This server does not support embeddings. Start it with `--embeddings`'],
] as const)('%s of %o is status %i', async ([path, body, status, error], { site }) => {
  expect(await post(site.url, path, body)).toMatchObject({ status, body: { error } })
})

test.for([
  [{ model: MODELS.ollama }, 400, 'invalid input'],
  [{ model: MODELS.ollama, input: [] }, 400, 'invalid input'],
  [{ model: MODELS.ollama, input: ['x', [3]] }, 400, 'invalid input type'],
  [{ model: MODELS.ollama, input: 'x', encoding_format: 'hex' }, 400, "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."],
  [{ model: 'nobody', input: 'x' }, 404, 'model "nobody" not found, try pulling it first'],
  [{ model: 'plain', input: 'x' }, 501, 'This server does not support embeddings. Start it with `--embeddings`'],
  [{ model: 'other', input: LONG }, 400, 'tokens) is too large to process'],
] as const)('/v1/embeddings of %o is status %i', async ([body, status, message], { site }) => {
  const told = await post(site.url, '/v1/embeddings', body)
  expect(told).toMatchObject({ status, body: { error: { message: expect.stringContaining(message) as string } } })
})

test('what an engine says that is no embedding is an error', async ({ site }) => {
  const faults = { ollama: 'nonsense=html', 'llama-server': 'eof_at=0' } as const
  const told = await Promise.all(KINDS.map((kind) => post(site.url, '/api/embed', { model: MODELS[kind], input: [`job=n ${faults[kind]}`, 'b'] })))
  for (const each of told) expect(each).toMatchObject({ status: 502, body: { error: expect.any(String) as string } })
})

test('llama-server ranks, tokenizes and detokenizes, under the name that was asked for', async ({ site }) => {
  const documents = ['xyz', 'cab', 'a']
  const ranking = { model: 'Other', query: 'abc', documents, top_n: 2, return_documents: true }
  const told = await post(site.url, '/v1/rerank', ranking)
  expect((await post(site.url, '/rerank', ranking)).body).toEqual(told.body)
  expect(told).toMatchObject({ status: 200, body: { model: 'Other', results: [{ index: 1 }, { index: 2 }], usage: { prompt_tokens: expect.any(Number) as number } } })
  expect(told.headers.get('x-drover-ignored')).toBe('return_documents')
  const tokens = await post(site.url, '/tokenize', { model: 'other', content: 'añ', add_special: true })
  expect(tokens).toMatchObject({ status: 200, body: { tokens: [1, 97, 241] } })
  expect((await post(site.url, '/tokenize', { model: 'other', content: ['a', 5], with_pieces: true })).body).toEqual({ tokens: [{ id: 97, piece: 'a' }, { id: 5, piece: '\u0005' }] })
  expect((await post(site.url, '/detokenize', { model: 'other', tokens: [97, 241] })).body).toEqual({ content: 'añ' })
  expect(await post(site.url, '/detokenize', { model: 'other', tokens: [99_999_999] })).toMatchObject({ status: 400, body: { error: { message: 'a token is not in the vocabulary of this model' } } })
  expect(await post(site.url, '/v1/rerank', { model: 'plain', query: 'a', documents })).toMatchObject({ status: 501, body: { error: { message: expect.stringContaining('--reranking') as string } } })
})

test.for(['/v1/rerank', '/tokenize', '/detokenize'])('%s of a model that only an Ollama holds is refused at once', async (path, { site }) => {
  const body = { '/v1/rerank': { query: 'a', documents: ['b'] }, '/tokenize': { content: 'a' }, '/detokenize': { tokens: [1] } }[path]
  const told = await post(site.url, path, { model: 'talker', ...body })
  expect(told).toMatchObject({ status: 400, body: { error: { type: 'invalid_request_error', message: expect.stringContaining(`only a llama-server answers ${path}`) as string } } })
  expect(await post(site.url, path, { model: 'nobody', ...body })).toMatchObject({ status: 404, body: { error: { message: "model 'nobody' not found" } } })
})

test('many inputs go to several nodes side by side and come back in their order', async ({ drover, scripted }) => {
  const models = [{ name: 'many', capabilities: ['embedding', 'completion'] }]
  const nodes = await Promise.all(['a', 'b'].map(() => scripted({ models, slots: 2 })))
  const gateway = await drover.gateway()
  for (const [i, { url }] of nodes.entries()) await drover.worker(`many${i}`, [{ url, slots: 2 }], { gateway })
  const texts = Array.from({ length: 100 }, (_, i) => `text number ${i}`)
  const expected = texts.map((text) => near(vectorOf(text)))

  for (const { admin } of nodes) await admin.set({ hold: 1 })
  const asked = post(gateway.url, '/api/embed', { model: 'Many', input: texts })
  await until('both nodes are at work', async () => (await Promise.all(nodes.map(({ admin }) => admin.stats()))).every(({ running }) => running === 2))
  await sleep(100)
  for (const { admin } of nodes) await admin.release()
  const native = await asked
  expect(native).toMatchObject({ status: 200, body: { model: 'Many', embeddings: expected } })
  expect(Number(native.headers.get('x-drover-pieces'))).toBeGreaterThan(3)
  expect(native.headers.get('x-drover-job')).toMatch(/^0-/)
  expect(native.headers.get('x-drover-node')?.split(', ').toSorted()).toEqual(['many0', 'many1'])
  expect(native.body['total_duration']).toBeGreaterThan(100e6)
  const tokens = texts.reduce((sum, text) => sum + promptTokens(text), 0)
  expect(native.body['prompt_eval_count']).toBe(tokens)

  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 })
  const { data, usage } = await openai.embeddings.create({ model: 'many', input: texts })
  expect(data.map(({ index }) => index)).toEqual(texts.map((_, i) => i))
  expect(data.map(({ embedding }) => embedding)).toEqual(expected)
  expect(usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens })
  for (const { admin } of nodes) expect((await admin.stats()).maxRunning).toBe(2)

  const few = await post(gateway.url, '/api/embed', { model: 'many', input: texts.slice(0, 20) })
  expect(few.headers.get('x-drover-pieces')).toBeNull()
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text()
  expect(metrics).toMatch(/requests_total\{dialect="ollama.embed",outcome="completed"\} 2/)
})

test('one input that fails fails the whole call with its error, and what is under way is stopped', async ({ drover, scripted }) => {
  const models = [{ name: 'many', capabilities: ['completion'], slots: 4 }]
  const engine = await scripted({ models, slots: 4 })
  const gateway = await drover.gateway()
  await drover.worker('one', [{ url: engine.url, slots: 4 }], { gateway })
  const texts = Array.from({ length: 100 }, (_, i) => (i === 0 ? 'job=held hold=1' : i === 99 ? 'job=bad fail=400' : `text ${i}`))
  const told = await post(gateway.url, '/api/embed', { model: 'many', input: texts })
  expect(told).toMatchObject({ status: 400, body: { error: 'scripted failure' } })
  await expect.poll(async () => (await engine.admin.job('held')).aborts, { timeout: 5_000 }).toBe(1)
  await expect.poll(async () => (await engine.admin.stats()).running).toBe(0)
  expect((await post(gateway.url, '/api/embed', { model: 'many', input: 'good' })).status).toBe(200)
})

test('a client that leaves stops all pieces of its call', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['many'], slots: 3 })
  const gateway = await drover.gateway()
  await drover.worker('one', [{ url: engine.url, slots: 3 }], { gateway })
  const leaving = new AbortController()
  const body = JSON.stringify({ model: 'many', input: Array.from({ length: 100 }, (_, i) => `job=leave${i} hold=1`) })
  const asked = fetch(`${gateway.url}/api/embed`, { method: 'POST', body, signal: leaving.signal })
  await expect.poll(async () => (await engine.admin.stats()).running, { timeout: 10_000 }).toBe(3)
  leaving.abort()
  await expect(asked).rejects.toThrow()
  await expect.poll(async () => await engine.admin.stats(), { timeout: 5_000 }).toMatchObject({ running: 0, aborts: 3, requests: 3 })
  const status = (await (await fetch(`${gateway.url}/api/status`)).json()) as { lanes: { waiting: number }[]; gateway: { open_answers: number; following: number } }
  expect(status.gateway).toMatchObject({ open_answers: 0, following: 0 })
  expect(status.lanes.every(({ waiting }) => waiting === 0)).toBe(true)
})


import OpenAI from 'openai'
import type { ResponseStreamEvent } from 'openai/resources/responses/responses'
import { expect } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { expectedText, token, verifyText } from '../engine/tokens.ts'
import { send } from '../support/raw.ts'
import { all, test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
type Kind = (typeof KINDS)[number]
const MODELS = { ollama: 'native:8b', 'llama-server': 'other:latest' } as const satisfies Record<Kind, string>

const FAULTS = KINDS.flatMap((kind) => (['error_at', 'cut_at', 'eof_at'] as const).map((fault) => ({ kind, fault, model: `${kind}-${fault}` })))

/** An answer that is one body has been given a second try before its failure is told: its engine fails for good. */
const WHOLE = KINDS.flatMap((kind) => (['error_at', 'eof_at'] as const).map((fault) => ({ kind, fault, model: `whole-${kind}-${fault}` })))

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const started: Record<Kind, ScriptedEngine> = {
    ollama: await engines({ kind: 'ollama', models: [MODELS.ollama] }),
    'llama-server': await engines({ kind: 'llama-server', models: ['other'] }),
  }
  // An engine that failed leaves its model alone for a while, so each fault has an engine of its own.
  const faulty = new Map(await Promise.all([...FAULTS, ...WHOLE].map(async ({ kind, model }) => [model, await engines({ kind, models: [model] })] as const)))
  // A broken answer would go on, and no client would see how it breaks.
  const gateway = await house.gateway({ DROVER_RESUME: 'false' })
  await house.worker('n1', [...Object.values(started), ...faulty.values()].map(({ url }) => url), { gateway })
  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 })
  return { url: gateway.url, engines: started, faulty, responses: openai.responses }
})

const textOf = (event: ResponseStreamEvent) => (event.type === 'response.output_text.delta' ? event.delta : '')

test.for(KINDS)('the openai client gets a response over %s, whole', async (kind, { site }) => {
  const answer = await site.responses.create({ model: MODELS[kind], input: 'job=rc1 tokens=30', metadata: { a: 'b' } })
  expect(answer).toMatchObject({
    object: 'response', status: 'completed', model: MODELS[kind], error: null, incomplete_details: null, metadata: { a: 'b' }, store: false,
    output_text: expectedText('rc1', 30), usage: { output_tokens: 30 },
    output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', annotations: [] }] }],
  })
  expect(answer.usage?.total_tokens).toBe(30 + (answer.usage?.input_tokens ?? Number.NaN))
  expect(answer.created_at).toBeGreaterThan(1_700_000_000)
})

test.for(KINDS)('the openai client gets a response over %s, streamed', async (kind, { site }) => {
  const events = await all(await site.responses.create({ model: MODELS[kind], input: 'job=rc2 tokens=30', stream: true }))
  expect(events.map(textOf).join('')).toBe(expectedText('rc2', 30))
  expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, number) => number))
  expect(events[0]).toMatchObject({ type: 'response.created', response: { status: 'in_progress', model: MODELS[kind], output: [] } })
  expect(events.at(-1)).toMatchObject({ type: 'response.completed', response: { status: 'completed', model: MODELS[kind], usage: { output_tokens: 30 } } })
})

test.for(KINDS)('the helper of the openai client that puts a stream together follows it over %s', async (kind, { site }) => {
  const stream = site.responses.stream({ model: MODELS[kind], input: [{ role: 'user', content: [{ type: 'input_text', text: 'job=rc3 tokens=30' }] }] })
  const deltas: string[] = []
  stream.on('response.output_text.delta', ({ delta }) => deltas.push(delta))
  const final = await stream.finalResponse()
  expect(final).toMatchObject({ status: 'completed', output_text: expectedText('rc3', 30) })
  expect(deltas.join('')).toBe(expectedText('rc3', 30))
})

test.for(KINDS)('a response over %s that is cut by its limit is incomplete, and says why', async (kind, { site }) => {
  const cut = { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, output_text: expectedText('rc4', 5) }
  const asked = { model: MODELS[kind], input: 'job=rc4 tokens=30', max_output_tokens: 5 }
  expect(await site.responses.create(asked)).toMatchObject(cut)
  expect(await site.responses.stream(asked).finalResponse()).toMatchObject(cut)
})

test.for(['NATIVE:8b', 'Other'])('the model is echoed as written: %s', async (model, { site }) => {
  expect((await site.responses.create({ model, input: 'job=re1 tokens=3' })).model).toBe(model)
  const events = await all(await site.responses.create({ model, input: 'job=re2 tokens=3', stream: true }))
  const models = events.flatMap((event) => ('response' in event ? [event.response.model] : []))
  expect(models.length).toBeGreaterThan(2)
  expect(new Set(models)).toEqual(new Set([model]))
})

test('a response has the content type of its form, and ends without [DONE]', async ({ site }) => {
  const post = (stream: boolean) => send(`${site.url}/v1/responses`, { body: JSON.stringify({ model: 'other', input: 'job=re3 tokens=2', stream, service_tier: 'flex' }) })
  const streamed = await post(true)
  expect(streamed.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-drover-ignored': 'service_tier' })
  expect(streamed.text).toMatch(/^event: response\.created\ndata: \{"type":"response\.created","sequence_number":0,/)
  expect(streamed.text).not.toContain('[DONE]')
  expect((await post(false)).headers['content-type']).toBe('application/json; charset=utf-8')
})

test.for([true, false])('the openai client hears of an unknown model as its own error class (streamed: %s)', async (stream, { site }) => {
  const asked = site.responses.create({ model: 'nobody-has-this', input: 'hello', stream })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(asked).rejects.toMatchObject({
    status: 404, error: { message: "model 'nobody-has-this' not found", type: 'not_found_error', param: null, code: null },
  })
})

test('the openai client hears of what is not stored here', async ({ site }) => {
  const model = MODELS.ollama
  for (const more of [{ conversation: 'conv_1' }, { prompt: { id: 'pmpt_1' } }]) {
    const asked = site.responses.create({ model, input: 'hello', ...more })
    await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(asked).rejects.toMatchObject({ status: 400, type: 'invalid_request_error', message: expect.stringContaining('not supported') as string })
  }
})

test.for(KINDS.flatMap((kind) => [true, false].map((stream) => ({ kind, stream }))))(
  'what $kind refuses before the first byte is a refusal (streamed: $stream)',
  async ({ kind, stream }, { site }) => {
    const asked = site.responses.create({ model: MODELS[kind], input: `job=rf-${kind}-${stream} fail=400`, stream })
    await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(asked).rejects.toMatchObject({ status: 400, message: expect.stringContaining('scripted failure') as string })
  },
)

test.for(FAULTS)(
  'a stream over $kind that meets $fault throws in the openai client after the text before it',
  async ({ fault, model }, { site }) => {
    const key = model
    let text = ''
    const read = async () => {
      const stream = await site.responses.create({ model, input: `job=${key} tokens=30 stall_at=5 ${fault}=9`, stream: true })
      for await (const event of stream) {
        text += textOf(event)
        if (text.includes(token(key, 4))) await site.faulty.get(model)?.admin.release(key)
        expect(event.type).not.toMatch(/completed|incomplete/)
      }
    }
    await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
    expect(verifyText(key, text)).toMatchObject({ ok: true, count: expect.toSatisfy((count: number) => count >= 5 && count <= 9) as number })
  },
)

test.for(WHOLE)('a whole answer over $kind that meets $fault is an error, never a part of an answer', async ({ fault, model }, { site }) => {
  const asked = site.responses.create({ model, input: `job=${model} tokens=30 ${fault}=9` })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.InternalServerError)
  await expect(asked).rejects.toMatchObject({ type: 'api_error', message: expect.stringMatching(/engine|scripted failure/) as string })
})

test('aborting the openai client stops the engine', async ({ site }) => {
  const { responses, engines } = site
  const stream = await responses.create({ model: MODELS['llama-server'], input: 'job=rab tokens=100000 rate=50', stream: true })
  let read = 0
  for await (const event of stream) if (textOf(event) && (read += 1) === 3) break
  stream.controller.abort()
  await expect.poll(async () => (await engines['llama-server'].admin.job('rab')).aborts, { timeout: 10_000, interval: 20 }).toBe(1)
})

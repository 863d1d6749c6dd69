import { setTimeout as sleep } from 'node:timers/promises'
import Anthropic from '@anthropic-ai/sdk'
import { expect } from 'vitest'
import type { ScriptedEngineOptions } from '../engine/options.ts'
import { expectedText, token, verifyText } from '../engine/tokens.ts'
import { send } from '../support/raw.ts'
import { statusOf, until } from '../support/drover.ts'
import { all, test as world } from '../support/world.ts'

/** Engines that have `/v1/messages`, and an Ollama from before it had. */
const ENGINES = {
  ollama: { kind: 'ollama' },
  'older-ollama': { kind: 'ollama', version: '0.13.5' },
  'llama-server': { kind: 'llama-server' },
} as const satisfies Record<string, ScriptedEngineOptions>
type EngineName = keyof typeof ENGINES
const NAMES = Object.keys(ENGINES) as EngineName[]
const FAULTS = NAMES.flatMap((name) => (['error_at', 'cut_at', 'eof_at', 'garbage_at'] as const).map((fault) => ({ name, fault, model: `${name}-${fault}` })))

const client = ({ url }: { url: string }) => new Anthropic({ baseURL: url, apiKey: 'unused', maxRetries: 0 })

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const start = async (name: EngineName, model: string) => [model, await engines({ ...ENGINES[name], models: [model] })] as const
  // An engine that failed leaves its model alone for a while, so each fault has an engine of its own.
  const cases = [...NAMES.map((name) => ({ name, model: name as string })), ...NAMES.map((name) => ({ name, model: `${name}-late` })), ...FAULTS]
  const byModel = new Map(await Promise.all(cases.map(({ name, model }) => start(name, model))))
  // A broken answer would go on, and no client would see how it breaks.
  // Only where nothing is refused: a refusal that comes behind the grace is no status any more.
  const [gateway, hasty] = await Promise.all([house.gateway({ DROVER_RESUME: 'false' }), house.gateway({ DROVER_GRACE: '100ms', DROVER_KEEP_ALIVE: '100ms' })])
  await house.worker('n1', [...byModel.values()].map(({ url }) => url), { gateway })
  const engine = (model: string) => {
    const found = byModel.get(model)
    if (!found) throw new Error(`no engine has ${model}`)
    return found
  }
  await until('the hasty one knows them all', async () => (await statusOf(hasty.url)).models.length === byModel.size)
  return { url: gateway.url, engine, anthropic: client(gateway), hasty: { url: hasty.url, anthropic: client(hasty) } }
})

const user = (content: string) => [{ role: 'user' as const, content }]
const max_tokens = 100

test.for(NAMES)('the client gets a message from %s, whole', async (model, { site }) => {
  const message = await site.anthropic.messages.create({ model, max_tokens, system: 'be kind', messages: user('job=m1 tokens=30') })
  expect(message).toMatchObject({
    type: 'message', role: 'assistant', model, content: [{ type: 'text', text: expectedText('m1', 30) }], stop_reason: 'end_turn', stop_sequence: null,
    usage: { output_tokens: 30 },
  })
  expect(message.usage.input_tokens).toBeGreaterThan(5)
  expect(message._request_id).toMatch(/^[\w-]{8,}$/)
})

test.for(NAMES)('the client reads the events of a stream from %s', async (model, { site }) => {
  const events = await all(await site.anthropic.messages.create({ model, max_tokens, messages: user('job=m2 tokens=30'), stream: true }))
  expect(events[0]).toMatchObject({ type: 'message_start', message: { role: 'assistant', model, content: [] } })
  expect(events[1]).toMatchObject({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } })
  const texts = events.flatMap((event) => (event.type === 'content_block_delta' && event.delta.type === 'text_delta' ? event.delta.text : []))
  expect(texts.join('')).toBe(expectedText('m2', 30))
  expect(texts.length).toBeGreaterThan(20)
  expect(events.slice(-3)).toMatchObject([
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 30 } },
    { type: 'message_stop' },
  ])
})

test.for(NAMES)('the client’s own stream adds up to the whole message of %s', async (model, { site }) => {
  const request = { model, max_tokens, messages: user('job=m3 tokens=12') }
  const stream = site.anthropic.messages.stream(request)
  const [streamed, whole] = [await stream.finalMessage(), await site.anthropic.messages.create(request)]
  expect(await stream.finalText()).toBe(expectedText('m3', 12))
  expect(streamed.content).toEqual(whole.content)
  expect(streamed.stop_reason).toBe(whole.stop_reason)
  expect(streamed.usage).toEqual(whole.usage)
})

test.for(NAMES)('limit and stop sequences are kept over %s', async (model, { site }) => {
  const short = await site.anthropic.messages.create({ model, max_tokens: 5, messages: user('job=m4 tokens=30') })
  expect(short).toMatchObject({ stop_reason: 'max_tokens', content: [{ text: expectedText('m4', 5) }], usage: { output_tokens: 5 } })
  const stopped = await site.anthropic.messages.create({ model, max_tokens, stop_sequences: [token('m4', 7)], messages: user('job=m4 tokens=30') })
  expect(stopped).toMatchObject({ content: [{ text: expectedText('m4', 7) }] })
})

test.for(NAMES)('the model is echoed as written: %s', async (model, { site }) => {
  const asked = `${model.toUpperCase()}:latest`
  expect((await site.anthropic.messages.create({ model: asked, max_tokens, messages: user('job=m5 tokens=3') })).model).toBe(asked)
  const [start] = await all(await site.anthropic.messages.create({ model: asked, max_tokens, messages: user('job=m5 tokens=3'), stream: true }))
  expect(start).toMatchObject({ type: 'message_start', message: { model: asked } })
})

test('what the engine is asked is the client’s own request', async ({ site }) => {
  const tools: Anthropic.Tool[] = [{ name: 'weather', description: 'd', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }]
  const messages: Anthropic.MessageParam[] = [
    { role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } }, { type: 'text', text: 'job=m6 tokens=3' }] },
    { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: 's' }, { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Rome' } }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'sunny' }] },
  ]
  const request = { max_tokens, system: 'be kind', messages, tools, temperature: 0.5 }
  const bodyAt = async (model: string) => {
    const last = (await site.engine(model).admin.stats()).last.at(-1)
    return { path: last?.path, ...(JSON.parse(last?.body ?? '{}') as Record<string, unknown>) }
  }
  for (const model of ['ollama', 'llama-server']) {
    await site.anthropic.messages.create({ ...request, model, metadata: { user_id: 'u' } })
    expect(await bodyAt(model)).toEqual({ path: '/v1/messages', ...request, model: expect.stringContaining(model) as string, stream: true })
  }
  await site.anthropic.messages.create({ ...request, model: 'older-ollama' })
  expect(await bodyAt('older-ollama')).toMatchObject({
    path: '/api/chat',
    messages: [{ role: 'system' }, { role: 'user', images: ['iVBORw0KGgo='] }, { role: 'assistant', thinking: 'hm', tool_calls: [{ function: { arguments: { city: 'Rome' } } }] }, { role: 'tool', tool_name: 'weather' }],
  })
})

test('dropped fields are named, and betas are no error', async ({ site }) => {
  const request = { model: 'ollama', max_tokens, messages: user('job=m7 tokens=3'), metadata: { user_id: 'u' } }
  const { response } = await site.anthropic.messages.create(request).withResponse()
  expect(response.headers.get('x-drover-ignored')).toBe('metadata')
  const beta = await site.anthropic.beta.messages.create({ ...request, betas: ['context-1m-2025-08-07'] })
  expect(beta.content).toMatchObject([{ type: 'text', text: expectedText('m7', 3) }])
})

test.for(NAMES)('tokens are counted, and the count is what the message is billed: %s', async (model, { site }) => {
  const prompt = { model, system: 'be kind', messages: user('job=m8 tokens=4') }
  const { input_tokens: counted } = await site.anthropic.messages.countTokens(prompt)
  const { usage } = await site.anthropic.messages.create({ ...prompt, max_tokens })
  expect(counted).toBe(usage.input_tokens)
  expect(counted).toBeGreaterThan(5)
})

test.for([true, false])('an unknown model is the client’s own error class (streamed: %s)', async (stream, { site }) => {
  const asked = site.anthropic.messages.create({ model: 'nobody-has-this', max_tokens, messages: user('hello'), stream })
  await expect(asked).rejects.toBeInstanceOf(Anthropic.NotFoundError)
  await expect(asked).rejects.toMatchObject({
    status: 404, type: 'not_found_error', requestID: expect.stringMatching(/^[\w-]{8,}$/) as string,
    error: { type: 'error', error: { type: 'not_found_error', message: "model 'nobody-has-this' not found" }, request_id: expect.any(String) as string },
  })
  await expect(site.anthropic.messages.countTokens({ model: 'nobody-has-this', messages: user('x') })).rejects.toBeInstanceOf(Anthropic.NotFoundError)
})

test('the client hears what is wrong with a request', async ({ site }) => {
  const wrong: [fields: object, message: string][] = [
    [{ messages: [] }, 'messages is required'],
    [{ max_tokens: 0 }, 'max_tokens is required and must be positive'],
    [{ model: '' }, 'model is required'],
  ]
  for (const [fields, message] of wrong) {
    const asked = site.anthropic.messages.create({ model: 'ollama', max_tokens, messages: user('x'), ...fields })
    await expect(asked).rejects.toBeInstanceOf(Anthropic.BadRequestError)
    await expect(asked).rejects.toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error', message } } })
  }
})

test.for(NAMES)('a refusal by %s before the first byte is a status in Anthropic’s form', async (model, { site }) => {
  for (const stream of [true, false]) {
    const asked = site.anthropic.messages.create({ model, max_tokens, messages: user('job=m9 fail=400'), stream })
    await expect(asked).rejects.toBeInstanceOf(Anthropic.BadRequestError)
    await expect(asked).rejects.toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error', message: 'scripted failure' } } })
  }
})

test.for(FAULTS)('a stream over $name that meets $fault throws in the client after the text before it', async ({ fault, model }, { site }) => {
  let text = ''
  const read = async () => {
    const prompt = `job=${model} tokens=30 stall_at=5 ${fault}=9`
    for await (const event of await site.anthropic.messages.create({ model, max_tokens, messages: user(prompt), stream: true })) {
      expect(event.type).not.toMatch(/message_(delta|stop)/)
      if (event.type !== 'content_block_delta' || event.delta.type !== 'text_delta') continue
      text += event.delta.text
      if (text.includes(token(model, 4))) await site.engine(model).admin.release(model)
    }
  }
  const failure: unknown = await read().catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(Anthropic.APIError)
  expect(failure).toMatchObject({ type: 'api_error', error: { type: 'error', error: { message: expect.stringMatching(/\w/) as string } } })
  expect(verifyText(model, text)).toMatchObject({ ok: true, count: expect.toSatisfy((count: number) => count >= 5 && count <= 9) as number })
})

test.for(NAMES)('the client waits for %s through the pings that it is sent', async (name, { site }) => {
  const model = `${name}-late`
  const job = () => site.engine(model).admin.job(name)
  const letGo = async (waited: Promise<unknown>) => {
    await until('the engine has it', async () => (await job()).running === 1)
    await waited
    await site.engine(model).admin.release(name)
  }
  const request = { model, max_tokens, messages: user(`job=${name} tokens=5 hold=1`) }
  const pinged = Promise.withResolvers<void>()
  const read = async () => {
    const { body } = await fetch(`${site.hasty.url}/v1/messages?beta=true`, { method: 'POST', body: JSON.stringify({ ...request, stream: true }) })
    let text = ''
    for await (const piece of body!.pipeThrough(new TextDecoderStream())) if ((text += piece).split('event: ping\ndata: {"type":"ping"}\n\n').length > 2) pinged.resolve()
    return text
  }
  expect((await Promise.all([read(), letGo(pinged.promise)]))[0]).toMatch(/event: message_stop\n.*\n\n$/)
  const [message] = await Promise.all([site.hasty.anthropic.messages.stream(request).finalMessage(), letGo(sleep(700))])
  expect(message.content).toMatchObject([{ type: 'text', text: expectedText(name, 5) }])
})

test('a client that aborts stops the engine', async ({ site }) => {
  const stream = site.anthropic.messages.stream({ model: 'llama-server', max_tokens: 100_000, messages: user('job=mab tokens=100000 rate=50') })
  let read = 0
  for await (const { type } of stream) if (type === 'content_block_delta' && (read += 1) === 3) break
  stream.abort()
  await expect.poll(async () => (await site.engine('llama-server').admin.job('mab')).aborts, { timeout: 2_000, interval: 20 }).toBe(1)
})

test('a key is asked for in Anthropic’s form, and may stand in x-api-key', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['keyed'] })
  const gateway = await drover.gateway({ DROVER_API_KEY: 'a-good-key' })
  await drover.worker('n1', [engine.url])
  const request = { model: 'keyed', max_tokens, messages: user('job=mk tokens=3') }
  const bad = new Anthropic({ baseURL: gateway.url, apiKey: 'another', maxRetries: 0 }).messages.create(request)
  await expect(bad).rejects.toBeInstanceOf(Anthropic.AuthenticationError)
  await expect(bad).rejects.toMatchObject({ error: { type: 'error', error: { type: 'authentication_error', message: 'the API key is not valid' } } })
  const good = new Anthropic({ baseURL: gateway.url, apiKey: 'a-good-key', maxRetries: 0 })
  const tags = () => send(`${gateway.url}/api/tags`, { method: 'GET', headers: { 'x-api-key': 'a-good-key' } })
  await until('the gateway sees the model', async () => (await tags()).text.includes('keyed'))
  expect(await good.messages.create(request)).toMatchObject({ stop_reason: 'end_turn' })
})

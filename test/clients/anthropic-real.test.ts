import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Anthropic from '@anthropic-ai/sdk'
import { expect } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { THINKS } from '../support/llama-kinds.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { send } from '../support/raw.ts'
import { all, test as world } from '../support/world.ts'

const SMALL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const folder = await mkdtemp(join(tmpdir(), 'drover-anthropic-'))
    const path = join(folder, 'tiny.gguf')
    await writeTinyModel({ path })
    const template = join(folder, 'thinks.jinja')
    await writeFile(template, THINKS)
    const [small, tiny, thinks] = await Promise.all([
      startLlamaServer({ model: SMALL, alias: 'drover-small' }),
      startLlamaServer({ model: path, alias: 'tiny' }),
      startLlamaServer({ model: path, alias: 'thinks', extraArgs: ['--jinja', '--chat-template-file', template] }),
    ])
    onCleanup(async () => {
      await Promise.all([small.stop(), tiny.stop(), thinks.stop()])
      await rm(folder, { recursive: true, force: true })
    })
    return { small: small.url, tiny: tiny.url, thinks: thinks.url }
  })
  .extend('site', { scope: 'file' }, async ({ house, llama, engines }) => {
    const scripted = await engines({ kind: 'llama-server', models: ['scripted'] })
    const gateway = await house.gateway()
    await house.worker('n1', [llama.small, llama.tiny, llama.thinks], { gateway })
    return { url: gateway.url, scripted: scripted.url, anthropic: client(gateway.url), direct: { small: client(llama.small), tiny: client(llama.tiny) } }
  })
  .skipIf(skipsWithoutLlamaServer())

const user = (content: string) => [{ role: 'user' as const, content }]
const calm = { temperature: 0, top_k: 1 }
const who = { max_tokens: 60, messages: user('Who are you?'), ...calm }
const WEATHER: Anthropic.Tool = {
  name: 'weather', description: 'Tells the weather.',
  input_schema: { type: 'object', properties: { city: { type: 'string', enum: ['Rome'] } }, required: ['city'], additionalProperties: false },
}
/** A random model opens no call by itself, but fills one that was begun for it. */
const calling = {
  max_tokens: 300, tools: [WEATHER], tool_choice: { type: 'any' as const },
  messages: [...user('hi'), { role: 'assistant' as const, content: '<tool_call>' }], ...calm,
}

const client = (baseURL: string) => new Anthropic({ baseURL, apiKey: 'unused', maxRetries: 0 })

/** All tokens of the prompt, whether they lay in the engine's cache or not. */
const total = ({ usage }: Anthropic.Message) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0)

/** An answer without what differs between two that are the same: ids, and which tokens of the prompt were in the cache. */
const plain = (text: string) =>
  text
    .replaceAll(/"id":"[^"]*"/g, '"id":""')
    .replaceAll(/"cache_read_input_tokens":\d+,"input_tokens":\d+/g, '')

const bytes = async (url: string, body: object) => (await send(`${url}/v1/messages`, { body: JSON.stringify(body), headers: { connection: 'close' } })).text

test('a stream of a real llama-server arrives byte for byte, whatever the model is called', async ({ site, llama }) => {
  const cases = [
    { url: llama.small, model: 'drover-small', request: who },
    { url: llama.small, model: 'drover-small', request: { ...who, max_tokens: 3, system: 'Be short.' } },
    { url: llama.tiny, model: 'tiny', request: { max_tokens: 40, messages: user('hi'), ...calm } },
  ]
  for (const { url, model, request } of cases) {
    await bytes(url, { ...request, model }) // so that both answers find the prompt in the cache, and so are computed alike
    const own = await bytes(url, { ...request, model, stream: true })
    expect(own.endsWith('event: message_stop\ndata: {"type":"message_stop"}\n\n')).toBe(true)
    const asked = `${model.toUpperCase()}:latest`
    expect(plain(await bytes(site.url, { ...request, model: asked, stream: true }))).toBe(plain(own).replace(`"model":"${model}"`, `"model":"${asked}"`))
  }
})

test('a stream with a call is the engine’s own, but for the input that a call begins with', async ({ site, llama }) => {
  const body = { ...calling, model: 'tiny' }
  await bytes(llama.tiny, body)
  const own = plain(await bytes(llama.tiny, { ...body, stream: true }))
  expect(own).toContain('input_json_delta')
  expect(plain(await bytes(site.url, { ...body, stream: true }))).toBe(own.replace('"name":"weather"}', '"name":"weather","input":{}}'))
})

test('a body is what the engine itself would have answered', async ({ site, llama }) => {
  const cases = [
    { url: llama.small, body: { ...who, model: 'drover-small' } },
    { url: llama.small, body: { ...who, model: 'drover-small', max_tokens: 3 } },
    { url: llama.tiny, body: { ...calling, model: 'tiny' } },
  ]
  for (const { url, body } of cases) {
    await bytes(url, body)
    const own = await bytes(url, body)
    expect(plain(await bytes(site.url, body))).toBe(plain(own))
  }
})

test('the client chats with a real llama-server, whole and streamed', async ({ site }) => {
  const request = { ...who, model: 'drover-small' }
  await site.direct.small.messages.create(request)
  const expected = await site.direct.small.messages.create(request)
  expect(expected.content).toMatchObject([{ type: 'text', text: expect.stringMatching(/Drover|model/) as string }])
  const whole = await site.anthropic.messages.create(request)
  const streamed = await site.anthropic.messages.stream(request).finalMessage()
  for (const message of [whole, streamed]) expect(message).toMatchObject({ content: expected.content, stop_reason: 'end_turn', stop_sequence: null })
  const events = await all(await site.anthropic.messages.create({ ...request, stream: true }))
  expect(events.map(({ type }) => type).at(-1)).toBe('message_stop')
  expect([total(whole), total(streamed), whole.usage.output_tokens]).toEqual([total(expected), total(expected), expected.usage.output_tokens])
})

test('a sequence that ends the answer of a real llama-server is named', async ({ site }) => {
  const request = { ...who, model: 'drover-small', stop_sequences: ['Drover'] }
  const whole = await site.anthropic.messages.create(request)
  expect(whole).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'Drover' })
  expect(await site.anthropic.messages.stream(request).finalMessage()).toMatchObject({ content: whole.content, stop_reason: 'stop_sequence', stop_sequence: 'Drover' })
})

test('the client is called with what a real llama-server’s model filled in', async ({ site }) => {
  const request = { ...calling, model: 'tiny' }
  const wanted = [{ type: 'tool_use', name: 'weather', input: { city: 'Rome' } }]
  expect(await site.anthropic.messages.create(request)).toMatchObject({ content: wanted })
  expect(await site.anthropic.messages.stream(request).finalMessage()).toMatchObject({ content: wanted })
})

test('the client reads what a real llama-server thought, within its budget or not at all', async ({ site, llama }) => {
  const request = { model: 'thinks', max_tokens: 16, messages: user('hi'), thinking: { type: 'enabled' as const, budget_tokens: 2 }, ...calm }
  await bytes(llama.thinks, request)
  const own = plain(await bytes(llama.thinks, { ...request, stream: true }))
  expect(own).toContain('thinking_delta')
  expect(plain(await bytes(site.url, { ...request, stream: true }))).toBe(own)
  const whole = await site.anthropic.messages.create(request)
  expect(whole.content).toMatchObject([{ type: 'thinking', thinking: expect.stringMatching(/\w/) as string, signature: '' }, { type: 'text' }])
  expect((await site.anthropic.messages.stream(request).finalMessage()).content).toEqual(whole.content)
  const quiet = await site.anthropic.messages.create({ ...request, thinking: { type: 'disabled' } })
  expect(quiet.content.map(({ type }) => type)).toEqual(['text'])
})

test('a call that the model spoils is an error of the stream', async ({ site }) => {
  const stream = site.anthropic.messages.stream({ ...calling, model: 'tiny', tool_choice: { type: 'auto' }, max_tokens: 9 })
  const failure = await stream.finalMessage().catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(Anthropic.APIError)
  expect(failure).toMatchObject({ error: { type: 'error', error: { message: expect.stringMatching(/does not match/) as string } } })
})

test('a schema binds the answer of a real llama-server, whose own endpoint passes over it', async ({ site }) => {
  const schema = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
  const request = { model: 'drover-small', max_tokens: 60, messages: user('Name a colour as JSON.'), output_config: { format: { type: 'json_schema' as const, schema } } }
  for (const message of [await site.anthropic.messages.create(request), await site.anthropic.messages.stream(request).finalMessage()]) {
    const [block] = message.content
    expect(['red', 'green']).toContain((JSON.parse(block?.type === 'text' ? block.text : '') as { colour: string }).colour)
    expect(message.usage.input_tokens).toBeGreaterThan(5)
  }
})

test('tokens are counted as a real llama-server counts them', async ({ site }) => {
  const request = { model: 'drover-small', system: 'Be kind.', messages: user('Who are you?'), tools: [WEATHER] }
  const counted = await site.anthropic.messages.countTokens(request)
  expect(counted).toEqual(await site.direct.small.messages.countTokens(request))
  const { usage } = await site.anthropic.messages.create({ ...request, max_tokens: 1 })
  expect(usage.input_tokens + (usage.cache_read_input_tokens ?? 0)).toBe(counted.input_tokens)
})

test('what a real llama-server refuses comes back as a refusal in Anthropic’s form', async ({ site }) => {
  const long = { model: 'tiny', max_tokens: 5, messages: user('word '.repeat(3_000)) }
  const image = { type: 'image' as const, source: { type: 'base64' as const, media_type: 'image/png' as const, data: 'iVBORw0KGgo=' } }
  const seen = { model: 'tiny', max_tokens: 5, messages: [{ role: 'user' as const, content: [image] }] }
  for (const [request, message] of [[long, /context/], [seen, /image input is not supported/]] as const)
    for (const stream of [true, false]) {
      const failure = await site.anthropic.messages.create({ ...request, stream }).catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(Anthropic.BadRequestError)
      expect(failure).toMatchObject({
        error: { type: 'error', error: { type: 'invalid_request_error', message: expect.stringMatching(message) as string }, request_id: expect.any(String) as string },
      })
    }
})

/** What a value is made of, without its texts and numbers: names in their order, types at the ends. */
const shapeOf = (value: unknown): unknown => {
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value
  return Array.isArray(value) ? value.map(shapeOf) : Object.entries(value).map(([name, field]) => [name, shapeOf(field)])
}

test('the scripted llama-server answers these routes in the shape of the real one', async ({ site, llama }) => {
  const messages = user('job=c tokens=3')
  const requests: [path: string, body: unknown][] = [
    ['/v1/messages', { model: 'any', max_tokens: 3, temperature: 0, messages, stream: true }],
    ['/v1/messages', { model: 'any', max_tokens: 3, temperature: 0, messages }],
    ['/v1/messages', { model: 'any', max_tokens: 3 }],
    ['/v1/messages/count_tokens', { model: 'any', messages }],
    ['/v1/messages/count_tokens', { model: 'any' }],
  ]
  for (const [path, body] of requests) {
    const told = async (url: string) => {
      const { status, headers, text } = await send(url + path, { body: JSON.stringify(body), headers: { connection: 'close' } })
      const events = String(headers['content-type']).startsWith('text/event-stream') ? text.split('\n\n').filter(Boolean) : [`\ndata: ${text}`]
      return { status, type: headers['content-type'], events: events.map((event) => [event.split('\n')[0], shapeOf(JSON.parse(event.split('\ndata: ')[1] ?? ''))]) }
    }
    expect(await told(site.scripted)).toEqual(await told(llama.tiny))
  }
})

import { expect } from 'vitest'
import { callOf, LLAMA_CASES, ownCall, type LlamaCase } from '../../libs/dialects/src/testing/llama-cases.ts'
import { expectedBody, expectedStream, steady, steadyText } from '../../libs/dialects/src/testing/llama-exceptions.ts'
import { heardNative, nativeOf } from '../../libs/dialects/src/testing/llama-native.ts'
import { dialects } from '../../libs/dialects/src/index.ts'
import { startLlamaKinds } from '../support/llama-kinds.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'

const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const { urls, stop } = await startLlamaKinds()
    onCleanup(stop)
    return urls
  })
  .extend('through', { scope: 'file' }, async ({ house, llama }) => {
    const gateway = await house.gateway()
    await house.worker('n1', Object.values(llama), { gateway })
    return gateway.url
  })
  .skipIf(skipsWithoutLlamaServer())

type Json = Record<string, unknown>

const said = async (url: string, path: string, body: Json): Promise<string> => {
  const { status, text } = await send(url + path, { body: JSON.stringify(body), headers: { connection: 'close' } })
  expect(status, text).toBe(200)
  return text
}

/** Through Drover, the model called by its whole name. */
const heard = (url: string, { dialect, server, body }: LlamaCase, stream: boolean) =>
  said(url, dialects[dialect].path, { ...body, model: server, ...(dialects[dialect].streamType === dialects[dialect].bodyType ? {} : { stream }) })

const named = (cases: readonly LlamaCase[]) => cases.map((one) => ({ name: one.name, one }))
/** Where two batches may be cut otherwise, the last bits of a vector differ. */
const near = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(near)
  if (typeof value === 'number' && !Number.isInteger(value)) return expect.closeTo(value, 4)
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, near(field)])) : value
}

const OWN = new Set(['openai.chat', 'openai.completions', 'openai.embeddings', 'anthropic.messages', 'anthropic.count_tokens', 'llama.rerank', 'llama.tokenize', 'llama.detokenize'])
const own = LLAMA_CASES.filter(({ dialect }) => OWN.has(dialect))
const streamed = own.filter((one) => callOf(one, true).body['stream'] === true)
const native = LLAMA_CASES.filter(({ dialect }) => dialect === 'ollama.chat' || dialect === 'ollama.generate')

/** The expectations name the model as no engine does. */
const asItself = (text: string, { server }: LlamaCase) => text.replaceAll('"model":"Asked"', `"model":"${server}"`)

const indexOf = (event: string) => Number(/"index":(\d+)/.exec(event)?.[1] ?? 99)

/** Events of several answers come in any order, those of one in theirs. */
const ordered = (stream: string): string[] => stream.split(/(?<=\n\n)/).toSorted((a, b) => indexOf(a) - indexOf(b))

test.for(named(streamed))('$name: a real server’s stream is the same to the byte through Drover', async ({ one }, { llama, through }) => {
  const [url, { path, body }, options] = [llama[one.server], ownCall(one), one.body['stream_options']]
  await said(url, path, body) // so that both answers find the prompt in the cache, and so are computed alike
  const direct = await said(url, path, { ...body, stream: true, ...(options === undefined ? {} : { stream_options: options }) })
  const expected = asItself(expectedStream(direct, one), one)
  const got = await heard(through, one, true)
  expect(ordered(steadyText(got))).toEqual(ordered(steadyText(expected)))
})

test.for(named(own))('$name: a real server’s own body is the same through Drover', async ({ one }, { llama, through }) => {
  const [url, { path, body }] = [llama[one.server], ownCall(one)]
  await said(url, path, body)
  const direct = JSON.parse(await said(url, path, body)) as Json
  const expected = JSON.parse(asItself(JSON.stringify(expectedBody(direct, one)), one)) as Json
  const got = JSON.parse(await heard(through, one, false)) as Json
  const exact = one.server === 'embeds' || one.server === 'ranks' ? near : (value: unknown) => value
  expect(steady(got)).toEqual(exact(steady(expected)))
})

test.for(named(native))('$name: what a real server says is heard in Ollama’s API, whole and streamed', async ({ one }, { llama, through }) => {
  const { path, body } = ownCall(one)
  const expected = nativeOf(JSON.parse(await said(llama[one.server], path, body)) as Json, one)
  for (const stream of [true, false]) expect(heardNative(await heard(through, one, stream))).toEqual(near(expected))
})

test.for(named(LLAMA_CASES.filter(({ server, dialect }) => server === 'embeds' && !OWN.has(dialect))))(
  '$name: a real server’s vectors are its own in Ollama’s API',
  async ({ one }, { llama, through }) => {
    const { path, body } = ownCall(one)
    const { data } = JSON.parse(await said(llama.embeds, path, body)) as { data: { embedding: number[] }[] }
    const got = JSON.parse(await heard(through, one, false)) as { embeddings?: number[][]; embedding?: number[] }
    const vectors = got.embeddings ?? [got.embedding ?? []]
    const size = Number(one.body['dimensions'] ?? data[0]?.embedding.length)
    const cut = data.map(({ embedding }) => embedding.slice(0, size))
    const unit = cut.map((vector) => (size < (data[0]?.embedding.length ?? 0) ? vector.map((value) => value / Math.hypot(...vector)) : vector))
    expect(vectors).toEqual(near(unit))
  },
)

/** The model ends its answer inside of a call that was begun for it. */
const spoilt = {
  temperature: 0, max_tokens: 60,
  tools: [{ type: 'function', function: { name: 'weather', description: 'The weather in a city.', parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } }],
  messages: [
    { role: 'user', content: 'What is the weather in Paris and in Rome?' },
    { role: 'assistant', content: '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>\n<tool_call>' },
  ],
}

const askSpoilt = async (url: string) => {
  const stream = steadyText(await said(url, '/v1/chat/completions', { model: 'small', stream: true, ...spoilt }))
  const at = stream.indexOf('data: {"error"')
  return { before: stream.slice(0, at), error: JSON.parse(stream.slice(at + 6)) as { error: Json } }
}

test('what comes before an error of a real server is the same to the byte, and the error has its words', async ({ llama, through }) => {
  const direct = await askSpoilt(llama.small)
  expect(direct).toMatchObject({ before: expect.stringContaining('"delta"') as string, error: { error: { message: expect.stringMatching(/does not match/) as string } } })
  const got = await askSpoilt(through)
  expect(got.before).toBe(direct.before)
  expect(got.error.error['message']).toBe(direct.error.error['message'])
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { all, test as world } from '../support/world.ts'

const MODEL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

const client = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 })

const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const server = await startLlamaServer({ model: MODEL, alias: 'drover-small' })
    onCleanup(() => server.stop())
    return server
  })
  .extend('tiny', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const folder = await mkdtemp(join(tmpdir(), 'drover-responses-'))
    const path = join(folder, 'tiny.gguf')
    await writeTinyModel({ path, eos: 3 })
    const server = await startLlamaServer({ model: path, alias: 'tiny' })
    onCleanup(async () => {
      await server.stop()
      await rm(folder, { recursive: true })
    })
    return server
  })
  .extend('site', { scope: 'file' }, async ({ house, llama, tiny }) => {
    const gateway = await house.gateway()
    await house.worker('n1', [llama.url, tiny.url], { gateway })
    return { direct: client(llama.url), tiny: client(tiny.url), drover: client(gateway.url) }
  })
  .skipIf(skipsWithoutLlamaServer())

const model = 'drover-small'
const calm = { model, temperature: 0 }

const weather = {
  type: 'function' as const, name: 'weather', description: 'The weather in a city.', strict: false,
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

/** What of an answer does not change from one time to the next: ids do, and how much of the prompt was in the cache. */
const lasting = ({ output, usage }: OpenAI.Responses.Response) => ({
  output: output.map((item) => {
    if (item.type === 'message') return { type: item.type, role: item.role, status: item.status, content: item.content }
    return item.type === 'function_call' ? { type: item.type, status: item.status, name: item.name, arguments: item.arguments } : item
  }),
  usage: [usage?.input_tokens, usage?.output_tokens, usage?.total_tokens],
})

const ASKED = {
  'a question': { input: 'Who are you?' },
  instructions: { instructions: 'Be brief.', input: [{ role: 'user' as const, content: 'Who are you?' }] },
  'a conversation': {
    input: [
      { role: 'user' as const, content: 'My name is Mira.' },
      { type: 'message' as const, id: 'msg_1', status: 'completed' as const, role: 'assistant' as const, content: [{ type: 'output_text' as const, text: 'Hello, Mira.', annotations: [] }] },
      { role: 'user' as const, content: 'What is my name?' },
    ],
  },
  'a function': { input: 'What is the weather in Paris?', tools: [weather], tool_choice: 'required' as const, max_output_tokens: 60 },
  'a function and its answer': {
    input: [
      { role: 'user' as const, content: 'What is the weather in Paris?' },
      { type: 'function_call' as const, call_id: 'c1', name: 'weather', arguments: '{"city":"Paris"}' },
      { type: 'function_call_output' as const, call_id: 'c1', output: 'sunny' },
    ],
    tools: [weather],
  },
}

test.for(Object.entries(ASKED))('what a real llama-server says to %s through its own endpoint is what the client gets', async ([, asked], { site }) => {
  const expected = lasting(await site.direct.responses.create({ ...calm, ...asked }))
  const whole = await site.drover.responses.create({ ...calm, ...asked })
  expect(lasting(whole)).toMatchObject(expected)
  expect(whole).toMatchObject({ model, status: 'completed' })
  const events = await all(await site.drover.responses.create({ ...calm, ...asked, stream: true }))
  const last = events.at(-1)
  expect(last?.type === 'response.completed' && lasting(last.response)).toMatchObject(expected)
  expect(lasting(await site.drover.responses.stream({ ...calm, ...asked }).finalResponse())).toMatchObject(expected)
})

test('long answers of a model of random words are the same in every way, and say whether they were cut', async ({ site }) => {
  for (const input of ['one', 'two', 'three', 'four', 'five', 'six']) {
    const asked = { model: 'tiny', input, temperature: 0, max_output_tokens: 60 }
    const direct = await site.tiny.responses.create(asked)
    const whole = await site.drover.responses.create(asked)
    expect([whole.output_text, whole.usage?.output_tokens]).toEqual([direct.output_text, direct.usage?.output_tokens])
    const streamed = await site.drover.responses.stream(asked).finalResponse()
    expect([streamed.output_text, streamed.status]).toEqual([whole.output_text, whole.status])
    // llama-server's own endpoint says completed of both.
    expect(whole.status).toBe(whole.usage?.output_tokens === 60 ? 'incomplete' : 'completed')
  }
})

// Each of these is what llama-server's own endpoint (b11669) passes over, so that it is asked through its chat.
test('a schema binds a real engine’s answer', async ({ site }) => {
  const schema = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
  const asked = { ...calm, input: 'Name a colour as JSON.', text: { format: { type: 'json_schema' as const, name: 'colour', schema } } }
  const parsed = await site.drover.responses.parse(asked)
  expect(['red', 'green']).toContain((parsed.output_parsed as { colour: string } | null)?.colour)
  const streamed = await site.drover.responses.stream(asked).finalResponse()
  expect(streamed.output_text).toBe(parsed.output_text)
})

test('a named function is called, and its pieces make up its arguments', async ({ site }) => {
  const other = { ...weather, name: 'time', description: 'The time in a city.' }
  const asked = {
    ...calm, input: 'What is the weather in Paris?', tools: [other, weather], tool_choice: { type: 'function' as const, name: 'weather' }, max_output_tokens: 60,
  }
  const events = await all(await site.drover.responses.create({ ...asked, stream: true }))
  const text = events.map((event) => (event.type === 'response.function_call_arguments.delta' ? event.delta : '')).join('')
  expect(JSON.parse(text)).toEqual({ city: expect.any(String) as string })
  const { output } = await site.drover.responses.create(asked)
  expect(output).toMatchObject([{ type: 'function_call', name: 'weather', arguments: text, status: 'completed', call_id: expect.stringMatching(/./) as string }])
})

/** The client's type of what comes out is a little wider than that of what goes in. */
const sentBack = ({ output }: OpenAI.Responses.Response) => output as OpenAI.Responses.ResponseInput

test('an answer goes back as part of the next request', async ({ site }) => {
  const question = { role: 'user' as const, content: 'What is the weather in Paris?' }
  const first = await site.drover.responses.create({ ...calm, input: [question], tools: [weather], tool_choice: 'required', max_output_tokens: 60 })
  const [call] = first.output
  if (call?.type !== 'function_call') throw new Error('no call')
  const input = [question, ...sentBack(first), { type: 'function_call_output' as const, call_id: call.call_id, output: 'sunny' }]
  const second = await site.drover.responses.create({ ...calm, input, tools: [weather] })
  expect(second).toMatchObject({ status: 'completed', output: [{ type: 'message' }] })
  const ask = { role: 'user' as const, content: 'Who are you?' }
  const alone = await site.drover.responses.create({ ...calm, input: [ask] })
  const third = await site.drover.responses.create({ ...calm, input: [...input, ...sentBack(second), ask] })
  expect(third.usage?.input_tokens).toBeGreaterThan((alone.usage?.input_tokens ?? Number.NaN) + (second.usage?.output_tokens ?? Number.NaN))
})

test('a limit makes an answer incomplete, and log probabilities come as asked for', async ({ site }) => {
  const asked = { ...calm, input: 'Who are you?', max_output_tokens: 3, top_logprobs: 2 }
  const whole = await site.drover.responses.create(asked)
  expect(whole).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, usage: { output_tokens: 3 } })
  const [item] = whole.output
  const [part] = item?.type === 'message' ? item.content : []
  if (part?.type !== 'output_text') throw new Error('no text')
  expect(part.logprobs).toHaveLength(3)
  expect(part.logprobs?.map(({ token }) => token).join('')).toBe(part.text)
  for (const { top_logprobs: others } of part.logprobs ?? []) expect(others).toHaveLength(2)
  const withTools = await site.drover.responses.stream({ ...asked, tools: [weather] }).finalResponse()
  expect(withTools).toMatchObject({ status: 'incomplete', usage: { output_tokens: 3 } })
})

test('what a real llama-server refuses comes back as a refusal, streamed and not', async ({ site }) => {
  const image = { type: 'input_image' as const, detail: 'auto' as const, image_url: 'data:image/png;base64,iVBORw0KGgo=' }
  for (const stream of [true, false]) {
    const long = site.drover.responses.create({ model, input: 'word '.repeat(3_000), stream })
    await expect(long).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(long).rejects.toMatchObject({ message: expect.stringMatching(/context/) as string })
    const seen = site.drover.responses.create({ model, input: [{ role: 'user', content: [image] }], stream })
    await expect(seen).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  }
})

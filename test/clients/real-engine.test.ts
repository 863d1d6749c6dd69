import { fileURLToPath } from 'node:url'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { all, test as world } from '../support/world.ts'

const MODEL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const server = await startLlamaServer({ model: MODEL, alias: 'drover-small', slots: 2 })
    onCleanup(() => server.stop())
    return server
  })
  .extend('site', { scope: 'file' }, async ({ house, llama }) => {
    const gateway = await house.gateway()
    await house.worker('n1', [llama.url], { gateway })
    return {
      direct: new OpenAI({ baseURL: `${llama.url}/v1`, apiKey: 'unused' }),
      openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused' }),
      ollama: new Ollama({ host: gateway.url }),
    }
  })
  .skipIf(skipsWithoutLlamaServer())

const model = 'drover-small'
const greeting = [{ role: 'user' as const, content: 'Who are you?' }]
const calm = { temperature: 0 }

/** What the engine itself says, to which every way through Drover has to come. */
const said = async (direct: OpenAI): Promise<string> => {
  const { choices } = await direct.chat.completions.create({ model, messages: greeting, ...calm })
  const content = choices[0]?.message.content ?? ''
  expect(content).toMatch(/Drover|model/)
  return content
}

test('the openai client chats with a real llama-server, whole and streamed', async ({ site }) => {
  const { direct, openai } = site
  const expected = await said(direct)
  const whole = await openai.chat.completions.create({ model, messages: greeting, ...calm })
  expect(whole).toMatchObject({ model, choices: [{ finish_reason: 'stop', message: { role: 'assistant', content: expected } }] })
  expect(whole.usage?.completion_tokens).toBeGreaterThan(2)
  const chunks = await all(await openai.chat.completions.create({ model, messages: greeting, stream: true, stream_options: { include_usage: true }, ...calm }))
  expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(expected)
  expect(chunks.flatMap(({ choices }) => choices.flatMap(({ finish_reason: reason }) => reason ?? []))).toEqual(['stop'])
  expect(chunks.at(-1)?.usage).toMatchObject({ completion_tokens: whole.usage?.completion_tokens, prompt_tokens: whole.usage?.prompt_tokens })
  expect(new Set(chunks.map((chunk) => chunk.model))).toEqual(new Set([model]))
})

test('the ollama client chats and generates with a real llama-server, whole and streamed', async ({ site }) => {
  const { direct, ollama } = site
  const expected = await said(direct)
  const chat = await ollama.chat({ model, messages: greeting, options: calm })
  expect(chat).toMatchObject({ model, done: true, done_reason: 'stop', message: { role: 'assistant', content: expected } })
  expect(chat.eval_count).toBeGreaterThan(2)
  expect(chat.prompt_eval_count).toBeGreaterThan(2)
  const chatParts = await all(await ollama.chat({ model, messages: greeting, options: calm, stream: true }))
  expect(chatParts.map(({ message }) => message.content).join('')).toBe(expected)
  expect(chatParts.length).toBeGreaterThan(3)
  expect(chatParts.at(-1)).toMatchObject({ done: true, done_reason: 'stop', eval_count: chat.eval_count })
  const generated = await ollama.generate({ model, prompt: greeting[0]?.content ?? '', options: calm })
  expect(generated).toMatchObject({ model, done: true, done_reason: 'stop', response: expected })
  const parts = await all(await ollama.generate({ model, prompt: greeting[0]?.content ?? '', options: calm, stream: true }))
  expect(parts.map(({ response }) => response).join('')).toBe(expected)
  expect(parts.at(-1)).toMatchObject({ done: true, done_reason: 'stop', eval_count: generated.eval_count })
})

test('system texts, earlier turns and limits mean to a real engine what they say, in both APIs', async ({ site }) => {
  const { direct, openai, ollama } = site
  const messages = [
    { role: 'user' as const, content: 'My name is Mira.' },
    { role: 'assistant' as const, content: 'Hello, Mira.' },
    { role: 'user' as const, content: 'What is my name?' },
  ]
  const expected = (await direct.chat.completions.create({ model, messages, ...calm })).choices[0]?.message.content ?? ''
  expect(expected).toContain('Mira')
  expect((await ollama.chat({ model, messages, options: calm })).message.content).toBe(expected)
  const short = await ollama.chat({ model, messages: greeting, options: { ...calm, num_predict: 3 } })
  expect(short).toMatchObject({ done_reason: 'length', eval_count: 3 })
  const same = await openai.chat.completions.create({ model, messages: greeting, max_completion_tokens: 3, ...calm })
  expect(same.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: short.message.content } })
})

test('a schema binds a real engine’s answer in both APIs', async ({ site }) => {
  const { openai, ollama } = site
  const schema = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
  const ask = [{ role: 'user' as const, content: 'Name a colour as JSON.' }]
  const native = await ollama.chat({ model, messages: ask, format: schema, options: calm })
  expect(['red', 'green']).toContain((JSON.parse(native.message.content) as { colour: string }).colour)
  const answer = await openai.chat.completions.create({
    model, messages: ask, response_format: { type: 'json_schema', json_schema: { name: 'colour', schema } }, ...calm,
  })
  expect(['red', 'green']).toContain((JSON.parse(answer.choices[0]?.message.content ?? '') as { colour: string }).colour)
})

test('both clients see what a real llama-server holds', async ({ site }) => {
  const { openai, ollama } = site
  const { models } = await ollama.list()
  expect(models).toHaveLength(1)
  expect(models[0]).toMatchObject({ name: 'drover-small:latest', digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string, details: { format: 'gguf' } })
  expect(models[0]?.size).toBeGreaterThan(1_000_000)
  expect((await ollama.ps()).models).toMatchObject([{ name: 'drover-small:latest' }])
  expect((await all(openai.models.list())).map(({ id }) => id)).toEqual(['drover-small:latest'])
})

test('what a real llama-server refuses comes back as a refusal, and is not tried again', async ({ site }) => {
  const { openai, ollama } = site
  const long = 'word '.repeat(3_000)
  const asked = openai.chat.completions.create({ model, messages: [{ role: 'user', content: long }] })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(ollama.generate({ model, prompt: long })).rejects.toMatchObject({ status_code: 400, error: expect.stringMatching(/context/) as string })
})

import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { all, test as world } from '../support/world.ts'

const MODEL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))
const model = 'drover-small'
const calm = { model, temperature: 0, max_tokens: 6 }
const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const server = await startLlamaServer({ model: MODEL, alias: model, slots: 4 })
    onCleanup(() => server.stop())
    return server
  })
  .extend('site', { scope: 'file' }, async ({ house, llama }) => {
    const gateway = await house.gateway()
    await house.worker('n1', [llama.url], { gateway })
    return { direct: llama.url, through: gateway.url, openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 }) }
  })
  .skipIf(skipsWithoutLlamaServer())

const post = async (url: string, body: object) => {
  const answer = await fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.status, text: await answer.text() }
}

/** What differs from one run to the next: ids, times, and how much of the prompt was still in memory. */
const steady = (text: string) =>
  text
    .replaceAll(/"(id|created)":("chatcmpl-\w+"|\d+)/g, '"$1":0')
    .replaceAll(/"timings":\{[^}]*\}/g, '"timings":{}')
    .replaceAll(/"cached_tokens":\d+/g, '"cached_tokens":0')

const ONE = [
  { prompt: 'My name is' },
  { prompt: 'My name is', logprobs: 2 },
  { prompt: 'My name is', stop: ['.'] },
  { prompt: [1, 5, 9], top_k: 3 },
  { prompt: 'You', grammar: 'root ::= "yes" | "no"' },
  { prompt: 'You', logit_bias: { 281: -100, Small: -5 }, seed: 7 },
  { prompt: '' },
]

test.for(ONE)('%j: the stream is the engine’s own to the byte, the body the engine’s own', async (asked, { site }) => {
  const body = { ...calm, ...asked }
  await post(site.direct, body)
  expect(steady((await post(site.through, { ...body, stream: true })).text)).toBe(steady((await post(site.direct, { ...body, stream: true })).text))
  const [own, through] = [await post(site.direct, body), await post(site.through, body)].map(({ text }) => JSON.parse(steady(text)) as object)
  expect(through).toEqual(own)
})

test('several prompts with several answers are one body, with the usage of all of them', async ({ site }) => {
  const body = { ...calm, prompt: ['My name is', 'You are'], n: 2 }
  const own = JSON.parse((await post(site.direct, body)).text) as OpenAI.Completion
  const through = await site.openai.completions.create(body)
  expect(through.choices).toEqual(own.choices)
  expect(through.choices).toHaveLength(4)
  expect(through.usage?.completion_tokens).toBeGreaterThan(own.usage?.completion_tokens ?? Number.NaN)
  expect(through.usage?.prompt_tokens).toBeGreaterThan(own.usage?.prompt_tokens ?? Number.NaN)
  const chunks = await all(await site.openai.completions.create({ ...body, stream: true }))
  for (const { index, text } of own.choices)
    expect(chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index).map((choice) => choice.text)).join('')).toBe(text)
})

test.for([
  { prompt: [1, 999_999], said: 'Prompt contains invalid tokens' },
  { prompt: 'word '.repeat(3_000), said: /context size/ },
  { prompt: 'a', grammar: 'root ::= (', said: 'failed to parse grammar' },
  { prompt: 'a', n: 9, said: /between 1 <= value <= 4/ },
])('what it refuses comes back in its own words: $said', async ({ said, ...asked }, { site }) => {
  for (const stream of [true, false]) {
    const refused = site.openai.completions.create({ ...calm, ...asked, stream })
    await expect(refused).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(refused).rejects.toMatchObject({ error: { message: expect.stringMatching(said) as string } })
  }
})

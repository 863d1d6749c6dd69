import OpenAI from 'openai'
import { expect } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { expectedText, token, verifyText } from '../engine/tokens.ts'
import { all, test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
type Kind = (typeof KINDS)[number]
const MODELS = { ollama: 'native:8b', 'llama-server': 'other:latest' } as const satisfies Record<Kind, string>
const INSERTING = 'inserting:latest'
const FAULTS = KINDS.flatMap((kind) => (['error_at', 'cut_at', 'eof_at'] as const).map((fault) => ({ kind, fault, model: `${kind}-${fault}` })))

const client = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 })

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const started: Record<Kind, ScriptedEngine> = {
    ollama: await engines({ kind: 'ollama', models: [MODELS.ollama] }),
    'llama-server': await engines({ kind: 'llama-server', models: ['other'] }),
  }
  const inserting = await engines({ kind: 'llama-server', models: [{ name: INSERTING, capabilities: ['completion', 'insert'] }] })
  // An engine that failed leaves its model alone for a while, so each fault has an engine of its own.
  const faulty = new Map(await Promise.all(FAULTS.map(async ({ kind, model }) => [model, await engines({ kind, models: [model] })] as const)))
  // A broken answer would go on, and no client would see how it breaks.
  const gateway = await house.gateway({ DROVER_RESUME: 'false' })
  await house.worker('n1', [...Object.values(started), inserting, ...faulty.values()].map(({ url }) => url), { gateway })
  return { url: gateway.url, engines: started, faulty, openai: client(gateway.url) }
})

test.for(KINDS)('the openai client completes over %s, whole', async (kind, { site }) => {
  const answer = await site.openai.completions.create({ model: MODELS[kind], prompt: 'job=cc1 tokens=30' })
  expect(answer).toMatchObject({ object: 'text_completion', model: MODELS[kind], usage: { completion_tokens: 30 } })
  expect(answer.choices).toEqual([{ text: expectedText('cc1', 30), index: 0, logprobs: null, finish_reason: 'stop' }])
  expect(answer.usage?.total_tokens).toBe(30 + (answer.usage?.prompt_tokens ?? Number.NaN))
  expect(answer.created).toBeGreaterThan(1_700_000_000)
  expect(answer.id).not.toBe('')
})

test.for(KINDS)('the openai client completes over %s, streamed', async (kind, { site }) => {
  const chunks = await all(await site.openai.completions.create({ model: MODELS[kind], prompt: 'job=cc2 tokens=30', stream: true }))
  expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(expectedText('cc2', 30))
  expect(chunks.every(({ object, model }) => object === 'text_completion' && model === MODELS[kind])).toBe(true)
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  expect(chunks.flatMap(({ choices }) => choices.flatMap(({ finish_reason: reason }) => (reason as string | null) ?? []))).toEqual(['stop'])
})

test.for(KINDS)('usage that was asked for is told once over %s, at the end', async (kind, { site }) => {
  const chunks = await all(
    await site.openai.completions.create({
      model: MODELS[kind], prompt: 'job=cc3 tokens=12', stream: true, stream_options: { include_usage: true },
    }),
  )
  expect(chunks.filter(({ usage }) => usage)).toHaveLength(1)
  expect(chunks.at(-1)?.usage).toMatchObject({ completion_tokens: 12 })
})

test('usage that was not asked for: Ollama has none, llama-server has it in its last event all the same', async ({ site }) => {
  const last = async (kind: Kind) =>
    (await all(await site.openai.completions.create({ model: MODELS[kind], prompt: 'job=cc4 tokens=5', stream: true }))).at(-1)
  expect((await last('ollama'))?.usage).toBeUndefined()
  expect((await last('llama-server'))?.usage).toMatchObject({ completion_tokens: 5 })
})

test.for(KINDS)('a limit and stop texts are kept over %s', async (kind, { site }) => {
  const model = MODELS[kind]
  const short = await site.openai.completions.create({ model, prompt: 'job=cc5 tokens=30', max_tokens: 5 })
  expect(short.choices[0]).toMatchObject({ finish_reason: 'length', text: expectedText('cc5', 5) })
  const stopped = await site.openai.completions.create({ model, prompt: 'job=cc5 tokens=30', stop: [token('cc5', 7)] })
  expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', text: expectedText('cc5', 7) })
})

test('a list of one prompt is that prompt on an Ollama, which refuses several in its own words', async ({ site }) => {
  const { openai } = site
  expect((await openai.completions.create({ model: MODELS.ollama, prompt: ['job=cc6 tokens=3'] })).choices[0]?.text).toBe(expectedText('cc6', 3))
  const asked = openai.completions.create({ model: MODELS.ollama, prompt: ['a', 'b'] })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(asked).rejects.toMatchObject({
    error: { message: 'json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string', type: 'invalid_request_error' },
  })
})

test('a suffix goes to an Ollama, and to the endpoint of a llama-server that is made for it, if its model is, too', async ({ site }) => {
  const { openai, engines } = site
  const asked = { model: INSERTING, prompt: 'job=cc9 tokens=9', suffix: 'end', max_tokens: 4 }
  expect(await openai.completions.create(asked)).toMatchObject({
    model: INSERTING, object: 'text_completion', choices: [{ text: expectedText('cc9', 4), index: 0, finish_reason: 'length' }], usage: { completion_tokens: 4 },
  })
  const chunks = await all(await openai.completions.create({ ...asked, stream: true }))
  expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(expectedText('cc9', 4))
  await openai.completions.create({ model: MODELS.ollama, prompt: 'job=cc7 tokens=2', suffix: 'end' })
  expect(JSON.parse((await engines.ollama.admin.stats()).last.at(-1)?.body ?? '{}')).toMatchObject({ suffix: 'end' })
  await expect(openai.completions.create({ model: MODELS['llama-server'], prompt: 'job=cc7 tokens=2', suffix: 'end' })).rejects.toMatchObject({
    status: 400, error: { message: 'registry.ollama.ai/library/other:latest does not support insert', type: 'invalid_request_error' },
  })
})

test('what no engine acts on is dropped and named', async ({ site }) => {
  const { data, response } = await site.openai.completions
    .create({ model: MODELS.ollama, prompt: 'job=cc8 tokens=2', echo: true, best_of: 1, user: 'somebody' })
    .withResponse()
  expect(data.choices[0]?.text).toBe(expectedText('cc8', 2))
  expect(response.headers.get('x-drover-ignored')).toBe('echo, best_of, user')
})

test.for([true, false])('the openai client hears of an unknown model as its own error class (streamed: %s)', async (stream, { site }) => {
  const asked = site.openai.completions.create({ model: 'nobody-has-this', prompt: 'hello', stream })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(asked).rejects.toMatchObject({ status: 404, error: { message: "model 'nobody-has-this' not found", type: 'not_found_error' } })
})

test.for(FAULTS)('a completion over $kind that meets $fault throws after the text before it', async ({ fault, model }, { site }) => {
  const key = model
  let text = ''
  const read = async () => {
    const stream = await site.openai.completions.create({ model, prompt: `job=${key} tokens=30 stall_at=5 ${fault}=9`, stream: true })
    for await (const { choices } of stream) {
      text += choices[0]?.text ?? ''
      if (text.includes(token(key, 4))) await site.faulty.get(model)?.admin.release(key)
    }
  }
  await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
  expect(verifyText(key, text)).toMatchObject({ ok: true, count: expect.toSatisfy((count: number) => count >= 5 && count <= 9) as number })
})

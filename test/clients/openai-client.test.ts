import OpenAI from 'openai'
import { expect } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { expectedText, token, verifyText } from '../engine/tokens.ts'
import { openAiTurn } from '../support/canned-engine.ts'
import { FAULTS, KINDS, MODELS, withCanned, type Kind } from '../support/every-engine.ts'
import { all } from '../support/world.ts'

const test = withCanned
  .extend('site', { scope: 'file' }, async ({ house, engines, canned }) => {
    const started: Record<Kind, ScriptedEngine> = {
      ollama: await engines({ kind: 'ollama', models: [MODELS.ollama] }),
      'llama-server': await engines({ kind: 'llama-server', models: ['other'] }),
    }
    // An engine that failed leaves its model alone for a while, so each fault has an engine of its own.
    const faulty = new Map(await Promise.all(FAULTS.map(async ({ kind, model }) => [model, await engines({ kind, models: [model] })] as const)))
    // A broken answer would go on, and no client would see how it breaks.
    const gateway = await house.gateway({ DROVER_RESUME: 'false' })
    await house.worker('n1', [...Object.values(started), ...faulty.values(), ...Object.values(canned)].map(({ url }) => url), { gateway })
    // The client wants a key; none is asked for here.
    return { url: gateway.url, engines: started, faulty, openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused' }) }
  })

const user = (content: string) => [{ role: 'user' as const, content }]

test.for(KINDS)('the openai client chats over %s, whole', async (kind, { site }) => {
  const answer = await site.openai.chat.completions.create({ model: MODELS[kind], messages: user('job=ac1 tokens=30') })
  expect(answer).toMatchObject({ object: 'chat.completion', model: MODELS[kind] })
  expect(answer.choices).toHaveLength(1)
  expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: expectedText('ac1', 30) } })
  expect(answer.usage).toMatchObject({ completion_tokens: 30 })
  expect(answer.usage?.total_tokens).toBe(30 + (answer.usage?.prompt_tokens ?? Number.NaN))
  expect(answer.created).toBeGreaterThan(1_700_000_000)
})

test.for(KINDS)('the openai client chats over %s, streamed, without usage that nobody asked for', async (kind, { site }) => {
  const chunks = await all(await site.openai.chat.completions.create({ model: MODELS[kind], messages: user('job=ac2 tokens=30'), stream: true }))
  expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(expectedText('ac2', 30))
  expect(chunks.every(({ object, model }) => object === 'chat.completion.chunk' && model === MODELS[kind])).toBe(true)
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  expect(new Set(chunks.map(({ created }) => created)).size).toBe(1)
  expect(chunks.flatMap(({ choices }) => choices.flatMap(({ delta }) => delta.role ?? []))).toEqual(['assistant'])
  expect(chunks.flatMap(({ choices }) => choices.flatMap(({ finish_reason: reason }) => reason ?? []))).toEqual(['stop'])
  expect(chunks.every(({ usage }) => usage === undefined || usage === null)).toBe(true)
})

test.for(KINDS)('usage that was asked for stands in the last chunk over %s', async (kind, { site }) => {
  const chunks = await all(
    await site.openai.chat.completions.create({
      model: MODELS[kind], messages: user('job=ac3 tokens=12'), stream: true, stream_options: { include_usage: true },
    }),
  )
  const last = chunks.at(-1)
  expect(last).toMatchObject({ choices: [], usage: { completion_tokens: 12 } })
  expect(last?.usage?.total_tokens).toBe(12 + (last?.usage?.prompt_tokens ?? Number.NaN))
})

test.for(KINDS.flatMap((kind) => (['max_tokens', 'max_completion_tokens'] as const).map((field) => ({ kind, field }))))(
  '$field of the openai client is kept over $kind',
  async ({ kind, field }, { site }) => {
    const answer = await site.openai.chat.completions.create({ model: MODELS[kind], messages: user('job=ac4 tokens=30'), [field]: 5 })
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: expectedText('ac4', 5) } })
  },
)

test.for(['NATIVE:8b', 'Other'])('the model is echoed as written: %s', async (model, { site }) => {
  expect((await site.openai.chat.completions.create({ model, messages: user('job=ae1 tokens=3') })).model).toBe(model)
  const chunks = await all(await site.openai.chat.completions.create({ model, messages: user('job=ae2 tokens=3'), stream: true }))
  expect(new Set(chunks.map((chunk) => chunk.model))).toEqual(new Set([model]))
})

test('the openai client lists the models of all engines', async ({ site }) => {
  const models = await all(site.openai.models.list())
  expect(models.map(({ id }) => id).toSorted()).toEqual([...FAULTS.map(({ model }) => `${model}:latest`), 'native:8b', 'other:latest', 'canned:native', 'canned:other'].toSorted())
  for (const model of models) expect(model).toMatchObject({ object: 'model', owned_by: 'library', created: expect.any(Number) as number })
})

test.for([true, false])('the openai client hears of an unknown model as its own error class (streamed: %s)', async (stream, { site }) => {
  const asked = site.openai.chat.completions.create({ model: 'nobody-has-this', messages: user('hello'), stream })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(asked).rejects.toMatchObject({
    status: 404, error: { message: "model 'nobody-has-this' not found", type: 'not_found_error', param: null, code: null },
  })
})

test('the openai client hears what is wrong with a request', async ({ site }) => {
  const asked = site.openai.chat.completions.create({ model: MODELS.ollama, messages: [] })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(asked).rejects.toMatchObject({ status: 400, type: 'invalid_request_error' })
})

test.for(FAULTS)(
  'a stream over $kind that meets $fault throws in the openai client after the text before it',
  async ({ fault, model }, { site }) => {
    const key = model
    let text = ''
    const read = async () => {
      const stream = await site.openai.chat.completions.create({
        model, messages: user(`job=${key} tokens=30 stall_at=5 ${fault}=9`), stream: true,
      })
      for await (const { choices } of stream) {
        text += choices[0]?.delta.content ?? ''
        if (text.includes(token(key, 4))) await site.faulty.get(model)?.admin.release(key)
        expect(choices[0]?.finish_reason ?? null).toBeNull()
      }
    }
    await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
    expect(verifyText(key, text)).toMatchObject({ ok: true, count: expect.toSatisfy((count: number) => count >= 5 && count <= 9) as number })
  },
)

test('aborting the openai client stops the engine', async ({ site }) => {
  const { openai, engines } = site
  const stream = await openai.chat.completions.create({ model: MODELS['llama-server'], messages: user('job=aab tokens=100000 rate=50'), stream: true })
  let read = 0
  for await (const { choices } of stream) if (choices[0]?.delta.content && (read += 1) === 3) break
  stream.controller.abort()
  await expect.poll(async () => (await engines['llama-server'].admin.job('aab')).aborts, { timeout: 2_000, interval: 20 }).toBe(1)
})

const WEATHER = {
  type: 'function' as const,
  function: { name: 'weather', description: 'of a city', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
}

test.for(KINDS)('the openai client hears calls of tools over %s, whole and streamed, and sends their answers', async (kind, { site, canned }) => {
  canned[kind].answers('/v1/chat/completions', { answer: openAiTurn({ thinking: 'I look it up.', call: { name: 'weather', arguments: { city: 'Ulm' } } }) })
  const request = { model: kind === 'ollama' ? 'canned:native' : 'canned:other', messages: user('How is the weather in Ulm?'), tools: [WEATHER] }
  const { choices } = await site.openai.chat.completions.create(request)
  const call = { id: 'call_abc', type: 'function' as const, function: { name: 'weather', arguments: '{"city":"Ulm"}' } }
  expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: [call] } })
  expect(choices[0]?.message).toMatchObject({ [kind === 'ollama' ? 'reasoning' : 'reasoning_content']: 'I look it up.' })
  expect(canned[kind].seen.at(-1)?.body).toMatchObject({ tools: [WEATHER] })

  const stream = site.openai.chat.completions.stream(request)
  expect((await stream.finalChatCompletion()).choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: [call] } })

  canned[kind].answers('/v1/chat/completions', { answer: openAiTurn({ text: 'It rains.' }) })
  const turns = [...request.messages, { role: 'assistant' as const, tool_calls: [call] }, { role: 'tool' as const, tool_call_id: 'call_abc', content: 'rain' }]
  const after = await site.openai.chat.completions.create({ ...request, messages: turns })
  expect(after.choices[0]?.message.content).toBe('It rains.')
  expect(canned[kind].seen.at(-1)?.body['messages']).toEqual(turns)
})

test.for(KINDS)('what %s refuses in its own words reaches the openai client with them', async (kind, { site, canned }) => {
  const error = { message: 'the model says no', type: 'invalid_request_error', param: null, code: null }
  canned[kind].answers('/v1/chat/completions', { status: 400, answer: { error } })
  const asked = site.openai.chat.completions.create({ model: kind === 'ollama' ? 'canned:native' : 'canned:other', messages: user('hi'), stream: true })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(asked).rejects.toMatchObject({ status: 400, error })
})

import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai'
import { createOllama } from 'ai-sdk-ollama'
import { expect } from 'vitest'
import { expectedText, verifyText } from '../engine/tokens.ts'
import { CANNED, FAULTS, KINDS, MODELS, says, test, TURNS } from '../support/every-engine.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { all } from '../support/world.ts'

/** The client would repeat what failed, waiting in between. */
const asking = (baseURL: string, model: string, settings = {}) => ({ model: createOllama({ baseURL })(model, settings), maxRetries: 0 })

const CITY = { type: 'object' as const, properties: { city: { type: 'string' as const } }, required: ['city'] }
const weather = tool({
  description: 'of a city',
  inputSchema: jsonSchema<{ city: string }>(CITY),
  execute: async ({ city }) => `rain in ${city}`,
})

test.for(KINDS)('the AI SDK generates text over %s', async (kind, { site }) => {
  const { text, finishReason, usage } = await generateText({ ...asking(site, MODELS[kind]), prompt: 'job=ai1 tokens=20' })
  expect(text).toBe(expectedText('ai1', 20))
  expect(finishReason).toBe('stop')
  expect(usage).toMatchObject({ outputTokens: 20 })
})

test.for(KINDS)('the AI SDK streams text over %s, and keeps a limit', async (kind, { site }) => {
  const answer = streamText({ ...asking(site, MODELS[kind]), prompt: 'job=ai2 tokens=20', maxOutputTokens: 12, temperature: 0 })
  expect((await all(answer.textStream)).join('')).toBe(expectedText('ai2', 12))
  expect(await answer.finishReason).toBe('length')
})

test.for(KINDS)('tools of the AI SDK are called over %s, and their answer goes back', async (kind, { site, canned }) => {
  says(canned, kind, { call: { name: 'weather', arguments: { city: 'Ulm' } } })
  const { toolCalls, toolResults } = await generateText({
    ...asking(site, CANNED[kind]), prompt: 'How is the weather in Ulm?', tools: { weather }, stopWhen: stepCountIs(1),
  })
  expect(toolCalls).toMatchObject([{ toolName: 'weather', input: { city: 'Ulm' } }])
  expect(toolResults).toMatchObject([{ output: 'rain in Ulm' }])
  expect(canned[kind].seen.at(-1)?.body['tools']).toMatchObject([{ type: 'function', function: { name: 'weather', parameters: CITY } }])

  const before = canned[kind].seen.length
  await generateText({ ...asking(site, CANNED[kind]), prompt: 'How is the weather in Ulm?', tools: { weather }, stopWhen: stepCountIs(2) })
  const second = canned[kind].seen[before + 1]?.body['messages']
  const given = { function: { name: 'weather', arguments: kind === 'ollama' ? { city: 'Ulm' } : '{"city":"Ulm"}' } }
  expect(second).toMatchObject([{ role: 'user' }, { role: 'assistant', tool_calls: [given] }, { role: 'tool', content: expect.stringContaining('rain in Ulm') as string }])
})

test.for(KINDS)('the AI SDK’s objects are bound by a schema over %s', async (kind, { site, canned }) => {
  says(canned, kind, { text: '{"city":"Ulm"}' })
  const { object } = await generateObject({
    ...asking(site, CANNED[kind], { structuredOutputs: true }), schema: jsonSchema<{ city: string }>(CITY), prompt: 'Name a city.',
  })
  expect(object).toEqual({ city: 'Ulm' })
  const { body } = canned[kind].seen.at(-1) ?? { body: {} }
  if (kind === 'ollama') expect(body).toMatchObject({ format: CITY })
  else expect(body).toMatchObject({ response_format: { type: 'json_schema', json_schema: { schema: CITY } } })
})

test.for(KINDS)('the AI SDK hears what a model over %s thinks', async (kind, { site, canned }) => {
  says(canned, kind, { thinking: 'They greet me.', text: 'Hello.' })
  const { text, reasoningText } = await generateText({ ...asking(site, CANNED[kind], { think: true }), prompt: 'hi' })
  expect({ text, reasoningText }).toEqual({ text: 'Hello.', reasoningText: 'They greet me.' })
})

test('the AI SDK hears of an unknown model, and of what an engine refuses', async ({ site, canned }) => {
  await expect(generateText({ ...asking(site, 'nobody-has-this'), prompt: 'hi' })).rejects.toThrow("model 'nobody-has-this' not found")
  for (const kind of KINDS) {
    const error = kind === 'ollama' ? 'the model says no' : { code: 400, message: 'the model says no', type: 'invalid_request_error' }
    canned[kind].answers(TURNS[kind].path, { status: 400, answer: { error } })
    await expect(generateText({ ...asking(site, CANNED[kind]), prompt: 'hi' })).rejects.toThrow('the model says no')
  }
})

test.for(FAULTS)('a stream over $kind that meets $fault throws in the AI SDK, after the text before it', async ({ fault, model }, { site }) => {
  let text = ''
  const read = async () => {
    const answer = streamText({ ...asking(site, model), prompt: `job=${model} tokens=30 rate=200 ${fault}=9`, onError: () => undefined })
    for await (const piece of answer.textStream) text += piece
  }
  await expect(read()).rejects.toThrow(/scripted failure|engine/)
  expect(verifyText(model, text)).toMatchObject({ ok: true })
  expect(text).not.toBe(expectedText(model, 30))
})

test.skipIf(skipsWithoutLlamaServer())('the AI SDK on a real llama-server: generated, streamed, an object', async ({ real }) => {
  const from = asking(real, 'drover-small', { structuredOutputs: true })
  const whole = await generateText({ ...from, prompt: 'Who are you?', temperature: 0 })
  expect(whole.text).toMatch(/Drover|model/)
  const answer = streamText({ ...from, prompt: 'Who are you?', temperature: 0 })
  expect((await all(answer.textStream)).join('')).toBe(whole.text)
  const colour = { type: 'object' as const, properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
  const { object } = await generateObject({ ...from, schema: jsonSchema<{ colour: string }>(colour), prompt: 'Name a colour as JSON.', temperature: 0 })
  expect(['red', 'green']).toContain(object.colour)
})

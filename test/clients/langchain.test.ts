import { AIMessage, HumanMessage } from '@langchain/core/messages'
import { ChatOllama, OllamaEmbeddings } from '@langchain/ollama'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { CANNED, FAULTS, KINDS, MODELS, says, test, TURNS } from '../support/every-engine.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { all } from '../support/world.ts'

/** The client would repeat what failed, waiting in between. */
const chat = (baseUrl: string, model: string, options = {}) => new ChatOllama({ baseUrl, model, maxRetries: 0, ...options })

const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const weather = { type: 'function' as const, function: { name: 'weather', description: 'of a city', parameters: SCHEMA } }

test.for(KINDS)('LangChain invokes a model over %s', async (kind, { site }) => {
  const answer = await chat(site, MODELS[kind]).invoke([['system', 'be brief'], ['human', 'job=lc1 tokens=20']])
  expect(answer.content).toBe(expectedText('lc1', 20))
  expect(answer.usage_metadata).toMatchObject({ output_tokens: 20 })
  expect(answer.response_metadata).toMatchObject({ model: MODELS[kind], done: true, done_reason: 'stop', eval_count: 20 })
})

test.for(KINDS)('LangChain streams a model over %s', async (kind, { site }) => {
  const chunks = await all(await chat(site, MODELS[kind], { numPredict: 12, temperature: 0 }).stream('job=lc2 tokens=20'))
  expect(chunks.map(({ content }) => content).join('')).toBe(expectedText('lc2', 12))
  expect(chunks.at(-1)?.response_metadata).toMatchObject({ done_reason: 'length' })
})

test.for(KINDS)('tools that LangChain binds reach %s, and the call comes back; so does the tool’s answer', async (kind, { site, canned }) => {
  says(canned, kind, { call: { name: 'weather', arguments: { city: 'Ulm' } } })
  const model = chat(site, CANNED[kind]).bindTools([weather])
  const question = new HumanMessage('How is the weather in Ulm?')
  const answer = await model.invoke([question])
  expect(answer.tool_calls).toMatchObject([{ name: 'weather', args: { city: 'Ulm' } }])
  expect(canned[kind].seen.at(-1)).toMatchObject({ path: TURNS[kind].path, body: { tools: [weather] } })

  says(canned, kind, { text: 'It rains.' })
  const id = answer.tool_calls?.[0]?.id ?? 'call_abc'
  const after = await model.invoke([question, answer, { role: 'tool', content: 'rain', tool_call_id: id }])
  expect(after.content).toBe('It rains.')
  const asked = canned[kind].seen.at(-1)?.body['messages']
  expect(asked).toMatchObject([
    { role: 'user' },
    { role: 'assistant', tool_calls: [{ function: { name: 'weather', arguments: kind === 'ollama' ? { city: 'Ulm' } : '{"city":"Ulm"}' } }] },
    { role: 'tool', content: 'rain' },
  ])
})

test.for(KINDS)('LangChain hears what a model over %s thinks', async (kind, { site, canned }) => {
  says(canned, kind, { thinking: 'They greet me.', text: 'Hello.' })
  const answer = await chat(site, CANNED[kind], { think: true }).invoke('hi')
  expect(answer.content).toBe('Hello.')
  expect(answer.additional_kwargs).toMatchObject({ reasoning_content: 'They greet me.' })
  expect(canned[kind].seen.at(-1)?.body).toMatchObject(kind === 'ollama' ? { think: true } : { chat_template_kwargs: { enable_thinking: true } })
})

test.for(KINDS)('LangChain’s structured output reaches %s as a schema', async (kind, { site, canned }) => {
  says(canned, kind, { text: '{"city":"Ulm"}' })
  const model = chat(site, CANNED[kind]).withStructuredOutput(SCHEMA, { method: 'jsonSchema' })
  expect(await model.invoke('Name a city.')).toEqual({ city: 'Ulm' })
  const { body } = canned[kind].seen.at(-1) ?? { body: {} }
  if (kind === 'ollama') expect(body).toMatchObject({ format: SCHEMA })
  else expect(body).toMatchObject({ response_format: { type: 'json_schema', json_schema: { schema: SCHEMA } } })
})

test('LangChain hears of an unknown model as Ollama says it', async ({ site }) => {
  await expect(chat(site, 'nobody-has-this').invoke('hi')).rejects.toMatchObject({ status_code: 404, error: "model 'nobody-has-this' not found" })
})

test.for(KINDS)('LangChain hears what %s refuses before its first byte', async (kind, { site, canned }) => {
  const error = kind === 'ollama' ? 'the model says no' : { code: 400, message: 'the model says no', type: 'invalid_request_error' }
  canned[kind].answers(TURNS[kind].path, { status: 400, answer: { error } })
  await expect(chat(site, CANNED[kind]).invoke('hi')).rejects.toMatchObject({ status_code: 400, error: 'the model says no' })
})

test.for(FAULTS)('an answer over $kind that meets $fault throws in LangChain, which streams whatever it is asked for', async ({ fault, model }, { site }) => {
  await expect(all(await chat(site, model).stream(`job=${model} tokens=30 rate=200 ${fault}=9`))).rejects.toThrow(/failure|engine/)
})

test.skipIf(skipsWithoutLlamaServer())('LangChain on a real llama-server: invoked, streamed, structured, embedded', async ({ real }) => {
  const model = chat(real, 'drover-small', { temperature: 0, numPredict: 24 })
  const whole = await model.invoke('Who are you?')
  expect(whole.content).toMatch(/Drover|model/)
  const chunks = await all(await model.stream([new HumanMessage('My name is Mira.'), new AIMessage('Hello, Mira.'), new HumanMessage('What is my name?')]))
  expect(chunks.map(({ content }) => content).join('')).toContain('Mira')
  const schema = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
  const structured = await model.withStructuredOutput(schema, { method: 'jsonSchema' }).invoke('Name a colour as JSON.')
  expect(['red', 'green']).toContain(structured['colour'])
  const vectors = await new OllamaEmbeddings({ baseUrl: real, model: 'drover-small', maxRetries: 0 }).embedDocuments(['a word', 'another', 'a word'])
  expect(vectors).toHaveLength(3)
  expect(vectors[0]?.length).toBeGreaterThan(10)
  expect(vectors[0]?.[0]).toBeCloseTo(vectors[2]?.[0] ?? Number.NaN, 4)
  expect(vectors[0]).not.toEqual(vectors[1])
})

import { BrokerError, JobId } from '@drover/core'
import { expect, test } from 'vitest'
import type { JsonObject } from './delta.ts'
import { exchange } from './exchange.ts'
import { parseResponses } from './responses-request.ts'
import {
  brokenOff, eventsBefore, failedEvent, inputItems, jobOfItem, jobOfResponse, kept, numberOf, queuedResponse, referencesIn, responseIdOf, responseIn, TOLD_BEFORE, withConversation, withItems, type Turn,
} from './responses-stored.ts'
import { engines, told } from './testing/conversation.ts'

const JOB = JobId.parse('0-abcdefghijklmnopqrstuv')
const SAID = told('openai.chat', {
  pieces: [{ thinking: 'hm' }, { text: 'one\n\nevent: response.completed\ndata: {}' }, { text: ' two' }],
  calls: [{ id: 'call_1', name: 'f', arguments: { a: '1' } }], finish: 'stop', prompt: 3, completion: 4,
})

const asked = (fields: object = {}) => parseResponses(JSON.stringify({ model: 'm', input: 'hello', ...fields }))
const request = (fields: object, keeping: Partial<Parameters<typeof kept>[1]> = {}) => kept(asked(fields), { store: true, background: false, createdAt: 1_700_000_000_999, ...keeping })

/** What a job with this body says. */
const answered = ({ body }: { body: JsonObject }, stream: boolean): string => {
  const talk = exchange({ dialect: 'openai.responses', body, stream, asked: 'm', engine: engines.llama, policy: {}, id: JOB, createdAt: 1_800_000_000_000 })
  return talk.push(SAID) + talk.finish()
}
const eventsOf = (text: string) => text.split(/(?<=\n\n)/)
const dataOf = (event: string) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as JsonObject

test('a response is named by its job, and nothing else is an id', () => {
  expect(jobOfResponse(responseIdOf(JOB))).toBe(JOB)
  for (const id of ['', 'resp_', JOB, 'resp_1', `resp_${JOB}x`, `msg_${JOB}`, `resp_${JOB}:log`]) expect(jobOfResponse(id)).toBeUndefined()
})

test('as it waits it says what its end will say, but for what only the end knows', () => {
  const fields = { instructions: 'be brief', metadata: { a: 'b' }, temperature: 0.5, tools: [{ type: 'function', name: 'f' }], user: 'u' }
  for (const keeping of [{ background: true }, { previous: 'resp_before' }]) {
    const whole = request(fields, keeping)
    const queued = queuedResponse(whole, JOB)
    const { status: _status, output: _output, usage: _usage, completed_at: at, ...ended } = JSON.parse(answered(whole, false)) as JsonObject
    expect(queued).toEqual({ ...ended, status: 'queued', output: [], usage: null, completed_at: null })
    expect(queued).toMatchObject({ id: responseIdOf(JOB), created_at: 1_700_000_000, store: true, background: keeping.background ?? false, previous_response_id: keeping.previous ?? null })
    expect(at).toBeGreaterThanOrEqual(1_700_000_000)
  }
})

test('the events of a background response are numbered through: what comes before its job, then the job’s own', () => {
  const whole = request({}, { background: true })
  const events = [...eventsBefore(queuedResponse(whole, JOB)), ...eventsOf(answered(whole, true))]
  expect(events.map(numberOf)).toEqual(events.map((_, number) => number))
  expect(events.slice(0, 3).map((event) => dataOf(event)['type'])).toEqual(['response.created', 'response.queued', 'response.in_progress'])
  expect(TOLD_BEFORE).toBe(2)
  expect(numberOf(failedEvent({ id: 'r' }, 41))).toBe(41)
  expect(numberOf('event: response.output_text.delta\ndata: {"type":"x","delta":"\\"sequence_number\\":7"}\n\n')).toBeUndefined()
})

test.each([true, false])('the response is found in what its job has said (streamed: %s), whatever that is', (stream) => {
  const whole = request({})
  const said = answered(whole, stream)
  const response = responseIn(said, stream)
  expect(JSON.parse(response ?? '')).toEqual(JSON.parse(answered(whole, false)))
  if (!stream) return expect(response).toBe(said)
  // Cut before its end there is none, though the text looks like one.
  const cut = eventsOf(said).slice(0, -1).join('')
  expect(cut).toContain('event: response.completed')
  expect(responseIn(cut, true)).toBeUndefined()
  return expect(responseIn('', true)).toBeUndefined()
})

test('an answer that broke off keeps what it had said, open items as far as they had come', () => {
  const whole = request({}, { background: true })
  const queued = queuedResponse(whole, JOB)
  const events = eventsOf(answered(whole, true))
  const all = JSON.parse(answered(whole, false)) as { output: JsonObject[] }
  const upTo = (type: string) => events.slice(0, events.findLastIndex((event) => dataOf(event)['type'] === type) + 1).join('')
  const cancelled = brokenOff(queued, { status: 'cancelled' }, upTo('response.function_call_arguments.delta'))
  expect(cancelled).toEqual({ ...queued, status: 'cancelled', output: [all.output[0], all.output[1], { ...all.output[2], status: 'incomplete' }] })
  const failed = brokenOff(queued, { status: 'failed', error: new BrokerError('node_lost', 'gone') }, upTo('response.output_text.delta'))
  expect(failed).toMatchObject({ status: 'failed', error: { code: 'server_error', message: 'gone' }, output: [all.output[0], { ...all.output[1], status: 'incomplete' }] })
  expect(brokenOff(queued, { status: 'failed', error: new BrokerError('engine_refused', 'no') }, '')).toMatchObject({ error: { code: 'invalid_prompt' }, output: [] })
})

test('input is listed as items with ids and parts', () => {
  expect(inputItems('hello', JOB)).toEqual([{ type: 'message', role: 'user', id: `msg_${JOB}_in0`, status: 'completed', content: [{ type: 'input_text', text: 'hello' }] }])
  const items = [{ type: 'message', role: 'assistant', content: 'x' }, { type: 'function_call', id: 'fc_1', call_id: 'c', name: 'f', arguments: '{}' }, { type: 'function_call_output', call_id: 'c', output: 'y' }]
  expect(inputItems(items, JOB)).toEqual([
    { ...items[0], id: `msg_${JOB}_in0`, status: 'completed', content: [{ type: 'output_text', text: 'x' }] },
    { ...items[1], status: 'completed' },
    { ...items[2], id: `fco_${JOB}_in2`, status: 'completed' },
  ])
})

/** What the engine is given. */
const messages = (whole: { body: JsonObject }): unknown => {
  const { call } = exchange({ dialect: 'openai.responses', body: whole.body, stream: true, asked: 'm', engine: engines.llama, policy: {}, id: JOB, createdAt: 0 })
  return (JSON.parse(call?.body ?? '') as JsonObject)['messages']
}

test('a conversation goes on with what was given and said: thoughts, calls and their answers, in their order, without earlier instructions', () => {
  const { output } = JSON.parse(answered(request({ include: ['message.output_text.logprobs'] }), false)) as { output: JsonObject[] }
  const turns: Turn[] = [
    { input: inputItems('first', JOB), output },
    { input: inputItems([{ type: 'function_call_output', call_id: 'call_1', output: 'sunny' }], JOB), output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'refusal', refusal: 'no' }] }] },
  ]
  expect(messages(withConversation(asked({ instructions: 'be brief' }), turns))).toEqual([
    { role: 'system', content: 'be brief' },
    { role: 'user', content: 'first' },
    {
      role: 'assistant', reasoning_content: 'hm', content: 'one\n\nevent: response.completed\ndata: {} two',
      tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":"1"}' } }],
    },
    { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    { role: 'assistant', content: 'no' },
    { role: 'user', content: 'hello' },
  ])
  expect(withConversation(asked(), [])).toEqual(asked())
})

test('an item is named by its response’s job, and stands in the place of its name', () => {
  const whole = JSON.parse(answered(request({}), false)) as { output: (JsonObject & { id: string })[] }
  const items = [...inputItems([{ type: 'message', role: 'user', content: 'first' }], JOB), ...whole.output] as (JsonObject & { id: string })[]
  for (const { id } of items) expect(jobOfItem(id)).toBe(JOB)
  for (const id of ['', 'msg_1', `msg_${JOB}`, JOB, `msg_${JOB}_x`, responseIdOf(JOB)]) expect(jobOfItem(id)).toBeUndefined()
  const named = asked({ input: [...items.map(({ id }) => ({ type: 'item_reference', id })), { role: 'user', content: 'hello' }] })
  expect(named.stored).toEqual({ background: false, references: true })
  expect(referencesIn(named)).toEqual(items.map(({ id }) => id))
  const found = withItems(named, (id) => items.find((item) => item.id === id)!)
  expect(referencesIn(found)).toEqual([])
  const given = withConversation(asked(), [{ input: items.slice(0, 1), output: items.slice(1) }])
  expect(messages(found)).toEqual(messages(given))
})

test('a conversation has at most 10,000 items', () => {
  const turn: Turn = { input: Array.from({ length: 9_999 }, () => ({ type: 'message', role: 'user', content: 'x' })), output: [] }
  expect(() => withConversation(asked(), [turn])).not.toThrow()
  expect(() => withConversation(asked(), [turn, { input: [], output: [{ type: 'reasoning' }] }])).toThrow('the conversation has 10001 items')
})

test('an engine that speaks this API is not asked for a response that is kept: its ids and numbers are others', () => {
  const engine = { ...engines.llama, speaks: ['openai.chat', 'openai.responses'] as const }
  const path = (body: JsonObject) => exchange({ dialect: 'openai.responses', body, stream: true, asked: 'm', engine, policy: {}, id: JOB, createdAt: 0 }).call?.path
  expect(path(request({}).body)).toBe('/v1/chat/completions')
  expect(path(request({}, { store: false, previous: 'resp_1' }).body)).toBe('/v1/responses')
})

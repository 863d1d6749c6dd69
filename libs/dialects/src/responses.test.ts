import { BrokerError } from '@drover/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Collected } from './collect.ts'
import { isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'
import { dialects } from './index.ts'
import { recorded } from './recorded/index.ts'
import { ResponsesReader } from './responses-reader.ts'
import { engines, told, type Script } from './testing/conversation.ts'

const OWN: ExchangeRequest['engine'] = { kind: 'llama-server', speaks: ['openai.chat', 'openai.responses'], model: 'small' }

interface Asking {
  engine?: ExchangeRequest['engine']
  stream?: boolean
  body?: JsonObject
}

const ask = ({ engine = engines.llama, stream = true, body = {} }: Asking = {}) =>
  exchange({
    dialect: 'openai.responses', body: { model: 'Asked', input: 'hello', ...body }, stream, asked: 'Asked', engine, policy: {},
    id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 20, 12),
  })

const answer = (pieces: string | string[], asking: Asking = {}): string => {
  const talk = ask(asking)
  return [pieces].flat().map((piece) => talk.push(piece)).join('') + talk.finish()
}

/** The events of a stream. Each has the line with its type that its data names, too. */
const eventsOf = (stream: string): JsonObject[] =>
  stream.split('\n\n').filter((event) => event.trim()).map((event) => {
    const [type, data] = event.trim().split('\ndata: ')
    const value = JSON.parse(data ?? '') as JsonObject
    expect(type).toBe(`event: ${String(value['type'])}`)
    return value
  })

const typesOf = (events: JsonObject[]) => events.map(({ type }) => type)

const objects = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : [])
const textsIn = (value: unknown): string => objects(value).map(({ text }) => text).join('')

/** What a client understands of the whole answer. */
const heardOf = ({ output, status, usage }: JsonObject) => {
  const items = objects(output)
  return {
    text: items.filter(({ type }) => type === 'message').map(({ content }) => textsIn(content)).join(''),
    thinking: items.filter(({ type }) => type === 'reasoning').map(({ content, summary }) => textsIn(content) + textsIn(summary)).join(''),
    calls: items.filter(({ type }) => type === 'function_call').map((call) => ({ name: call['name'], arguments: JSON.parse(String(call['arguments'])) as unknown })),
    cut: status === 'incomplete',
    usage,
  }
}

/**
 * What a client puts together from the events alone, checked at every step: an item is opened once, grows only while it is open, and
 * is told again at its end as it grew.
 */
const assembled = (events: JsonObject[]) => {
  const open = new Map<unknown, { item: JsonObject; text: string }>()
  const done: JsonObject[] = []
  events.forEach((event, number) => {
    expect(event['sequence_number']).toBe(number)
    const { type, item, delta, item_id: id, output_index: place } = event
    if (type === 'response.output_item.added' && isObject(item)) {
      expect(place).toBe(open.size + done.filter(Boolean).length)
      open.set(item['id'], { item, text: '' })
    } else if (typeof delta === 'string') {
      const known = open.get(id)
      if (!known) throw new Error('a piece of an item that is not open')
      known.text += delta
    } else if (type === 'response.output_item.done' && isObject(item)) {
      const known = open.get(item['id'])
      if (!known) throw new Error('the end of an item that is not open')
      open.delete(item['id'])
      const whole = item['type'] === 'function_call' ? item['arguments'] : textsIn(item['content']) + textsIn(item['summary'])
      expect(whole).toBe(known.text)
      done[Number(place)] = item
    } else if (typeof event['text'] === 'string') expect(event['text']).toBe(open.get(id)?.text)
  })
  expect(open.size).toBe(0)
  return done
}

/** What a reader of this API's events makes of a stream. */
const read = (stream: string) => {
  const reader = new ResponsesReader()
  const answer = new Collected('id')
  for (const event of eventsOf(stream)) for (const delta of reader.read(reader.see(JSON.stringify(event)) ?? {})) answer.add(delta)
  expect(reader.ended).toBe(true)
  return { ...answer.choice(0), usage: answer.usage }
}

const word = fc.string({ unit: 'binary', maxLength: 6 }).filter((text) => text.isWellFormed())

const script: fc.Arbitrary<Script> = fc.record({
  pieces: fc.array(fc.oneof(fc.record({ text: word }), fc.record({ thinking: word })), { maxLength: 8 }),
  calls: fc.uniqueArray(
    fc.record({ id: fc.uuid(), name: fc.constantFrom('weather', 'time'), arguments: fc.dictionary(fc.constantFrom('city', 'a', 'b'), word) }),
    { maxLength: 3, selector: ({ id }) => id },
  ),
  finish: fc.constantFrom('stop', 'length'),
  prompt: fc.nat(9_999),
  completion: fc.nat(9_999),
})

const split = (text: string, places: number[]) => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, index) => text.slice(from, cuts[index] ?? text.length))
}

const reasonings = fc.constantFrom({}, { reasoning: { summary: 'auto' } })

describe.each([
  { name: 'llama-server', engine: engines.llama },
  { name: 'an Ollama', engine: engines.ollama },
])('translated from the chat of $name', ({ engine }) => {
  test('streamed or in one body, the client hears what the engine said, and both are the same answer', () => {
    fc.assert(
      fc.property(script, reasonings, (script, body) => {
        const said = told('openai.chat', script)
        const whole = JSON.parse(answer(said, { engine, stream: false, body })) as JsonObject
        const events = eventsOf(answer(said, { engine, body }))
        expect(heardOf(whole)).toEqual({
          text: script.pieces.map(({ text = '' }) => text).join(''),
          thinking: script.pieces.map(({ thinking = '' }) => thinking).join(''),
          calls: (script.calls ?? []).map(({ name, arguments: given }) => ({ name, arguments: given })),
          cut: script.finish === 'length',
          usage: {
            input_tokens: script.prompt, output_tokens: script.completion, total_tokens: script.prompt + script.completion,
            input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 }, output_tokens_details: { reasoning_tokens: 0 },
          },
        })
        expect(events.at(-1)).toMatchObject({ type: script.finish === 'length' ? 'response.incomplete' : 'response.completed' })
        expect(events.at(-1)?.['response']).toEqual(whole)
        expect(assembled(events)).toEqual(whole['output'])
        expect(typesOf(events).slice(0, 2)).toEqual(['response.created', 'response.in_progress'])
      }),
    )
  })

  test('where the engine cuts its text makes no difference', () => {
    fc.assert(
      fc.property(script, fc.array(fc.nat(), { maxLength: 20 }), fc.boolean(), (script, places, stream) => {
        const said = told('openai.chat', script)
        expect(answer(split(said, places), { engine, stream })).toBe(answer(said, { engine, stream }))
      }),
    )
  })
})

const KINDS = [
  { name: 'translated', engine: engines.llama, said: told('openai.chat', { pieces: [{ text: 'one' }, { text: ' two' }], finish: 'stop', prompt: 7, completion: 3 }) },
  { name: 'untouched', engine: OWN, said: recorded('responses.sse') },
]

describe.each(KINDS)('$name', ({ engine, said }) => {
  test('an answer that stops anywhere before its end is a failure, and never looks complete', () => {
    const whole = said.trimEnd().length
    for (let length = 0; length < whole; length += 7) {
      for (const stream of [true, false]) {
        const talk = ask({ engine, stream })
        expect(talk.push(said.slice(0, length))).not.toMatch(/response\.(completed|incomplete)/)
        expect(() => talk.finish(), `${length} of ${whole}`).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
        expect(talk.ended).toBe(false)
      }
    }
  })

  test('after the end nothing is sent, whatever comes', () => {
    expect(answer([said, said, 'data: nonsense\n\n'], { engine })).toBe(answer(said, { engine }))
  })

  test('usage is known at the end, and the end is known', () => {
    const talk = ask({ engine })
    expect(talk).toMatchObject({ ended: false, usage: undefined })
    talk.push(said)
    expect(talk).toMatchObject({ ended: true, usage: { promptTokens: expect.toSatisfy((n: number) => n > 0) as number, completionTokens: expect.toSatisfy((n: number) => n > 0) as number } })
    expect(talk.finish()).toBe('')
  })

  test.each(['nonsense', '7', '[]', '{"foo":1}', '<html>'])('an event that is %s is not the protocol', (text) => {
    for (const stream of [true, false])
      expect(() => ask({ engine, stream }).push(`data: ${text}\n\n`)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })
})

describe('an engine that speaks this API', () => {
  test.each([
    'data: {"error":{"code":500,"message":"out of memory","type":"server_error"}}\n\n',
    'event: error\ndata: {"type":"error","message":"out of memory","code":"server_error","param":null,"sequence_number":4}\n\n',
    'event: response.failed\ndata: {"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"server_error","message":"out of memory"}}}\n\n',
  ])('fails with %s', (event) => {
    const before = recorded('responses.sse').split('event: response.output_text.done')[0] ?? ''
    const talk = ask({ engine: OWN })
    expect(talk.push(before)).toContain('output_text.delta')
    expect(() => talk.push(event)).toThrow(expect.objectContaining({ code: 'engine_failed', message: 'out of memory' }))
  })

  test.each(['responses.sse', 'responses-tools.sse'])('is heard as it spoke, but for the model’s name: %s', (name) => {
    const said = recorded(name)
    const [, model] = /"status":"completed","model":"(\w+)"/.exec(said) ?? []
    expect(model).toBe('small')
    expect(answer(said, { engine: OWN }).trimEnd()).toBe(said.trimEnd().replace('"model":"small"', '"model":"Asked"'))
    const { response } = eventsOf(said.trimEnd()).at(-1) ?? {}
    expect(JSON.parse(answer(said, { engine: OWN, stream: false }))).toEqual({ ...(response as JsonObject), model: 'Asked' })
  })

  test('is understood piece by piece: text, calls, thoughts, usage and the reason of the end', () => {
    const [call] = read(recorded('responses-tools.sse')).tools.texts()
    expect(call).toMatchObject({ id: expect.stringMatching(/^call_/) as string, name: 'weather', arguments: '{"city": "Paris"}' })
    expect(read(recorded('responses.sse'))).toMatchObject({ thinking: '', finish: 'stop', usage: { promptTokens: 14, completionTokens: 8 } })
    expect(read(recorded('responses.sse')).text).toMatch(/^I was made/)
  })

  test('is understood as it was written, whatever it said', () => {
    fc.assert(
      fc.property(script, reasonings, (script, body) => {
        const { text, thinking, tools, finish, usage } = read(answer(told('openai.chat', script), { body }))
        expect({ text, thinking }).toEqual({
          text: script.pieces.map((piece) => piece.text ?? '').join(''), thinking: script.pieces.map((piece) => piece.thinking ?? '').join(''),
        })
        expect(tools.texts()).toEqual((script.calls ?? []).map(({ id, name, arguments: given }) => ({ id, name, arguments: JSON.stringify(given) })))
        expect(finish).toBe(script.finish === 'length' ? 'length' : script.calls?.length ? 'tool_calls' : 'stop')
        expect(usage).toEqual({ promptTokens: script.prompt, completionTokens: script.completion })
      }),
    )
  })

  test('is asked for a stream, and not for what only comes back', () => {
    const { call } = ask({ engine: OWN, stream: false, body: { metadata: { a: 'b' }, user: 'u', temperature: 0 } })
    expect(call?.path).toBe('/v1/responses')
    expect(JSON.parse(call?.body ?? '')).toEqual({ model: 'small', input: 'hello', temperature: 0, stream: true, store: false })
  })
})

test('a translated stream has every event that OpenAI’s own has, thoughts and calls included', () => {
  const events = eventsOf(answer(told('openai.chat', {
    pieces: [{ thinking: 'hm' }, { text: 'a' }, { text: 'b' }], calls: [{ id: 'call_1', name: 'f', arguments: { a: '1' } }], finish: 'stop', prompt: 1, completion: 2,
  })))
  expect(typesOf(events)).toEqual([
    'response.created', 'response.in_progress',
    'response.output_item.added', 'response.content_part.added', 'response.reasoning_text.delta', 'response.reasoning_text.done',
    'response.content_part.done', 'response.output_item.done',
    'response.output_item.added', 'response.content_part.added', 'response.output_text.delta', 'response.output_text.delta',
    'response.output_text.done', 'response.content_part.done', 'response.output_item.done',
    'response.output_item.added', 'response.function_call_arguments.delta', 'response.function_call_arguments.delta',
    'response.function_call_arguments.done', 'response.output_item.done', 'response.completed',
  ])
  expect(events[15]).toMatchObject({ output_index: 2, item: { type: 'function_call', status: 'in_progress', call_id: 'call_1', name: 'f', arguments: '' } })
  expect(events[19]).toMatchObject({ output_index: 2, item: { status: 'completed', arguments: '{"a":"1"}' } })
})

test('thoughts are a summary for a client that asked for one', () => {
  const said = told('openai.chat', { pieces: [{ thinking: 'hm' }, { text: 'a' }], finish: 'stop', prompt: 1, completion: 2 })
  const types = typesOf(eventsOf(answer(said, { body: { reasoning: { summary: 'auto' } } })))
  expect(types.slice(2, 8)).toEqual([
    'response.output_item.added', 'response.reasoning_summary_part.added', 'response.reasoning_summary_text.delta',
    'response.reasoning_summary_text.done', 'response.reasoning_summary_part.done', 'response.output_item.done',
  ])
})

test('an answer without a word is an empty message, one that was cut is incomplete in its last item', () => {
  const none = JSON.parse(answer(told('openai.chat', { pieces: [], finish: 'stop', prompt: 1, completion: 0 }), { stream: false })) as JsonObject
  expect(none).toMatchObject({ status: 'completed', output: [{ type: 'message', status: 'completed', content: [{ text: '' }] }] })
  const cut = JSON.parse(answer(told('openai.chat', { pieces: [{ thinking: 'x' }, { text: 'y' }], finish: 'length', prompt: 1, completion: 2 }), { stream: false })) as JsonObject
  expect(cut).toMatchObject({
    status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, completed_at: null,
    output: [{ type: 'reasoning', status: 'completed' }, { type: 'message', status: 'incomplete' }],
  })
})

test('log probabilities are those that were asked for, as this API writes them', () => {
  const said = recorded('chat-logprobs.sse')
  const one = (body: JsonObject) => {
    const { output } = JSON.parse(answer(said, { stream: false, body })) as { output: { content: { logprobs: { token: string; top_logprobs: object[] }[] }[] }[] }
    return output[0]?.content[0]?.logprobs ?? []
  }
  const tokens = one({ top_logprobs: 1 })
  expect(tokens.length).toBeGreaterThan(1)
  for (const token of tokens) {
    expect(Object.keys(token).toSorted()).toEqual(['bytes', 'logprob', 'token', 'top_logprobs'])
    expect(token.top_logprobs).toHaveLength(1)
  }
  expect(one({ include: ['message.output_text.logprobs'] }).every((token) => token.top_logprobs.length === 0)).toBe(true)
})

test('an answer that llama-server cannot stream is told as one that it can', () => {
  const body = { top_logprobs: 2, tools: [{ type: 'function', name: 'weather', parameters: { type: 'object' } }] }
  const said = recorded('chat-tools-logprobs.json')
  const events = eventsOf(answer(split(said, [100, 500]), { body }))
  const whole = JSON.parse(answer(said, { body, stream: false })) as JsonObject
  expect(events.at(-1)?.['response']).toEqual(whole)
  expect(assembled(events)).toEqual(whole['output'])
  expect(heardOf(whole).calls.length + heardOf(whole).text.length).toBeGreaterThan(0)
})

test('the answer repeats what was asked, and how much of the prompt was known', () => {
  const said = told('openai.chat', { pieces: [{ text: 'x' }], finish: 'stop', prompt: 10, completion: 1 })
    .replace('"total_tokens":11', '"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}')
  const body = {
    instructions: 'be brief', metadata: { a: 'b' }, temperature: 0.5, top_p: 0.9, max_output_tokens: 50, parallel_tool_calls: false, tool_choice: 'none',
    tools: [{ type: 'function', name: 'f' }], text: { format: { type: 'json_object' } }, reasoning: { effort: 'low' }, user: 'u', prompt_cache_key: 'k',
  }
  expect(JSON.parse(answer(said, { stream: false, body }))).toMatchObject({
    ...body, object: 'response', id: 'resp_0-abcdefghijklmnopqrstuv', model: 'Asked', store: false, reasoning: { effort: 'low', summary: null },
    previous_response_id: null, error: null, truncation: 'disabled', usage: { input_tokens_details: { cached_tokens: 4 } },
  })
})

test('an error ends a stream with an event of its own', () => {
  const event = dialects['openai.responses'].errorEvent(new BrokerError('node_lost', 'gone'))
  expect(eventsOf(event)).toEqual([{
    type: 'error', sequence_number: expect.any(Number) as number, message: 'gone', code: 'server_error', param: null,
    error: { type: 'api_error', message: 'gone', code: 'server_error', param: null },
  }])
})

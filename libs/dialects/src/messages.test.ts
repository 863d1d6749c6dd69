import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { JsonObject } from './delta.ts'
import { isPlain } from './plain-event.ts'
import { recorded } from './recorded/index.ts'
import { told, type Script } from './testing/conversation.ts'
import { answerOf, askMessage, heardMessage, MESSAGE_ENGINES, messageEvents, toldAsMessages, type MessageEngine } from './testing/messages.ts'
import { scriptOf } from './testing/scripts.ts'

const word = fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }).filter((text) => text.isWellFormed())

const script = scriptOf(word)

const tellers: Record<MessageEngine, (script: Script) => string> = {
  own: toldAsMessages,
  openai: (said) => told('openai.chat', said),
  native: (said) => told('ollama.chat', said),
}
const NAMES = Object.keys(tellers) as MessageEngine[]

const split = (text: string, places: number[]) => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, index) => text.slice(from, cuts[index] ?? text.length))
}

const textIn = (content: JsonObject[], field: 'text' | 'thinking') => content.map((block) => (block['type'] === field ? block[field] : '')).join('')

/** A body with the ids of another one. */
const withIds = (body: string, from: string) => {
  const id = /"id":"(chatcmpl-[^"]*)"/
  const call = /"type":"tool_use","id":"([^"]*)"/
  return body.replace(id.exec(body)?.[1] ?? '-', id.exec(from)?.[1] ?? '-').replace(call.exec(body)?.[1] ?? '-', call.exec(from)?.[1] ?? '-')
}

const piece = (text: string) => `event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":${text}}}\n\n`
const plain = (raw: string) => isPlain('anthropic.messages', raw)

/** A piece of a call in OpenAI's form. */
const callPiece = (index: number, text: string, name?: string) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: [{ index, function: { ...(name ? { name } : {}), arguments: text } }] } }] })}\n\n`

const one: Script = { pieces: [{ text: 'one' }, { text: ' two' }], finish: 'stop', prompt: 7, completion: 3 }

describe.each(NAMES)('a message from an engine of the kind: %s', (name) => {
  const engine = MESSAGE_ENGINES[name]
  const tell = tellers[name]

  test('streamed, the client hears what the engine said, block by block', () => {
    fc.assert(
      fc.property(script, (script) => {
        const { content, stop_reason, usage } = heardMessage(answerOf(tell(script), { engine }))
        expect(textIn(content, 'text')).toBe(script.pieces.map(({ text = '' }) => text).join(''))
        expect(textIn(content, 'thinking')).toBe(script.pieces.map(({ thinking = '' }) => thinking).join(''))
        const calls = content.filter(({ type }) => type === 'tool_use').map((call) => ({ name: call['name'], arguments: call['input'] }))
        expect(calls).toEqual(script.calls?.map(({ name: called, arguments: given }) => ({ name: called, arguments: given })))
        expect(stop_reason).toBe(script.finish === 'length' ? 'max_tokens' : calls.length > 0 ? 'tool_use' : 'end_turn')
        const { input_tokens: input, cache_read_input_tokens: cached = 0, output_tokens: output } = usage as Record<string, number>
        expect([Number(input) + Number(cached), output]).toEqual([script.prompt, script.completion])
      }),
    )
  })

  test('one body is what the stream adds up to', () => {
    fc.assert(
      fc.property(script, (script) => {
        const said = tell(script)
        const { content, ...rest } = heardMessage(answerOf(said, { engine }))
        const body = JSON.parse(answerOf(said, { engine, stream: false })) as JsonObject
        const signed = content.map((block) => (block['type'] === 'thinking' ? { ...block, signature: '' } : block))
        expect(body).toMatchObject({ type: 'message', role: 'assistant', model: 'Asked', stop_sequence: null, ...rest })
        expect(body['content']).toEqual(signed)
      }),
    )
  })

  test('where the engine cuts its text makes no difference', () => {
    fc.assert(
      fc.property(script, fc.array(fc.nat(), { maxLength: 20 }), fc.boolean(), (script, places, stream) => {
        const said = tell(script)
        expect(answerOf(split(said, places), { engine, stream })).toBe(answerOf(said, { engine, stream }))
      }),
    )
  })

  test('the answer names the model as the client did, and nothing else is taken for its name', () => {
    const said = tell({ ...one, pieces: [{ text: '"model":"engine/model"' }] })
    for (const stream of [true, false]) {
      const out = answerOf(said, { engine, stream })
      expect(out).not.toContain('"model":"engine/model"')
      expect(out).toContain('"model":"Asked"')
      expect(out).toContain(JSON.stringify('"model":"engine/model"'))
    }
  })

  test('usage is known at the end, and the end is known', () => {
    const talk = askMessage('anthropic.messages', { engine })
    expect(talk).toMatchObject({ ended: false, usage: undefined })
    talk.push(tell(one))
    expect(talk).toMatchObject({ ended: true, usage: { promptTokens: 7, completionTokens: 3 } })
    expect(talk.finish()).toBe('')
  })

  test('an answer that stops anywhere before its end is a failure, and never looks complete', () => {
    const said = tell(one)
    const whole = said.trimEnd().length
    for (let length = 0; length < whole; length++) {
      const talk = askMessage('anthropic.messages', { engine })
      expect(talk.push(said.slice(0, length))).not.toContain('message_stop')
      expect(() => talk.finish(), `${length} of ${whole}`).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
      expect(talk.ended).toBe(false)
    }
  })

  test('after the end nothing is sent, whatever comes', () => {
    const said = tell(one)
    expect(answerOf([said, said, 'data: nonsense\n\n'], { engine })).toBe(answerOf(said, { engine }))
  })
})

describe('an engine that has /v1/messages', () => {
  const files = ['messages', 'messages-stop', 'messages-thinking', 'messages-tools']

  test('its stream passes byte for byte but for the model’s name', () => {
    for (const file of ['messages', 'messages-thinking']) {
      const said = recorded(`${file}.sse`)
      expect(answerOf(said)).toBe(said.replace(/"model":"\w+"/, '"model":"Asked"'))
    }
  })

  test('a piece of text is known without being parsed, and nothing else is taken for one', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => plain(piece(JSON.stringify(text)))))
    const odd = fc.oneof(fc.constantFrom('"', '\\', '\\"', '\\u00', '\n', '\u0001', '"}}', '},"error":{'), fc.string())
    fc.assert(
      fc.property(fc.array(odd), (pieces) => {
        const raw = piece(`"${pieces.join('')}"`)
        if (plain(raw)) expect(Object.keys(messageEvents(raw)[0] ?? {})).toEqual(['type', 'index', 'delta'])
      }),
    )
    const events = recorded('messages.sse').split(/(?<=\n\n)/)
    expect(events.map((raw) => plain(raw))).toEqual(events.map((raw) => raw.includes('text_delta')))
    for (const other of recorded('messages-error.sse').split(/(?<=\n\n)/)) expect(plain(other)).toBe(false)
  })

  test.each(files)('its own body is what its stream is collected to: %s', (file) => {
    const own = recorded(`${file}.json`)
    const said = recorded(`${file}.sse`)
    const expected = JSON.parse(withIds(own, said)) as JsonObject
    if (file === 'messages-stop') expected['stop_reason'] = 'stop_sequence'
    expect(JSON.parse(answerOf(said, { stream: false }))).toEqual({ ...expected, model: 'Asked' })
    expect(Object.keys(expected)).toEqual(Object.keys(JSON.parse(answerOf(said, { stream: false })) as JsonObject))
  })

  test('a sequence that ended the answer is called one, as the API has it', () => {
    const last = messageEvents(answerOf(recorded('messages-stop.sse'))).find(({ type }) => type === 'message_delta')
    expect(last).toEqual({ type: 'message_delta', delta: { stop_reason: 'stop_sequence', stop_sequence: 'Drover' }, usage: { output_tokens: 6 } })
  })

  test('a call begins with its input, which the engine leaves out', () => {
    const events = messageEvents(answerOf(recorded('messages-tools.sse')))
    expect(events.find(({ type }) => type === 'content_block_start')).toMatchObject({ content_block: { type: 'tool_use', name: 'weather', input: {} } })
  })

  const START = toldAsMessages(one).split('event: content_block_start')[0] ?? ''

  test.each([
    ['in its own bare form', recorded('messages-error.sse'), 'The model produced output that does not match the expected peg-native format'],
    ['in Anthropic’s form', `${START}event: error\ndata: {"type":"error","error":{"type":"api_error","message":"out of memory"}}\n\n`, 'out of memory'],
    ['in OpenAI’s form', `${START}data: {"error":{"code":500,"message":"out of memory"}}\n\n`, 'out of memory'],
  ])('an error event %s fails the answer after what came before it', (_form, said, message) => {
    const failure = expect.objectContaining({ code: 'engine_failed', message }) as Error
    const talk = askMessage('anthropic.messages')
    expect(messageEvents(talk.push(said)).map(({ type }) => type)).toEqual(['message_start'])
    expect(() => talk.finish()).toThrow(failure)
    expect(() => answerOf(said, { stream: false })).toThrow(failure)
  })

  test('an end without a reason is none', () => {
    const said = toldAsMessages(one)
    for (const missing of [/event: message_start\n.*\n\n/, /event: message_delta\n.*\n\n/])
      expect(() => answerOf(said.replace(missing, ''))).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })

  test.each(['nonsense', '7', '[]', '{"foo":1}', '<html>'])('an event that is %s is not the protocol', (text) => {
    for (const stream of [true, false])
      expect(() => askMessage('anthropic.messages', { stream }).push(`event: x\ndata: ${text}\n\n`)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })

  test('a call that the length has cut off is not in the body, and the reason says so', () => {
    const whole = toldAsMessages({ ...one, calls: [{ id: 'c', name: 'weather', arguments: { city: 'Rome' } }], finish: 'length' })
    const cut = whole.replace(/event: content_block_delta\ndata: [^\n]*city[^\n]*\n\n/, '')
    expect(JSON.parse(answerOf(cut, { stream: false }))).toMatchObject({ stop_reason: 'max_tokens', content: [{ text: 'one' }, { text: ' two' }] })
    expect(() => answerOf(cut.replace('"max_tokens"', '"tool_use"'), { stream: false })).toThrow(expect.objectContaining({ code: 'engine_failed' }))
  })

  test('its refusals reach the client in Anthropic’s form: its own are kept only if they have it', () => {
    const { refusal } = askMessage('anthropic.messages')
    const bare = refusal(400, recorded('too-long.json'))
    expect(bare).toMatchObject({ code: 'engine_refused', status: 400, body: undefined, message: expect.stringMatching(/context/) as string })
    const body = '{"type":"error","error":{"type":"invalid_request_error","message":"no"},"request_id":"req_1"}'
    expect(refusal(400, body)).toMatchObject({ code: 'engine_refused', message: 'no', body })
  })
})

test('a translated message has ids in the API’s form, and the same in its stream and its body', () => {
  const engine = MESSAGE_ENGINES.native
  const said = told('ollama.chat', { ...one, calls: [{ id: 'call_1', name: 'a', arguments: {} }, { id: 'call_1', name: 'a', arguments: {} }] })
  const { id, content } = JSON.parse(answerOf(said, { engine, stream: false })) as { id: string; content: { id?: string }[] }
  const ids = content.flatMap((block) => block.id ?? [])
  expect(id).toMatch(/^msg_\w{20,}$/)
  expect(ids).toEqual([expect.stringMatching(/^toolu_\w{20,}$/), expect.stringMatching(/^toolu_\w{20,}$/)])
  expect(new Set(ids).size).toBe(2)
  expect(heardMessage(answerOf(said, { engine })).content).toEqual(content)
})

test('pieces of two calls that are mixed cannot be told as blocks', () => {
  const talk = askMessage('anthropic.messages', { engine: MESSAGE_ENGINES.openai })
  talk.push(callPiece(0, '{', 'a') + callPiece(1, '{', 'b'))
  expect(() => talk.push(callPiece(0, '}'))).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
})

import { describe, expect, test } from 'vitest'
import { isObject } from './delta.ts'
import { recorded } from './recorded/index.ts'
import { answer, ask, asked, engines, eventsOf, heard, told, type Script } from './testing/conversation.ts'

const llama = engines.llama
const one: Script = { pieces: [{ text: 'one' }], finish: 'stop', prompt: 1, completion: 1 }

describe('untouched', () => {
  test('a stream passes byte for byte where the names agree and usage is wanted', () => {
    const engine = { ...llama, model: 'Asked' }
    const said = recorded('chat.sse').replaceAll('"model":"tiny"', '"model":"Asked"')
    expect(answer('openai.chat', said, { engine, body: { stream_options: { include_usage: true } } })).toBe(said)
    const native = told('ollama.chat', one).replaceAll('engine/model', 'Asked')
    expect(answer('ollama.chat', native)).toBe(native)
  })

  test('the model is the only thing that changes in an event', () => {
    const said = recorded('chat-two-choices.sse')
    const body = { stream_options: { include_usage: true } }
    expect(answer('openai.chat', said, { engine: llama, body })).toBe(said.replaceAll('"model":"tiny"', '"model":"Asked"'))
  })

  test('usage that was not asked for is taken away, and its event with it', () => {
    const said = recorded('chat.sse')
    const out = answer('openai.chat', said, { engine: llama })
    expect(said).toContain('"usage"')
    expect(out).not.toContain('"usage"')
    expect(eventsOf(out)).toHaveLength(eventsOf(said).length - 1)
    const finish = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
    expect(eventsOf(answer('openai.chat', finish, { engine: llama }))).toEqual([
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], model: 'Asked' },
    ])
  })

  test('a model name is replaced at the top of an event only, however the event is spelt', () => {
    const nested = { message: { content: '', tool_calls: [{ function: { name: 'f', arguments: { model: 'x' } } }] }, done: false }
    const done = '{"model":"x","message":{"content":""},"done":true}\n'
    for (const event of [
      JSON.stringify({ model: 'x', ...nested }),
      JSON.stringify({ ...nested, model: 'x' }),
      `{"model": "x", ${JSON.stringify(nested).slice(1)}`,
    ]) {
      expect(eventsOf(answer('ollama.chat', `${event}\n${done}`))[0]).toEqual({ model: 'Asked', ...nested })
    }
  })

  test('pings are not passed on', () => {
    const said = recorded('chat.sse')
    expect(answer('openai.chat', [': ping\n\n', said], { engine: llama })).toBe(answer('openai.chat', said, { engine: llama }))
  })

  test('a stream that says it is done without a finish reason is a failure', () => {
    const talk = ask('openai.chat', { engine: llama })
    const out = talk.push('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')
    expect(out).not.toContain('[DONE]')
    expect(() => talk.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
    const half = ask('openai.chat', { engine: llama, stream: false })
    const both = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{"content":"a"}}]}'
    expect(() => half.push(`data: ${both}\n\ndata: [DONE]\n\n`)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })

  test('usage of an engine that sends none is taken from its timings', () => {
    const talk = ask('openai.chat', { engine: llama })
    talk.push(recorded('chat-without-usage.sse'))
    expect(talk.usage).toEqual({ promptTokens: 26, completionTokens: 4 })
  })
})

describe('one body', () => {
  test('the collected body is the body that llama-server gives itself', () => {
    const own = JSON.parse(recorded('chat.json'))
    const collected = JSON.parse(answer('openai.chat', recorded('chat.sse'), { engine: llama, stream: false }))
    const { id: _id, timings: _timings, ...same } = own
    expect(collected).toMatchObject({ ...same, created: expect.any(Number), model: 'Asked', usage: same.usage })
    expect(Object.keys(collected).toSorted()).toEqual(Object.keys(own).toSorted())
    expect(Object.keys(collected.choices[0]).toSorted()).toEqual(Object.keys(own.choices[0]).toSorted())
  })

  test('several choices keep their own text', () => {
    const { choices } = JSON.parse(answer('openai.chat', recorded('chat-two-choices.sse'), { engine: llama, stream: false }))
    expect(choices).toEqual(JSON.parse(recorded('chat-two-choices.json')).choices)
  })

  test('log probabilities are joined', () => {
    const { choices } = JSON.parse(answer('openai.chat', recorded('chat-logprobs.sse'), { engine: llama, stream: false }))
    const tokens = choices[0].logprobs.content.map(({ token }: { token: string }) => token)
    expect(tokens.join('')).toBe(choices[0].message.content)
    expect(choices[0].logprobs.content[0].top_logprobs).toHaveLength(2)
  })

  test('tool calls are joined, an odd one as the engine made it', () => {
    const { choices } = JSON.parse(answer('openai.chat', recorded('chat-two-tools.sse'), { engine: llama, stream: false }))
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: [{ function: { arguments: '}' } }, { function: { arguments: '{}' } }] } })
  })

  test('what Ollama measured stays in the body', () => {
    const out = answer('ollama.generate', told('ollama.generate', one), { stream: false })
    expect(JSON.parse(out)).toEqual({
      model: 'Asked', created_at: '2026-11-20T12:00:00.123456789Z', response: 'one', done: true, done_reason: 'stop',
      total_duration: 9_000_000, load_duration: 2_000_000, prompt_eval_count: 1, eval_count: 1,
    })
  })
})

describe('one call', () => {
  const tools = [{ type: 'function', function: { name: 'weather' } }]
  const body = { tools, logprobs: true, top_logprobs: 1, stream_options: { include_usage: true } }
  const said = recorded('chat-tools-logprobs.json')

  test('a client that wants a stream gets one, in the identity of the engine', () => {
    const out = answer('openai.chat', [said.slice(0, 100), said.slice(100)], { engine: llama, body })
    expect(heard('openai.chat', out)).toMatchObject({ calls: [{ name: 'weather', arguments: { city: 'Paris' } }] })
    const events = eventsOf(out)
    const { id, created } = JSON.parse(said)
    for (const event of events) expect(event).toMatchObject({ id, created, object: 'chat.completion.chunk', model: 'Asked' })
    expect(events.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 103, completion_tokens: 23 } })
    expect(out.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  test('one that wants a body gets it with all its fields', () => {
    const out = JSON.parse(answer('openai.chat', said, { engine: llama, body, stream: false }))
    expect(out).toEqual({ ...JSON.parse(said), model: 'Asked' })
  })

  test('nothing is sent before the body is whole, and half a body is a failure', () => {
    const talk = ask('openai.chat', { engine: llama, body })
    expect(talk.push(said.slice(0, -1))).toBe('')
    expect(talk.ended).toBe(false)
    expect(() => talk.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })

  test('a beginning that the client gave is not repeated to it', () => {
    const messages = [{ role: 'user', content: 'x' }, { role: 'assistant', content: 'Once' }]
    const text = JSON.stringify({ choices: [{ index: 0, message: { content: 'Once upon' }, finish_reason: 'stop' }] })
    expect(heard('openai.chat', answer('openai.chat', text, { engine: llama, body: { ...body, messages } })).text).toBe(' upon')
    expect(heard('ollama.chat', answer('ollama.chat', text, { engine: llama, stream: false, body: { ...body, messages } })).text).toBe(' upon')
  })
})

describe('translated', () => {
  test('the real llama-server is heard natively', () => {
    const events = eventsOf(answer('ollama.chat', recorded('chat.sse'), { engine: llama }))
    expect(events[0]).toEqual({
      model: 'Asked', created_at: '2026-11-20T12:00:00.000Z', message: { role: 'assistant', content: ' ron' }, done: false,
    })
    expect(events.at(-1)).toEqual({
      model: 'Asked', created_at: '2026-11-20T12:00:00.003Z', message: { role: 'assistant', content: '' }, done: true, done_reason: 'length',
      total_duration: 3_030_000, prompt_eval_count: 26, prompt_eval_duration: 622_000, eval_count: 6, eval_duration: 2_408_000,
    })
  })

  test('constrained output is joined to one JSON text', () => {
    const { message, done_reason } = JSON.parse(answer('ollama.chat', recorded('chat-schema.sse'), { engine: llama, stream: false }))
    expect({ ...JSON.parse(message.content), done_reason }).toEqual({ ok: false, done_reason: 'stop' })
  })

  test('a raw prompt is answered by the other endpoint', () => {
    const asking = { engine: llama, body: { raw: true, logprobs: true } }
    expect(asked('ollama.generate', asking).path).toBe('/v1/completions')
    const events = eventsOf(answer('ollama.generate', recorded('completion.sse'), asking))
    expect(events[0]).toMatchObject({ response: ' mer', logprobs: [{ token: ' mer', bytes: [32, 109, 101, 114] }] })
    expect(events.at(-1)).toMatchObject({ response: '', done: true, done_reason: 'length', prompt_eval_count: 10, eval_count: 3 })
    expect(JSON.stringify(events)).not.toContain('context')
  })

  test('log probabilities have the fields that Ollama has, and as many alternatives as were asked for', () => {
    const [none, one, two] = [0, 1, 2].map((top_logprobs) => {
      const body = { logprobs: true, top_logprobs }
      return JSON.parse(answer('ollama.chat', recorded('chat-logprobs.sse'), { engine: llama, stream: false, body })).logprobs[0]
    })
    expect(Object.keys(none)).toEqual(['token', 'logprob', 'bytes'])
    expect(one.top_logprobs).toEqual([{ token: ' ron', logprob: expect.any(Number), bytes: [32, 114, 111, 110] }])
    expect(two.top_logprobs).toHaveLength(2)
  })

  test('a tool call is whole, its arguments are an object, and the end is an ordinary one', () => {
    const events = eventsOf(answer('ollama.chat', recorded('chat-tools.sse'), { engine: llama }))
    expect(events.at(-2)).toMatchObject({
      message: { content: '', tool_calls: [{ function: { index: 0, name: 'weather', arguments: { city: 'Paris' } } }] }, done: false,
    })
    expect(events.at(-1)).toMatchObject({ message: { content: '' }, done: true, done_reason: 'stop' })
  })

  test('tool arguments that are not JSON fail the answer, unless its length cut them off', () => {
    const said = recorded('chat-two-tools.sse')
    expect(() => ask('ollama.chat', { engine: llama }).push(said)).toThrow(expect.objectContaining({ code: 'engine_failed' }))
    const cut = said.replace('"finish_reason":"tool_calls"', '"finish_reason":"length"')
    const events = eventsOf(answer('ollama.chat', cut, { engine: llama }))
    expect(events.at(-2)).toMatchObject({ message: { tool_calls: [{ function: { name: 'weather', arguments: {} } }] } })
    expect(events.at(-1)).toMatchObject({ done: true, done_reason: 'length' })
  })

  test('an error in the middle of the real thing is an error', () => {
    const message = 'The model produced output that does not match the expected peg-native format'
    for (const dialect of ['ollama.chat', 'ollama.generate'] as const) {
      expect(() => ask(dialect, { engine: llama }).push(recorded('chat-error.sse'))).toThrow(
        expect.objectContaining({ code: 'engine_failed', message }),
      )
    }
  })

  test('a native answer becomes chunks with one role, one id and the usage that was asked for', () => {
    const said = told('ollama.chat', { ...one, pieces: [{ thinking: 'hm' }, { text: 'a' }], calls: [{ id: '', name: 'f', arguments: {} }] })
    const out = answer('openai.chat', said, { engine: engines.native, body: { stream_options: { include_usage: true } } })
    const events = eventsOf(out)
    for (const event of events)
      expect(event).toMatchObject({ id: 'chatcmpl-0-abcdefghijklmnopqrstuv', created: Date.UTC(2026, 10, 20, 12) / 1_000, model: 'Asked' })
    const deltas = events.flatMap(({ choices }) => (Array.isArray(choices) ? choices.map((choice) => isObject(choice) && choice['delta']) : []))
    expect(deltas).toEqual([
      { role: 'assistant', content: '', reasoning: 'hm' },
      { content: 'a' },
      { content: '', tool_calls: [{ index: 0, id: expect.stringMatching(/^call_\w+$/), type: 'function', function: { name: 'f', arguments: '{}' } }] },
      {},
    ])
    expect(events.at(-2)).toMatchObject({ choices: [{ finish_reason: 'tool_calls' }] })
    expect(events.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } })
    expect(answer('openai.chat', said, { engine: engines.native })).not.toContain('usage')
  })
})

describe('load and unload', () => {
  test.each([
    ['ollama.generate', {}, { response: '', done_reason: 'load' }],
    ['ollama.generate', { keep_alive: 0 }, { response: '', done_reason: 'unload' }],
    ['ollama.chat', {}, { message: { role: 'assistant', content: '' }, done_reason: 'load' }],
    ['ollama.chat', { keep_alive: '0s' }, { message: { role: 'assistant', content: '' }, done_reason: 'unload' }],
  ] as const)('%s of nothing with %j needs no llama-server and is one object', (dialect, fields, expected) => {
    const talk = ask(dialect, { engine: llama, body: { prompt: '', messages: [], ...fields } })
    expect(talk).toMatchObject({ call: undefined, contentType: 'application/json; charset=utf-8', ended: true })
    const out = talk.finish()
    expect(out.endsWith('\n')).toBe(false)
    expect(JSON.parse(out)).toEqual({ model: 'Asked', created_at: '2026-11-20T12:00:00.000Z', done: true, ...expected })
  })

  test('on an Ollama its own object passes, without the line end that it lacks', () => {
    const talk = ask('ollama.chat', { body: { messages: [] } })
    expect(talk.contentType).toBe('application/json; charset=utf-8')
    const said = '{"model":"engine/model","created_at":"2026-11-20T12:00:00Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}'
    expect(talk.push(said)).toBe('')
    expect(talk.finish()).toBe(said.replace('engine/model', 'Asked'))
  })
})

const refusal = (status: number, body: string, native = false) =>
  ask(native ? 'ollama.chat' : 'openai.chat', { engine: llama }).refusal(status, body)

describe('refusals', () => {
  test("an engine's refusal keeps its status and text, and its body for a client of the same API", () => {
    const body = recorded('too-long.json')
    const message = 'request (5019 tokens) exceeds the available context size (2048 tokens), try increasing it'
    expect(refusal(400, body)).toMatchObject({ code: 'engine_refused', status: 400, message, body })
    expect(refusal(400, body, true)).toMatchObject({ code: 'engine_refused', status: 400, message, body: undefined })
    expect(ask('ollama.chat').refusal(404, '{"error":"model \'x\' not found"}')).toMatchObject({
      code: 'engine_refused', status: 404, message: "model 'x' not found", body: '{"error":"model \'x\' not found"}',
    })
  })

  test.each([
    [500, '{"error":{"message":"boom"}}', 'engine_failed', 'boom'],
    [503, '{"error":{"message":"Loading model","code":503}}', 'engine_failed', 'Loading model'],
    [502, '<html>Bad gateway</html>', 'engine_failed', '<html>Bad gateway</html>'],
    [500, '', 'engine_failed', 'the engine answered with status 500'],
    [500, '{"error":{"message":"image input is not supported - hint"}}', 'engine_refused', 'image input is not supported - hint'],
    [501, '{"error":{"message":"not here"}}', 'engine_refused', 'not here'],
    [302, '', 'engine_protocol', 'the engine answered with status 302'],
  ] as const)('status %i with %s is %s', (status, body, code, message) => {
    expect(refusal(status, body)).toMatchObject({ code, message })
  })

  test('what clients would repeat in vain is a 400', () => {
    expect(refusal(500, '{"error":{"message":"image input is not supported - hint"}}').status).toBe(400)
    expect(refusal(500, '{"error":{"message":"boom"}}').status).toBe(500)
    // As Ollama (v0.33) hands on what its own llama-server says.
    const body = JSON.stringify({ error: JSON.stringify({ error: { code: 500, message: 'image input is not supported - hint', type: 'server_error' } }) })
    expect(ask('ollama.chat').refusal(500, body)).toMatchObject({ code: 'engine_refused', status: 400, body })
  })

  test('an Ollama was asked by its own name for a model, and the client reads the one that it wrote', () => {
    const thinks = JSON.stringify({ error: '"engine/model" does not support thinking' })
    expect(ask('ollama.chat').refusal(400, thinks)).toMatchObject({ message: '"Asked" does not support thinking', body: thinks.replace('engine/model', 'Asked') })
    const gone = "model 'engine/model' not found"
    expect(ask('openai.chat').refusal(404, JSON.stringify({ error: { message: gone } }))).toMatchObject({ message: "model 'Asked' not found" })
    const full = JSON.stringify({ error: 'registry.ollama.ai/library/engine/model does not support tools' })
    expect(ask('ollama.chat').refusal(400, full).body).toBe(full)
  })

  test('a body that is too long or not an error is not handed on', () => {
    expect(refusal(400, JSON.stringify({ error: 'x'.repeat(9_000) })).body).toBeUndefined()
    expect(refusal(400, '{"detail":"x"}').body).toBeUndefined()
  })
})

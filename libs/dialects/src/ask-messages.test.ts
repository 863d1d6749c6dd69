import { describe, expect, test } from 'vitest'
import { askedOf, askMessage, MESSAGE_ENGINES, type Asking } from './testing/messages.ts'

const { own, openai, native } = MESSAGE_ENGINES
const OLLAMA = { kind: 'ollama', speaks: [...native.speaks, 'anthropic.messages'], model: 'engine/model' } as const
const tools = ['a', 'b'].map((name) => ({ name, input_schema: { type: 'object' } }))
const functions = tools.map(({ name, input_schema: parameters }) => ({ type: 'function', function: { name, parameters } }))
const schema = { type: 'object', properties: { c: { type: 'string' } } }
const bodyOf = (asking: Asking) => askedOf(asking).body

describe('an engine that has /v1/messages', () => {
  test('is asked what the client asked, under its own name for the model', () => {
    const body = { max_tokens: 5, system: 's', top_k: 3, stop_sequences: ['x'], tools, messages: [{ role: 'user', content: 'hi' }] }
    for (const stream of [true, false])
      expect(askedOf({ engine: own, stream, body: { ...body, stream } })).toEqual({ path: '/v1/messages', body: { ...body, model: 'engine/model', stream: true } })
  })

  test('is not offered a tool that the model may not use', () => {
    const of = (tool_choice: unknown) => bodyOf({ engine: OLLAMA, body: { tools, tool_choice } })
    expect(of({ type: 'auto' })).toMatchObject({ tools })
    expect(of({ type: 'auto' })).not.toHaveProperty('tool_choice')
    expect(of({ type: 'any', disable_parallel_tool_use: true })).toMatchObject({ tools, tool_choice: { type: 'any', disable_parallel_tool_use: true } })
    expect(of({ type: 'tool', name: 'b' })).toMatchObject({ tools: [tools[1]], tool_choice: { type: 'any' } })
    expect(of({ type: 'none' })).not.toHaveProperty('tools')
    expect(of({ type: 'none' })).not.toHaveProperty('tool_choice')
  })

  test('llama-server is told of thinking and effort where it looks for them', () => {
    expect(bodyOf({ body: { thinking: { type: 'disabled' } } })).toMatchObject({ chat_template_kwargs: { enable_thinking: false } })
    expect(bodyOf({ body: { thinking: { type: 'enabled', budget_tokens: 9 }, output_config: { effort: 'low' } } })).toMatchObject({
      thinking: { type: 'enabled', budget_tokens: 9 }, chat_template_kwargs: { enable_thinking: true, reasoning_effort: 'low' },
    })
    const left = bodyOf({ body: { thinking: { type: 'adaptive' } } })
    expect(left).not.toHaveProperty('thinking')
    expect(left).not.toHaveProperty('chat_template_kwargs')
    expect(bodyOf({ engine: OLLAMA, body: { thinking: { type: 'disabled' } } })).not.toHaveProperty('chat_template_kwargs')
  })

  test('a schema goes where it counts, for this endpoint passes over it', () => {
    const body = { output_config: { format: { type: 'json_schema', schema } } }
    expect(askedOf({ engine: own, body })).toMatchObject({ path: '/v1/chat/completions', body: { response_format: { type: 'json_schema', json_schema: { schema } } } })
    expect(askedOf({ engine: OLLAMA, body })).toMatchObject({ path: '/api/chat', body: { format: schema } })
  })
})

const PNG = 'iVBORw0KGgo='
const talk = {
  system: [{ type: 'text', text: 'be' }, { type: 'text', text: 'kind' }],
  max_tokens: 7, temperature: 0.5, top_p: 0.9, top_k: 40, stop_sequences: ['END'],
  tools,
  messages: [
    { role: 'user', content: [{ type: 'text', text: 'look' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }] },
    { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: '' }, { type: 'text', text: 'so' }, { type: 'tool_use', id: 't1', name: 'a', input: { x: 1 } }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'sunny' }] }, { type: 'text', text: 'and?' }] },
  ],
}

test('an engine that has OpenAI’s API alone is asked the same there', () => {
  expect(askedOf({ engine: openai, body: { ...talk, tool_choice: { type: 'tool', name: 'b', disable_parallel_tool_use: true } } })).toEqual({
    path: '/v1/chat/completions',
    body: {
      model: 'engine/model', stream: true, stream_options: { include_usage: true },
      max_tokens: 7, temperature: 0.5, top_p: 0.9, top_k: 40, stop: ['END'],
      tools: [functions[1]], tool_choice: 'required', parallel_tool_calls: false,
      messages: [
        { role: 'system', content: 'be\nkind' },
        { role: 'user', content: [{ type: 'text', text: 'look' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } }] },
        { role: 'assistant', content: 'so', reasoning_content: 'hm', tool_calls: [{ id: 't1', type: 'function', function: { name: 'a', arguments: '{"x":1}' } }] },
        { role: 'tool', tool_call_id: 't1', content: 'sunny' },
        { role: 'user', content: 'and?' },
      ],
    },
  })
})

const chat = {
  model: 'engine/model', stream: true, tools: functions,
  messages: [
    { role: 'system', content: 'be\nkind' },
    { role: 'user', content: 'look', images: [PNG] },
    { role: 'assistant', content: 'so', thinking: 'hm', tool_calls: [{ id: 't1', function: { index: 0, name: 'a', arguments: { x: 1 } } }] },
    { role: 'tool', content: 'sunny', tool_call_id: 't1', tool_name: 'a' },
    { role: 'user', content: 'and?' },
  ],
}

test('an Ollama from before it had /v1/messages is asked in its own API, by the node’s policy', () => {
  const policy = { numCtx: 4096, keepAlive: '1h' }
  expect(askedOf({ engine: native, policy, body: talk })).toEqual({
    path: '/api/chat',
    body: { ...chat, options: { temperature: 0.5, top_p: 0.9, top_k: 40, num_predict: 7, stop: ['END'], num_ctx: 4096 }, keep_alive: '1h' },
  })
  // Told to think, it would refuse a model that cannot.
  expect(bodyOf({ engine: native, body: { thinking: { type: 'enabled', budget_tokens: 5 } } })).not.toHaveProperty('think')
  expect(bodyOf({ engine: native, body: { thinking: { type: 'disabled' } } })).toMatchObject({ think: false })
})

test('images that a tool answers with follow as the user’s', () => {
  const content = [{ type: 'text', text: 'here' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }]
  const { messages } = bodyOf({ engine: native, body: { messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content }] }] } })
  expect(messages).toEqual([{ role: 'tool', content: 'here', tool_call_id: 't1' }, { role: 'user', content: '', images: [PNG] }])
})

describe('a count of tokens', () => {
  const counts = 'anthropic.count_tokens'
  const { max_tokens: _limit, temperature: _heat, top_p: _p, top_k: _k, stop_sequences: _stop, ...prompt } = talk
  const body = { ...prompt, max_tokens: undefined }

  test('is the engine’s own where it has one', () => {
    expect(askedOf({ engine: own, stream: false, body }, counts)).toEqual({ path: '/v1/messages/count_tokens', body: { ...prompt, model: 'engine/model' } })
    const asked = askMessage(counts, { engine: own, stream: false, body })
    asked.push('{"input_')
    asked.push('tokens":19}')
    expect(asked.ended).toBe(false)
    expect(JSON.parse(asked.finish())).toEqual({ input_tokens: 19 })
    expect(asked).toMatchObject({ ended: true, usage: { promptTokens: 19, completionTokens: 0 } })
  })

  test('is what an Ollama says of the same prompt, which it is not to cut', () => {
    expect(askedOf({ engine: native, stream: false, body }, counts)).toEqual({
      path: '/api/chat', body: { ...chat, stream: false, truncate: false, options: { num_predict: 1 } },
    })
    const asked = askMessage(counts, { engine: native, stream: false, body })
    asked.push('{"model":"x","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"length","prompt_eval_count":26,"eval_count":1}')
    expect(JSON.parse(asked.finish())).toEqual({ input_tokens: 26 })
  })

  test('is what another engine says of the same prompt in OpenAI’s API', () => {
    expect(askedOf({ engine: openai, stream: false, body }, counts)).toMatchObject({ path: '/v1/chat/completions', body: { stream: false, max_tokens: 1 } })
    const asked = askMessage(counts, { engine: openai, stream: false, body })
    asked.push('{"choices":[],"usage":{"prompt_tokens":31,"completion_tokens":1}}')
    expect(JSON.parse(asked.finish())).toEqual({ input_tokens: 31 })
  })

  test.each(['{}', '{"prompt_eval_count":0}', '{"prompt_eval_count":"9"}', 'no', '[]'])('is never made up: %s', (text) => {
    const asked = askMessage(counts, { engine: native, stream: false, body })
    asked.push(text)
    expect(() => asked.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
    expect(asked.ended).toBe(false)
  })

  test('a refusal is told in the client’s own form', () => {
    const error = askMessage(counts, { engine: own, stream: false }).refusal(400, '{"error":{"code":400,"message":"too long","type":"x"}}')
    expect(error).toMatchObject({ code: 'engine_refused', status: 400, message: 'too long', body: undefined })
  })
})

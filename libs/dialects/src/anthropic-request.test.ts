import { describe, expect, test } from 'vitest'
import { parseCountTokens, parseMessages } from './anthropic-request.ts'

const PNG = 'iVBORw0KGgo='
const user = [{ role: 'user', content: 'hello' }]
const smallest = { model: 'm', max_tokens: 5, messages: user }
const parse = (fields: Record<string, unknown>) => parseMessages(JSON.stringify({ ...smallest, ...fields }))
const blocks = (...content: unknown[]) => ({ messages: [{ role: 'user', content }] })
const image = (source: unknown) => blocks({ type: 'image', source })

test('the smallest request is one', () => {
  expect(parseMessages(JSON.stringify(smallest))).toEqual({ model: 'm', stream: false, body: smallest, ignored: [], slots: 1 })
  expect(parse({ stream: true }).stream).toBe(true)
})

test('every field that an engine can act on goes on as it was given', () => {
  const fields = {
    system: [{ type: 'text', text: 'be kind' }],
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'look' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }] },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'hm', signature: 's' },
          { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: { name: 'Rome' } } },
        ],
      },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', is_error: true, content: [{ type: 'text', text: 'no' }] }] },
      { role: 'system', content: 'go on' },
    ],
    temperature: 0.5, top_p: 0.9, top_k: 40, stop_sequences: ['END'],
    tools: [{ name: 'weather', description: 'd', input_schema: { type: 'object', properties: { city: { $ref: '#/x' } } } }],
    tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
    thinking: { type: 'enabled', budget_tokens: 1024 },
    output_config: { effort: 'high', format: { type: 'json_schema', schema: { type: 'object' } } },
    stream: true,
  }
  expect(parse(fields)).toEqual({ model: 'm', stream: true, body: { ...smallest, ...fields }, ignored: [], slots: 1 })
})

test('what an engine cannot act on is dropped and named', () => {
  const { body, ignored } = parse({
    metadata: { user_id: 'u' }, service_tier: 'auto', container: 'c', cache_control: { type: 'ephemeral' },
    system: [{ type: 'text', text: 's', cache_control: { type: 'ephemeral' } }],
    tools: [{ type: 'web_search_20250305', name: 'web_search' }, { type: 'custom', name: 'a', input_schema: {}, cache_control: null, strict: true }],
    messages: [
      ...user,
      { role: 'assistant', content: [{ type: 'redacted_thinking', data: 'x' }, { type: 'server_tool_use', id: 's', name: 'web_search', input: {} }, { type: 'web_search_tool_result', content: [] }, { type: 'text', text: 'hi', citations: [] }] },
    ],
  })
  expect(body).toEqual({
    model: 'm', max_tokens: 5, system: [{ type: 'text', text: 's' }], tools: [{ name: 'a', input_schema: {} }],
    messages: [...user, { role: 'assistant', content: [{ type: 'text', text: 'hi' }] }],
  })
  expect(ignored.toSorted()).toEqual([
    'cache_control', 'container', 'messages.content.redacted_thinking', 'messages.content.server_tool_use', 'messages.content.text.citations',
    'messages.content.web_search_tool_result', 'metadata', 'service_tier', 'system.text.cache_control', 'tools.cache_control', 'tools.strict',
    'tools.web_search_20250305',
  ])
})

test.each([
  ['no model', { model: undefined }, 'model is required'],
  ['an empty model', { model: '' }, 'model is required'],
  ['no limit', { max_tokens: undefined }, 'max_tokens is required and must be positive'],
  ['a limit of 0', { max_tokens: 0 }, 'max_tokens is required and must be positive'],
  ['a negative limit', { max_tokens: -3 }, 'max_tokens is required and must be positive'],
  ['no messages', { messages: undefined }, 'messages is required'],
  ['empty messages', { messages: [] }, 'messages is required'],
  ['a limit that is text', { max_tokens: '5' }, /MessagesRequest.max_tokens of type int/],
  ['a malformed name', { model: '../x' }, 'invalid model name'],
  ['a message without a role', { messages: [{ content: 'x' }] }, 'messages: each message needs a role'],
  ['an unknown role', { messages: [{ role: 'tool', content: 'x' }] }, /must be one of "user", "assistant", "system"/],
  ['a message without content', { messages: [{ role: 'user' }] }, 'messages: each message needs content'],
  ['content that is a number', { messages: [{ role: 'user', content: 7 }] }, /cannot unmarshal number/],
  ['a block that is text', blocks('x'), /must be a text or a list of blocks/],
  ['a block without a type', blocks({ text: 'x' }), /unknown type/],
  ['a block of an odd type', blocks({ type: '__proto__' }), /unknown type/],
  ['a text block without text', blocks({ type: 'text' }), 'a block of type "text" needs text'],
  ['an image without a source', blocks({ type: 'image' }), 'a block of type "image" needs source'],
  ['an image by address', image({ type: 'url', url: 'http://127.0.0.1/x.png' }), 'image URLs are not supported: send the image itself as base64 data'],
  ['an address as data', image({ type: 'base64', media_type: 'image/png', data: 'http://127.0.0.1/' }), /image URLs are not supported/],
  ['an image by file id', image({ type: 'file', file_id: 'f' }), 'an image source must be of type "base64"'],
  ['an image of an odd type', image({ type: 'base64', media_type: 'image/svg+xml', data: PNG }), /media_type must be one of/],
  ['an image that is not base64', image({ type: 'base64', media_type: 'image/png', data: '%%' }), /not base64/],
  ['a document', blocks({ type: 'document', source: { type: 'url', url: 'http://127.0.0.1/' } }), /"document" are not supported/],
  ['a call without a name', blocks({ type: 'tool_use', id: 'x', input: {} }), 'a block of type "tool_use" needs name'],
  ['a result without its call', blocks({ type: 'tool_result', content: 'x' }), 'a block of type "tool_result" needs tool_use_id'],
  ['a call in a result', blocks({ type: 'tool_result', tool_use_id: 'x', content: [{ type: 'tool_use', id: 'a', name: 'b' }] }), /unknown type/],
  ['an image in the system prompt', { system: [{ type: 'image', source: {} }] }, /unknown type/],
  ['a tool without a name', { tools: [{ input_schema: {} }] }, 'each tool needs name'],
  ['a tool without a schema', { tools: [{ name: 'a' }] }, 'each tool needs input_schema'],
  ['a schema that is a list', { tools: [{ name: 'a', input_schema: [] }] }, /cannot unmarshal array/],
  ['a choice without a type', { tool_choice: {} }, 'tool_choice needs type'],
  ['an odd choice', { tool_choice: { type: 'some' } }, /tool_choice.type must be one of/],
  ['a choice of nothing', { tool_choice: { type: 'tool' } }, /needs name/],
  ['a choice of a tool that is not there', { tool_choice: { type: 'tool', name: 'b' }, tools: [{ name: 'a', input_schema: {} }] }, /not among the tools/],
  ['odd thinking', { thinking: { type: 'maybe' } }, /thinking.type must be one of/],
  ['an odd effort', { output_config: { effort: 'huge' } }, /output_config.effort must be one of/],
  ['a format without its schema', { output_config: { format: { type: 'json_schema' } } }, 'output_config.format.schema is required'],
  ['too hot', { temperature: 3 }, 'temperature must be between 0 and 2'],
  ['a stream that is text', { stream: 'yes' }, 'stream must be true or false'],
  ['too many sequences', { stop_sequences: Array.from({ length: 65 }, String) }, /stop_sequences has 65 items/],
])('%s is refused in clear words', (_what, fields, message) => {
  expect(() => parse(fields)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message: typeof message === 'string' ? message : expect.stringMatching(message) }))
})

describe('a request that counts tokens', () => {
  test('needs no limit, and what is of no use for it is dropped', () => {
    const { body, ignored, stream } = parseCountTokens(JSON.stringify({ model: 'm', messages: user, system: 's', max_tokens: 0, stream: true, temperature: 9 }))
    expect(body).toEqual({ model: 'm', messages: user, system: 's' })
    expect(ignored).toEqual(['max_tokens', 'stream', 'temperature'])
    expect(stream).toBe(false)
  })

  test('needs a model and messages', () => {
    expect(() => parseCountTokens('{"messages":[{"role":"user","content":"x"}]}')).toThrow('model is required')
    expect(() => parseCountTokens('{"model":"m"}')).toThrow('messages is required')
    expect(() => parseCountTokens('')).toThrow('EOF')
  })
})

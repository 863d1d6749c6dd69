import { BrokerError } from '@drover/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { JsonObject } from './delta.ts'
import { exchange } from './exchange.ts'
import { parseResponses } from './responses-request.ts'
import { engines } from './testing/conversation.ts'

const parse = (fields: object) => parseResponses(JSON.stringify({ model: 'm', input: 'hello', ...fields }))
const said = (content: unknown) => parse({ input: [{ role: 'user', content }] })

const PNG = 'iVBORw0KGgo='

test.each<[string, string]>([
  ['', 'EOF'],
  ['{"model"', 'unexpected EOF'],
  ['"x"', 'json: cannot unmarshal string into Go value of type openai.ResponsesRequest'],
  ['{"input":"x"}', 'model is required'],
  ['{"model":"m"}', 'input is required'],
  ['{"model":"m","input":null}', 'input is required'],
  ['{"model":"m","input":[]}', "[] is too short - 'input'"],
])('%s is refused', (text, message) => {
  expect(() => parseResponses(text)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message }))
})

test.each<[object, string]>([
  [{ model: 'a b' }, 'invalid model name'],
  [{ input: 5 }, 'json: cannot unmarshal number into Go struct field ResponsesRequest.input of type []openai.ResponsesInputItem'],
  [{ input: ['x'] }, 'input: each item must be an object'],
  [{ input: [{ content: 'x' }] }, 'input: each item needs a type'],
  [{ input: [{ type: 'item_reference' }] }, 'item_reference needs id'],
  [{ input: [{ type: 'web_search_call', id: 'x' }] }, 'items of type "web_search_call" are not supported'],
  [{ input: [{ type: 'toString' }] }, 'items of type "toString" are not supported'],
  [{ input: [{ role: 'king', content: 'x' }] }, 'role must be one of "user", "assistant", "system", "developer"'],
  [{ input: [{ role: 'user' }] }, 'message needs content'],
  [{ input: [{ type: 'function_call', name: 'f', arguments: '{}' }] }, 'function_call needs call_id'],
  [{ input: [{ type: 'function_call', call_id: 'c', name: 'f', arguments: 'not JSON' }] }, 'arguments must be the text of a JSON object'],
  [{ input: [{ type: 'function_call', call_id: 'c', name: 'f', arguments: '[]' }] }, 'arguments must be the text of a JSON object'],
  [{ input: [{ type: 'function_call_output', call_id: 'c' }] }, 'function_call_output needs output'],
  [{ temperature: 2.1 }, 'temperature must be between 0 and 2'],
  [{ top_p: -0.1 }, 'top_p must be between 0 and 1'],
  [{ max_output_tokens: 0 }, 'max_output_tokens must be between 1 and'],
  [{ top_logprobs: 21 }, 'top_logprobs must be between 0 and 20'],
  [{ reasoning: { effort: 'huge' } }, 'reasoning.effort must be one of'],
  [{ reasoning: { summary: 'long' } }, 'reasoning.summary must be one of'],
  [{ text: { format: { type: 'xml' } } }, 'text.format.type must be one of'],
  [{ text: { format: {} } }, 'text.format.type is required'],
  [{ text: { format: { type: 'json_schema', name: 'x' } } }, 'text.format.schema is required'],
  [{ tools: [{ type: 'function' }] }, 'each function needs a name'],
  [{ tools: [{ type: 'function', name: 'f', parameters: 'x' }] }, 'parameters must be a JSON Schema object'],
  [{ tools: {} }, 'json: cannot unmarshal object into Go struct field ResponsesRequest.tools of type []openai.ResponsesTool'],
  [{ tool_choice: 'maybe' }, 'tool_choice must be'],
  [{ tool_choice: { type: 'web_search' } }, 'tool_choice must be'],
  [{ tool_choice: 'required', tools: [{ type: 'web_search' }] }, 'there are no functions in tools'],
  [{ tool_choice: { type: 'function', name: 'g' }, tools: [{ type: 'function', name: 'f' }] }, 'a function "g" that is not in tools'],
  [{ metadata: { a: 1 } }, 'metadata: keys have at most 64 characters'],
  [{ user: 'x'.repeat(513) }, 'user has 513 characters'],
  [{ background: true, store: false }, 'background needs store'],
  [{ previous_response_id: 5 }, 'json: cannot unmarshal number into Go struct field ResponsesRequest.previous_response_id of type string'],
  [{ conversation: 'conv_1' }, 'conversation is not supported: conversations are not stored'],
  [{ prompt: { id: 'pmpt_1' } }, 'prompt is not supported: prompts are not stored'],
])('%j is refused', (fields, message) => {
  expect(() => parse(fields)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400 }))
  expect(() => parse(fields)).toThrow(message)
})

test.each<[object, string]>([
  [{ type: 'input_image', image_url: 'http://example.com/a.png' }, 'image URLs are not currently supported'],
  [{ type: 'input_image', image_url: 'file:///etc/passwd' }, 'invalid image input'],
  [{ type: 'input_image', image_url: { url: `data:image/png;base64,${PNG}` } }, 'invalid image input'],
  [{ type: 'input_image', file_id: 'file_1' }, 'input_image by file_id is not supported'],
  [{ type: 'input_image' }, 'input_image needs image_url'],
  [{ type: 'input_file', file_data: 'x' }, 'input_file is not supported'],
  [{ type: 'input_audio', input_audio: { data: 'http://x/a.wav', format: 'wav' } }, 'invalid input_audio base64 data'],
  [{ type: 'input_audio', input_audio: {} }, 'input_audio needs data'],
  [{ type: 'input_text' }, 'input_text needs text'],
  [{ type: 'computer_screenshot' }, 'parts of type "computer_screenshot" are not supported'],
  [{ text: 'x' }, 'each part needs a type'],
])('a part %j is refused, in messages and in the answers of tools', (part, message) => {
  expect(() => said([part])).toThrow(expect.objectContaining({ code: 'bad_request', status: 400 }))
  expect(() => said([part])).toThrow(message)
  expect(() => parse({ input: [{ type: 'function_call_output', call_id: 'c', output: [part] }] })).toThrow(message)
})

test('what nothing is done with is dropped and named, what says the usual is not', () => {
  const usual = parse({ store: false, background: false, truncation: 'disabled', previous_response_id: null, conversation: null })
  expect(usual).toEqual({ model: 'm', stream: false, slots: 1, ignored: [], body: { model: 'm', input: 'hello' }, stored: { store: false, background: false } })
  const { body, ignored } = parse({
    truncation: 'auto', service_tier: 'flex', max_tool_calls: 3, stream_options: { include_obfuscation: false },
    include: ['reasoning.encrypted_content', 'message.output_text.logprobs'], text: { verbosity: 'low' },
    tools: [{ type: 'web_search' }, { type: 'function', name: 'f' }, { type: 'mcp', server_url: 'http://x' }],
    input: [{ role: 'user', content: 'x', cache_control: {} }],
  })
  expect(new Set(ignored)).toEqual(new Set([
    'truncation', 'service_tier', 'max_tool_calls', 'stream_options', 'include.reasoning.encrypted_content', 'text.verbosity',
    'tools.web_search', 'tools.mcp', 'input.cache_control',
  ]))
  expect(body).toEqual({
    model: 'm', include: ['message.output_text.logprobs'], text: {}, tools: [{ type: 'function', name: 'f' }],
    input: [{ type: 'message', role: 'user', content: 'x' }],
  })
})

/** What an engine without this API is asked. */
const asked = (fields: object, engine = engines.llama): JsonObject => {
  const { call } = exchange({
    dialect: 'openai.responses', body: parse(fields).body, stream: true, asked: 'm', engine, policy: {}, id: 'i', createdAt: 0,
  })
  expect(call?.path).toBe('/v1/chat/completions')
  return JSON.parse(call?.body ?? '') as JsonObject
}

const streamed = { model: 'engine/model', stream: true, stream_options: { include_usage: true } }

test('a text is what the user says, instructions come before it', () => {
  expect(asked({ instructions: 'be brief', max_output_tokens: 9, temperature: 0, top_p: 0.5, metadata: { a: 'b' }, user: 'u' })).toEqual({
    ...streamed, messages: [{ role: 'system', content: 'be brief' }, { role: 'user', content: 'hello' }],
    max_tokens: 9, temperature: 0, top_p: 0.5,
  })
})

const conversation = [
  { role: 'developer', content: [{ type: 'input_text', text: 'be ' }, { type: 'input_text', text: 'brief' }] },
  { role: 'user', content: [{ type: 'input_text', text: 'look' }, { type: 'input_image', detail: 'auto', image_url: `data:;base64,${PNG}` }] },
  { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'told' }], content: [{ type: 'reasoning_text', text: 'thought' }] },
  { type: 'message', id: 'msg_1', status: 'completed', role: 'assistant', content: [{ type: 'output_text', text: 'one', annotations: [], logprobs: [] }] },
  { type: 'function_call', id: 'fc_1', call_id: 'c1', name: 'f', arguments: '{"a":1}', status: 'completed' },
  { type: 'function_call', call_id: 'c2', name: 'g', arguments: '' },
  { type: 'function_call_output', call_id: 'c1', output: 'sunny' },
  { type: 'function_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'late' }] },
  { type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] },
  { role: 'assistant', content: 'two' },
  { role: 'user', content: 'go on' },
]

test('items that belong together become one turn', () => {
  const calls = [
    { id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
    { id: 'c2', type: 'function', function: { name: 'g', arguments: '{}' } },
  ]
  const messages = (thoughts: string) => [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: [{ type: 'text', text: 'look' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } }] },
    { role: 'assistant', [thoughts]: 'thought', content: 'one', tool_calls: calls },
    { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
    { role: 'tool', tool_call_id: 'c2', content: 'late' },
    { role: 'assistant', [thoughts]: 'hm', content: 'two' },
    { role: 'user', content: 'go on' },
  ]
  expect(asked({ input: conversation })['messages']).toEqual(messages('reasoning_content'))
  expect(asked({ input: conversation }, engines.ollama)['messages']).toEqual(messages('reasoning'))
})

const f = { type: 'function', name: 'f', description: 'd', strict: true, parameters: { type: 'object' } }
const g = { type: 'function', name: 'g', parameters: null }
const chatF = { type: 'function', function: { name: 'f', description: 'd', strict: true, parameters: { type: 'object' } } }
const chatG = { type: 'function', function: { name: 'g' } }

test.each<[unknown, object]>([
  [undefined, { tools: [chatF, chatG] }],
  ['auto', { tools: [chatF, chatG], tool_choice: 'auto' }],
  ['required', { tools: [chatF, chatG], tool_choice: 'required' }],
  ['none', {}],
  [{ type: 'function', name: 'g' }, { tools: [chatG], tool_choice: 'required' }],
  [{ type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'f' }] }, { tools: [chatF], tool_choice: 'auto' }],
])('a choice of tools %j offers those that may be called', (choice, expected) => {
  expect(asked({ tools: [f, g], tool_choice: choice, parallel_tool_calls: false })).toEqual({
    ...streamed, messages: [{ role: 'user', content: 'hello' }], parallel_tool_calls: false, ...expected,
  })
})

test('formats, efforts and log probabilities are asked for in the words of the chat', () => {
  const schema = { type: 'object' }
  expect(asked({ text: { format: { type: 'json_schema', name: 'n', strict: true, schema } } })['response_format']).toEqual({
    type: 'json_schema', json_schema: { name: 'n', strict: true, schema },
  })
  expect(asked({ text: { format: { type: 'json_object' } } })['response_format']).toEqual({ type: 'json_object' })
  expect(asked({ text: { format: { type: 'text' } } })).not.toHaveProperty('response_format')
  expect(asked({ reasoning: { effort: 'none' } })).toMatchObject({ reasoning_effort: 'none', chat_template_kwargs: { enable_thinking: false } })
  expect(asked({ reasoning: { effort: 'high', summary: 'auto' } }, engines.ollama)).toEqual({
    ...streamed, messages: [{ role: 'user', content: 'hello' }], reasoning_effort: 'high',
  })
  expect(asked({ top_logprobs: 3 })).toMatchObject({ logprobs: true, top_logprobs: 3 })
  expect(asked({ include: ['message.output_text.logprobs'] })).toMatchObject({ logprobs: true, top_logprobs: 1 })
  expect(asked({ top_logprobs: 0 })).not.toHaveProperty('logprobs')
})

test('llama-server cannot stream tools with log probabilities, so that is one call', () => {
  expect(asked({ top_logprobs: 2, tools: [f] })).toMatchObject({ stream: false, logprobs: true })
  expect(asked({ top_logprobs: 2, tools: [f] }, engines.ollama)).toMatchObject({ stream: true })
})

const NAMES = ['input', 'instructions', 'tools', 'tool_choice', 'text', 'reasoning', 'include', 'metadata', 'top_logprobs', 'prompt', 'user', 'conversation']
const TYPES = ['message', 'function', 'function_call', 'function_call_output', 'reasoning', 'input_text', 'input_image', 'allowed_tools', 'json_schema', '__proto__']
const KEYS = ['type', 'role', 'content', 'text', 'name', 'arguments', 'call_id', 'output', 'summary', 'format', 'schema', 'tools', 'mode', 'image_url', 'effort']

/** JSON that looks like parts of a request here and there. */
const { anything } = fc.letrec<{ anything: unknown }>((tie) => ({
  anything: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, 0, -1, 1e308, '', 'user', '{}', ...TYPES),
    fc.array(tie('anything'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie('anything'), { maxKeys: 5 }),
    fc.record({ type: fc.constantFrom(...TYPES), role: fc.constantFrom('user', 'assistant'), content: tie('anything'), text: tie('anything') }, { requiredKeys: ['type'] }),
  ),
}))

test('whatever is asked, it is refused as a bad request, or an engine can be asked it', () => {
  let good = 0
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...NAMES), anything, { maxKeys: 4 }), (fields) => {
      try {
        expect(asked(fields)['messages']).toBeInstanceOf(Array)
        good += 1
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error
        expect(error).toMatchObject({ code: 'bad_request', status: 400 })
      }
    }),
    { numRuns: 1_000 },
  )
  expect(good).toBeGreaterThan(10)
})

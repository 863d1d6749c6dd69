import { expect, test } from 'vitest'
import { parseChatCompletion } from './openai-request.ts'

const hello = [{ role: 'user', content: 'hello' }]
const parse = (fields: object) => parseChatCompletion(JSON.stringify({ model: 'm', messages: hello, ...fields }))
const said = (content: unknown) => parse({ messages: [{ role: 'user', content }] })

const PNG = 'iVBORw0KGgo='

test.each<[string, string]>([
  ['', 'EOF'],
  ['{"model"', 'unexpected EOF'],
  ['"x"', 'json: cannot unmarshal string into Go value of type openai.ChatCompletionRequest'],
  ['{"model":"m"}', "[] is too short - 'messages'"],
  ['{"model":"m","messages":[]}', "[] is too short - 'messages'"],
  ['{"model":"m","messages":null}', "[] is too short - 'messages'"],
  ['{"messages":[{"role":"user","content":"x"}]}', 'model is required'],
  ['{"model":5,"messages":[]}', 'json: cannot unmarshal number into Go struct field ChatCompletionRequest.model of type string'],
])('%s is refused', (text, message) => {
  expect(() => parseChatCompletion(text)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message }))
})

test.each<[object, string]>([
  [{ model: 'a b' }, 'invalid model name'],
  [{ temperature: 'x' }, 'json: cannot unmarshal string into Go struct field ChatCompletionRequest.temperature of type float64'],
  [{ temperature: 2.1 }, 'temperature must be between 0 and 2'],
  [{ top_p: -0.1 }, 'top_p must be between 0 and 1'],
  [{ n: 0 }, 'n must be between 1 and 16'],
  [{ n: 17 }, 'n must be between 1 and 16'],
  [{ top_logprobs: 21 }, 'top_logprobs must be between 0 and 20'],
  [{ presence_penalty: -3 }, 'presence_penalty must be between -2 and 2'],
  [{ stop: [1] }, "invalid type for 'stop' field: expected a string or an array of strings"],
  [{ stop: Array(65).fill('x') }, 'stop has 65 items, at most 64 are allowed'],
  [{ stream_options: true }, 'json: cannot unmarshal bool into Go struct field ChatCompletionRequest.stream_options of type openai.StreamOptions'],
  [{ reasoning_effort: 'huge' }, "invalid reasoning value: 'huge'"],
  [{ reasoning: { effort: 1 } }, "invalid reasoning value: '1'"],
  [{ response_format: { type: 'xml' } }, 'response_format.type must be one of text, json_object, json_schema'],
  [{ response_format: { type: 'json_schema' } }, 'response_format.json_schema.schema is required'],
  [{ tool_choice: 'maybe' }, 'tool_choice must be "none", "auto", "required" or a function'],
  [{ tools: [{ type: 'web_search' }] }, 'tools: each tool needs a function'],
  [{ logit_bias: { '': 1 } }, 'logit_bias: a token must be given'],
  [{ logit_bias: { 5: 101 } }, 'between -100 and 100'],
  [{ grammar: 'x'.repeat(70_000) }, 'grammar is longer'],
  [{ logit_bias: { 5: 101 } }, 'logit_bias must be between -100 and 100'],
  [{ messages: [{ role: 'user' }] }, 'invalid message content type: <nil>'],
  [{ messages: [{ role: 'user', content: 3 }] }, 'invalid message content type: float64'],
  [{ messages: [{ role: 'user', content: {} }] }, 'invalid message content type: map[string]interface {}'],
  [{ messages: [{ role: 'user', content: ['x'] }] }, 'invalid message format'],
  [{ messages: [{ role: 'user', content: [{ type: 'file' }] }] }, 'invalid message format'],
])('%j is refused', (fields, message) => {
  expect(() => parse(fields)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400 }))
  expect(() => parse(fields)).toThrow(message)
})

test.each([
  ['http://example.com/a.png', 'image URLs are not currently supported, please use base64 encoded data instead'],
  ['HTTPS://example.com/a.png', 'image URLs are not currently supported, please use base64 encoded data instead'],
  ['file:///etc/passwd', 'invalid image input'],
  [PNG, 'invalid image input'],
  ['data:text/html;base64,aGVsbG8=', 'invalid image input'],
  ['data:image/png;base64,not base64', 'invalid image input'],
  ['data:image/png;base64,', 'invalid image input'],
])('an image cannot be given as %s', (url, message) => {
  expect(() => said([{ type: 'image_url', image_url: { url } }])).toThrow(message)
  expect(() => said([{ type: 'image_url', image_url: url }])).toThrow(message)
})

test('an image is a data URI, and one without a type gets the type that its bytes show', () => {
  const parts = [
    { type: 'text', text: 'look' },
    { type: 'image_url', image_url: { url: `data:image/webp;base64,${PNG}`, detail: 'low' } },
    { type: 'image_url', image_url: `data:;base64,${PNG}` },
  ]
  expect(said(parts).body['messages']).toEqual([
    {
      role: 'user',
      content: [
        { type: 'text', text: 'look' },
        { type: 'image_url', image_url: { url: `data:image/webp;base64,${PNG}` } },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } },
      ],
    },
  ])
})

test.each(['http://x/a.wav', '/tmp/a.wav', 3, undefined])('audio cannot be given as %j', (data) => {
  expect(() => said([{ type: 'input_audio', input_audio: { data, format: 'wav' } }])).toThrow('input_audio')
})

test('streaming is off unless asked for, and n is the number of slots', () => {
  expect(parse({})).toMatchObject({ model: 'm', stream: false, slots: 1, ignored: [] })
  expect(parse({ stream: true, n: 3 })).toMatchObject({ stream: true, slots: 3 })
})

test('what no engine needs is dropped and named', () => {
  const { body, ignored } = parse({
    user: 'u',
    metadata: {},
    store: true,
    chat_template_kwargs: { x: 1 },
    stream_options: { include_usage: true, include_obfuscation: false },
    response_format: { type: 'json_object', extra: 1 },
    messages: [{ role: 'user', content: 'x', cache_control: {} }],
  })
  const names = ['user', 'metadata', 'store', 'chat_template_kwargs', 'stream_options.include_obfuscation']
  expect(new Set(ignored)).toEqual(new Set([...names, 'response_format.extra', 'messages.cache_control']))
  expect(body).toEqual({
    model: 'm',
    messages: [{ role: 'user', content: 'x' }],
    stream_options: { include_usage: true },
    response_format: { type: 'json_object' },
  })
})

test('a whole conversation with tools stays as it is', () => {
  const fields = {
    messages: [
      { role: 'developer', content: 'be brief' },
      { role: 'assistant', reasoning_content: 'hm', tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] },
      { role: 'tool', tool_call_id: 'c', content: [{ type: 'text', text: 'sunny' }] },
    ],
    tools: [{ type: 'function', function: { name: 'f', strict: true, parameters: { type: 'object' } } }],
    tool_choice: { type: 'function', function: { name: 'f' } },
    parallel_tool_calls: false,
    max_completion_tokens: 5,
    seed: -7,
    logit_bias: { 50256: -100, 'a text': 1 },
    grammar: 'root ::= "x"',
  }
  expect(parse(fields).body).toEqual({ model: 'm', ...fields })
})

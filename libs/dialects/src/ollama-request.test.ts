import { expect, test } from 'vitest'
import { parseEmbed, parseLegacyEmbeddings } from './embeddings-request.ts'
import { parseChat, parseGenerate } from './ollama-request.ts'

const chat = (fields: object) => parseChat(JSON.stringify({ model: 'm', ...fields }))
const generate = (fields: object) => parseGenerate(JSON.stringify({ model: 'm', ...fields }))

const THINK = '(must be "high", "medium", "low", "max", true, or false)'

test.each<[string, number, string]>([
  ['', 400, 'missing request body'],
  ['{"model":', 400, 'unexpected EOF'],
  ['{', 400, 'unexpected EOF'],
  ['[]', 400, 'json: cannot unmarshal array into Go value of type api.ChatRequest'],
  ['7', 400, 'json: cannot unmarshal number into Go value of type api.ChatRequest'],
  ['null', 400, 'model is required'],
  ['{}', 400, 'model is required'],
  ['{"model":""}', 400, 'model is required'],
  ['{"model":null}', 400, 'model is required'],
  ['{"model":3}', 400, 'json: cannot unmarshal number into Go struct field ChatRequest.model of type string'],
  ['{"model":"a/b/c/d"}', 400, 'invalid model name'],
  ['{"model":"m","stream":"yes"}', 400, 'json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool'],
  ['{"model":"m","messages":{}}', 400, 'json: cannot unmarshal object into Go struct field ChatRequest.messages of type []api.Message'],
  ['{"model":"m","messages":[1]}', 400, 'json: cannot unmarshal number into Go struct field ChatRequest.messages of type api.Alias'],
  ['{"model":"m","messages":[{"content":1}]}', 400, 'json: cannot unmarshal number into Go struct field ChatRequest.messages.content of type string'],
  ['{"model":"m","options":[]}', 400, 'json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}'],
  ['{"model":"m","options":{"temperature":"hot"}}', 500, 'option "temperature" must be of type float32'],
  ['{"model":"m","options":{"top_k":"x"}}', 500, 'option "top_k" must be of type integer'],
  ['{"model":"m","options":{"use_mmap":1}}', 500, 'option "use_mmap" must be of type boolean'],
  ['{"model":"m","options":{"distributed":"true"}}', 400, 'option "distributed" must be of type boolean'],
  ['{"model":"m","options":{"distributed":0}}', 400, 'option "distributed" must be of type boolean'],
  ['{"model":"m","options":{"stop":"x"}}', 500, 'option "stop" must be of type array'],
  ['{"model":"m","options":{"stop":[1]}}', 500, 'option "stop" must be of an array of strings'],
  ['{"model":"m","options":{"temperature":-1}}', 400, 'option "temperature" must be between 0 and 100'],
  ['{"model":"m","options":{"temperature":1e999}}', 500, 'option "temperature" must be of type float32'],
  ['{"model":"m","options":{"num_predict":-3}}', 400, 'option "num_predict" must be between -2 and 2147483647'],
  ['{"model":"m","options":{"repeat_last_n":2000000000}}', 400, 'option "repeat_last_n" must be between -1 and 1000000'],
  ['{"model":"m","think":"x"}', 400, `invalid think value: "x" ${THINK}`],
  ['{"model":"m","think":1}', 400, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'],
  ['{"model":"m","keep_alive":"5"}', 400, 'time: missing unit in duration "5"'],
  ['{"model":"m","keep_alive":"5x"}', 400, 'time: unknown unit "x" in duration "5x"'],
  ['{"model":"m","keep_alive":"soon"}', 400, 'time: invalid duration "soon"'],
  ['{"model":"m","keep_alive":true}', 400, "Unsupported type: 'bool'"],
  ['{"model":"m","keep_alive":{}}', 400, "Unsupported type: 'map[string]interface {}'"],
  ['{"model":"m","format":"xml"}', 500, String.raw`invalid format: "\"xml\""; expected "json" or a valid JSON Schema object`],
  ['{"model":"m","format":[1]}', 500, 'invalid format: "[1]"; expected "json" or a valid JSON Schema object'],
  ['{"model":"m","top_logprobs":21}', 400, 'top_logprobs must be between 0 and 20'],
  ['{"model":"m","top_logprobs":-1}', 400, 'top_logprobs must be between 0 and 20'],
  ['{"model":"m","top_logprobs":1.5}', 400, 'json: cannot unmarshal number 1.5 into Go struct field ChatRequest.top_logprobs of type int'],
  ['{"model":"m","tools":[{"type":"function"}]}', 400, 'tools: each tool needs a function'],
  ['{"model":"m","tools":[{"function":{"name":""}}]}', 400, 'tools: each function needs a name of at most 256 characters'],
  ['{"model":"m","messages":[{"images":["http://x/y.png"]}]}', 400, 'image URLs are not supported: send the image itself as base64 text'],
  ['{"model":"m","messages":[{"images":["/etc/passwd"]}]}', 400, 'invalid image input: not base64'],
  ['{"model":"m","messages":[{"images":["file:///a"]}]}', 400, 'invalid image input: not base64'],
])('chat refuses %s with status %i', (text, status, message) => {
  expect(() => parseChat(text)).toThrow(expect.objectContaining({ code: 'bad_request', status, message }))
})

test('generate without a model is status 404, as in Ollama', () => {
  expect(() => parseGenerate('{"prompt":"x"}')).toThrow(
    expect.objectContaining({ code: 'model_not_found', status: 404, message: "model '' not found" }),
  )
  expect(() => parseGenerate('{"model":1}')).toThrow('cannot unmarshal number into Go struct field GenerateRequest.model of type string')
})

test.each([{ template: 't' }, { system: 's' }, { context: [1] }])('a raw prompt cannot have %j', (fields) => {
  expect(() => generate({ prompt: 'x', raw: true, ...fields })).toThrow('raw mode does not support template, system, or context')
})

test('empty template, system and context are none', () => {
  expect(() => generate({ prompt: 'x', raw: true, template: '', system: '', context: [] })).not.toThrow()
})

test('keys are matched in any case, null is absent, roles are lower-cased and text after the object is ignored', () => {
  const { body, model, stream } = parseChat(
    '{"MODEL":"Llama3","Stream":false,"Messages":[{"Role":"USER","CONTENT":"Hi","thinking":null}],"think":null,"Options":null} trailing',
  )
  expect({ model, stream }).toEqual({ model: 'Llama3', stream: false })
  expect(body).toEqual({ model: 'Llama3', stream: false, messages: [{ role: 'user', content: 'Hi' }] })
})

test('streaming is on unless the client turns it off', () => {
  expect(chat({}).stream).toBe(true)
  expect(chat({ stream: null }).stream).toBe(true)
  expect(generate({ stream: false }).stream).toBe(false)
})

test('unknown fields are dropped and named, known ones stay', () => {
  const { body, ignored } = chat({
    foo: 1,
    _debug_render_only: true,
    options: { temperature: 0.5, mirostat: 2, Seed: 4 },
    messages: [
      { role: 'user', content: 'a', secret: 1 },
      { role: 'user', content: 'b', secret: 2 },
    ],
  })
  expect(ignored).toEqual(['foo', '_debug_render_only', 'options.mirostat', 'options.Seed', 'messages.secret'])
  expect(body).toEqual({
    model: 'm',
    options: { temperature: 0.5 },
    messages: [
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b' },
    ],
  })
})

test('names of dropped fields are safe for a header, and few', () => {
  const wild = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`field${index}`, 1]))
  expect(chat({ 'a\r\nset-cookie: x': 1, ü: 2 }).ignored).toEqual(['?'])
  expect(chat(wild).ignored).toHaveLength(20)
})

test('a field called like a property of all objects is only another unknown one', () => {
  const { body, ignored } = parseChat('{"model":"m","__proto__":{"stream":false},"constructor":1,"options":{"toString":1,"__proto__":2}}')
  expect(body).toEqual({ model: 'm', options: {} })
  expect(ignored).toEqual(['__proto__', 'constructor', 'options.toString', 'options.__proto__'])
})

test('tool definitions and tool calls go on as they came', () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: ['string', 'null'] } } } } }]
  const call = { id: 'c1', function: { index: 0, name: 'f', arguments: { b: 1, a: [null] } } }
  const messages = [
    { role: 'assistant', content: '', tool_calls: [call] },
    { role: 'tool', content: 'x', tool_name: 'f', tool_call_id: 'c1' },
  ]
  expect(chat({ tools, messages }).body).toEqual({ model: 'm', tools, messages })
})

test('arguments of a tool call must be an object', () => {
  expect(() => chat({ messages: [{ tool_calls: [{ function: { name: 'f', arguments: '{}' } }] }] })).toThrow(
    'cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments',
  )
})

test('integers may be written as fractions, as Go reads them', () => {
  expect(chat({ options: { top_k: 5.0, num_predict: 7.9 } }).body['options']).toEqual({ top_k: 5, num_predict: 7 })
})

test('images are base64 with or without line breaks', () => {
  expect(generate({ images: ['aGVs\nbG8='] }).body['images']).toEqual(['aGVsbG8='])
})

test('there may be many messages, but not without limit', () => {
  const messages = Array.from({ length: 10_001 }, () => ({ role: 'user', content: 'x' }))
  expect(() => chat({ messages: messages.slice(1) })).not.toThrow()
  expect(() => chat({ messages })).toThrow('messages has 10001 items, at most 10000 are allowed')
})

test('an empty conversation is valid: it loads a model', () => {
  expect(chat({ messages: [] }).body).toEqual({ model: 'm', messages: [] })
  expect(chat({ keep_alive: '1h30m' }).body).toEqual({ model: 'm', keep_alive: '1h30m' })
  expect(generate({ keep_alive: -1 }).body).toEqual({ model: 'm', keep_alive: -1 })
})

test.each([[true, 'cluster'], [false, 'node']] as const)('distributed: %s is for Drover alone', (distributed, layout) => {
  const options = { distributed, seed: 1 }
  expect(chat({ options })).toEqual({ model: 'm', stream: true, body: { model: 'm', options: { seed: 1 } }, ignored: [], slots: 1, layout })
  expect(generate({ OPTIONS: options }).layout).toBe(layout)
  const embed = parseEmbed(JSON.stringify({ model: 'm', input: ['a', 'b'], options }))
  expect([embed.layout, embed.body, embed.inputs?.part(0, 1)]).toEqual([layout, { model: 'm', input: ['a', 'b'], options: { seed: 1 } }, { model: 'm', input: ['a'], options: { seed: 1 } }])
  expect(parseLegacyEmbeddings(JSON.stringify({ model: 'm', prompt: 'a', options }))).toMatchObject({ layout, body: { options: { seed: 1 } } })
})

test('without it nothing is said of how a model is to run', () => {
  for (const request of [chat({}), chat({ options: { distributed: null } }), chat({ distributed: true })]) expect(request).not.toHaveProperty('layout')
  expect(chat({ distributed: true }).ignored).toEqual(['distributed'])
})

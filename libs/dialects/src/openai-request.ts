import { canonicalName } from '@drover/core'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ParsedRequest } from './dialect.ts'
import { anyObject, badRequest, described, flag, float, int, list, schemaOf, struct, text, tools, top, written } from './fields.ts'
import type { Check, Ignored, Schema } from './fields.ts'
import { AUDIO, base64Audio, IMAGE_URL, imageUrl } from './images.ts'
import { readJsonBody } from './json-body.ts'

export const INT32 = 2 ** 31 - 1

/** Efforts that OpenAI's, Ollama's and llama.cpp's clients send. */
const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'max', 'xhigh', 'ultra']

const oneOf = (values: readonly string[], refuse: (value: unknown) => string): Check =>
  described({ type: 'string', enum: values }, (value) => {
    if (typeof value === 'string' && values.includes(value)) return value
    throw badRequest(refuse(value))
  })

const EFFORT_NAMES = EFFORTS.map((one) => `"${one}"`).join(', ')

const effort = oneOf(EFFORTS, (value) => `invalid reasoning value: '${written(value)}' (must be one of ${EFFORT_NAMES})`)

/** The name of a JSON value's type when Go decodes it into an empty interface. */
const goType = (value: unknown) =>
  ({ undefined: '<nil>', number: 'float64', boolean: 'bool' } as Record<string, string>)[typeof value] ?? 'map[string]interface {}'

const PARTS: Schema = {
  anyOf: [
    { type: 'object', required: ['type', 'text'], properties: { type: { const: 'text' }, text: { type: 'string' } } },
    {
      type: 'object',
      required: ['type', 'image_url'],
      properties: {
        type: { const: 'image_url' },
        image_url: { anyOf: [{ type: 'object', required: ['url'], properties: { url: IMAGE_URL } }, IMAGE_URL] },
      },
    },
    {
      type: 'object',
      required: ['type', 'input_audio'],
      properties: {
        type: { const: 'input_audio' },
        input_audio: {
          type: 'object',
          required: ['data'],
          properties: { data: AUDIO, format: { type: 'string', description: '`mp3`; anything else is `wav`.' } },
        },
      },
    },
  ],
}

const part = (value: unknown): JsonObject => {
  if (!isObject(value)) throw badRequest('invalid message format')
  const { type } = value
  if (type === 'text' && typeof value['text'] === 'string') return { type, text: value['text'] }
  if (type === 'image_url') {
    const image = value['image_url']
    const url = isObject(image) ? image['url'] : image
    if (typeof url === 'string') return { type, image_url: { url: imageUrl(url) } }
  }
  if (type === 'input_audio') {
    const audio = value['input_audio']
    if (!isObject(audio)) throw badRequest('invalid input_audio format')
    const format = audio['format'] === 'mp3' ? 'mp3' : 'wav'
    return { type, input_audio: { data: base64Audio(audio['data']), format } }
  }
  throw badRequest('invalid message format')
}

const content: Check = described({ anyOf: [{ type: 'string' }, { type: 'array', items: PARTS }] }, (value) => {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) throw badRequest(`invalid message content type: ${goType(value)}`)
  return value.map(part)
})

const toolCall = struct(
  'ToolCall',
  {
    id: text,
    index: int(0, 10_000),
    type: text,
    function: struct('ToolCallFunction', { name: text, arguments: text }, { type: 'openai.ToolCallFunction' }),
  },
  { type: 'openai.ToolCall' },
)

const messageFields = struct(
  'Message',
  {
    role: text,
    content,
    name: text,
    reasoning: text,
    reasoning_content: text,
    tool_calls: list(toolCall, 1_000, '[]openai.ToolCall'),
    tool_call_id: text,
  },
  { type: 'openai.Message' },
)

const message: Check = described(
  { ...schemaOf(messageFields), anyOf: [{ required: ['content'] }, { required: ['tool_calls'] }] },
  (value, place, ignored) => {
    const known = messageFields(value, place, ignored) as JsonObject
    if (known['content'] === undefined && known['tool_calls'] === undefined)
      throw badRequest(`invalid message content type: ${goType(undefined)}`)
    return known
  },
)

const STOP: Schema = { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, maxItems: 64 }] }

export const stop: Check = described(STOP, (value) => {
  if (typeof value === 'string') return value
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string'))
    throw badRequest("invalid type for 'stop' field: expected a string or an array of strings")
  if (value.length > 64) throw badRequest(`stop has ${value.length} items, at most 64 are allowed`)
  return value
})

const FORMATS = ['text', 'json_object', 'json_schema']

const formatFields = struct(
  'ResponseFormat',
  {
    type: oneOf(FORMATS, () => `response_format.type must be one of ${FORMATS.join(', ')}`),
    json_schema: struct('JsonSchema', { name: text, description: text, strict: flag, schema: anyObject('json.RawMessage') }),
    schema: anyObject('json.RawMessage'),
  },
  { type: 'openai.ResponseFormat' },
)

const responseFormat: Check = described(schemaOf(formatFields), (value, place, ignored) => {
  const known = formatFields(value, place, ignored) as JsonObject
  const inner = known['json_schema']
  if (known['type'] === 'json_schema' && known['schema'] === undefined && !(isObject(inner) && isObject(inner['schema'])))
    throw badRequest('response_format.json_schema.schema is required')
  return known
})

const TOOL_CHOICE: Schema = {
  anyOf: [
    { type: 'string', enum: ['none', 'auto', 'required'] },
    {
      type: 'object',
      required: ['type', 'function'],
      properties: { type: { const: 'function' }, function: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } },
    },
  ],
}

const toolChoice: Check = described(TOOL_CHOICE, (value, place, ignored) => {
  if (value === 'none' || value === 'auto' || value === 'required') return value
  const called = isObject(value) && value['type'] === 'function' ? value['function'] : undefined
  if (!isObject(called)) throw badRequest('tool_choice must be "none", "auto", "required" or a function')
  const { name } = struct('ToolChoice', { name: text })(called, { ...place, path: `${place.path}.function` }, ignored) as JsonObject
  return { type: 'function', function: { name } }
})

const LOGIT_BIAS: Schema = {
  type: 'object',
  description: 'By token: its number, or a text, which llama-server cuts into tokens. Ollama knows no such thing.',
  additionalProperties: { type: 'number', minimum: -100, maximum: 100 },
  maxProperties: 1_024,
  propertyNames: { minLength: 1, maxLength: 256 },
}

const aBias = float(-100, 100)

export const logitBias: Check = described(LOGIT_BIAS, (value, place, ignored) => {
  const biases = anyObject('map[string]float64')(value, place, ignored) as JsonObject
  const entries = Object.entries(biases)
  if (entries.length > 1_024) throw badRequest(`logit_bias has ${entries.length} entries, at most 1024 are allowed`)
  for (const [token, bias] of entries) {
    if (token === '' || token.length > 256) throw badRequest('logit_bias: a token must be given by its number or a text of at most 256 characters')
    aBias(bias, place, ignored)
  }
  return biases
})

export const streamOptions = struct('StreamOptions', { include_usage: flag }, { type: 'openai.StreamOptions' })

export const SEED = int(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)

/** Longest grammar. */
const GRAMMAR_CHARS = 64 * 1024

const grammar: Check = described({ type: 'string', maxLength: GRAMMAR_CHARS, description: 'GBNF, for a llama-server.' }, (value, place, ignored) => {
  const given = text(value, place, ignored) as string
  if (given.length > GRAMMAR_CHARS) throw badRequest(`grammar is longer than ${GRAMMAR_CHARS} characters`)
  return given
})

/** llama.cpp's own settings, which its users send in these requests, too. */
export const LLAMA_FIELDS: Record<string, Check> = {
  top_k: int(-1, 1_000_000),
  min_p: float(0, 1),
  typical_p: float(0, 1),
  repeat_penalty: float(0, 100),
  repeat_last_n: int(0, 1_000_000),
  grammar,
}

/** Fields of OpenAI's API that an engine can act on, and llama.cpp's sampling settings, which its users send here, too. */
const fields = struct(
  'ChatCompletionRequest',
  {
    model: text,
    messages: described({ minItems: 1 }, list(message, 10_000, '[]openai.Message')),
    stream: flag,
    stream_options: streamOptions,
    max_tokens: int(-1, INT32),
    max_completion_tokens: int(-1, INT32),
    n: int(1, 16),
    seed: SEED,
    stop,
    temperature: float(0, 2),
    top_p: float(0, 1),
    frequency_penalty: float(-2, 2),
    presence_penalty: float(-2, 2),
    logit_bias: logitBias,
    logprobs: flag,
    top_logprobs: int(0, 20),
    response_format: responseFormat,
    tools: tools('api.Tool'),
    tool_choice: toolChoice,
    parallel_tool_calls: flag,
    reasoning: struct('Reasoning', { effort }, { type: 'openai.Reasoning' }),
    reasoning_effort: effort,
    ...LLAMA_FIELDS,
  },
  { type: 'openai.ChatCompletionRequest' },
)

/** What a request body may be, as OpenAPI has it. */
export const chatCompletionSchema: Schema = { ...schemaOf(fields), required: ['model', 'messages'] }

export const parseChatCompletion = (input: string): ParsedRequest => {
  const ignored: Ignored = new Set()
  const body = fields(readJsonBody(input, 'EOF') ?? {}, top('ChatCompletionRequest'), ignored) as JsonObject
  const { model, messages, n } = body
  if (!isFilled(messages)) throw badRequest("[] is too short - 'messages'")
  if (typeof model !== 'string' || model === '') throw badRequest('model is required')
  if (!canonicalName(model)) throw badRequest('invalid model name')
  return { model, stream: body['stream'] === true, body, ignored: [...ignored], slots: typeof n === 'number' ? n : 1 }
}

import { BrokerError, canonicalName } from '@drover/core'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ParsedRequest } from './dialect.ts'
import { goDuration } from './duration.ts'
import { anyObject, badRequest, described, flag, ignore, int, list, lowerCase, schemaOf, struct, text, tools, top } from './fields.ts'
import type { Check, Ignored, Schema } from './fields.ts'
import { base64Image } from './images.ts'
import { readJsonBody } from './json-body.ts'

const INT32 = 2 ** 31 - 1

type OptionType = 'float32' | 'integer' | 'boolean' | 'array'
interface OptionRule {
  type: OptionType
  min?: number
  max?: number
  /** Not one of Ollama's. */
  own?: string
}

/**
 * The options of the native API with the range of each. `repeat_last_n` is bounded because an engine sets aside memory for that
 * many tokens.
 */
const OPTIONS: Record<string, OptionRule> = {
  num_predict: { type: 'integer', min: -2, max: INT32 },
  temperature: { type: 'float32', min: 0, max: 100 },
  top_k: { type: 'integer', min: -1, max: 1_000_000 },
  top_p: { type: 'float32', min: 0, max: 1 },
  min_p: { type: 'float32', min: 0, max: 1 },
  typical_p: { type: 'float32', min: 0, max: 1 },
  repeat_last_n: { type: 'integer', min: -1, max: 1_000_000 },
  repeat_penalty: { type: 'float32', min: 0, max: 100 },
  presence_penalty: { type: 'float32', min: -100, max: 100 },
  frequency_penalty: { type: 'float32', min: -100, max: 100 },
  seed: { type: 'integer', min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER },
  num_keep: { type: 'integer', min: -1, max: INT32 },
  stop: { type: 'array' },
  num_ctx: { type: 'integer', min: 0, max: INT32 },
  num_batch: { type: 'integer', min: 0, max: INT32 },
  num_gpu: { type: 'integer', min: -1, max: INT32 },
  main_gpu: { type: 'integer', min: 0, max: 1_000 },
  use_mmap: { type: 'boolean' },
  num_thread: { type: 'integer', min: 0, max: 10_000 },
  draft_num_predict: { type: 'integer', min: -1, max: INT32 },
  distributed: { type: 'boolean', own: 'Whether the model runs over several nodes, or on one; without it as it fits. For Drover itself.' },
}

const STOPS: Schema = { type: 'array', items: { type: 'string' }, maxItems: 64 }

const schemaOfOption = ({ type, min, max, own }: OptionRule): Schema => {
  if (type === 'array') return STOPS
  if (type === 'boolean') return { type, ...(own !== undefined && { description: own }) }
  return { type: type === 'integer' ? type : 'number', minimum: min, maximum: max }
}

const OPTIONS_SCHEMA: Schema = {
  type: 'object',
  properties: Object.fromEntries(Object.entries(OPTIONS).map(([name, rule]) => [name, schemaOfOption(rule)])),
}

/** Wrong types of options are status 500 in Ollama; out of range is ours, and 400. */
const option = (name: string, { type, min = 0, max = 0, own }: OptionRule, value: unknown): unknown => {
  const wrong = (what: string) => badRequest(`option "${name}" must be of ${what}`, own === undefined ? 500 : 400)
  if (type === 'boolean') {
    if (typeof value !== 'boolean') throw wrong('type boolean')
    return value
  }
  if (type === 'array') {
    if (!Array.isArray(value)) throw wrong('type array')
    if (!value.every((one) => typeof one === 'string')) throw wrong('an array of strings')
    if (value.length > 64) throw badRequest(`option "${name}" has ${value.length} items, at most 64 are allowed`)
    return value
  }
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(`type ${type}`)
  const number = type === 'integer' ? Math.trunc(value) : value
  if (number < min || number > max) throw badRequest(`option "${name}" must be between ${min} and ${max}`)
  return number
}

/** Option names are exact (they are a map in Go), unlike all other keys. */
export const options: Check = described(OPTIONS_SCHEMA, (value, place, ignored) => {
  const given = anyObject('map[string]interface {}')(value, place, ignored) as JsonObject
  const known: JsonObject = {}
  for (const [name, inner] of Object.entries(given)) {
    const rule = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined
    if (!rule) ignore(ignored, `options.${name}`)
    else if (inner !== null) known[name] = option(name, rule, inner)
  }
  return known
})

const KEEP_ALIVE: Schema = {
  anyOf: [{ type: 'number' }, { type: 'string', examples: ['5m', '1h30m', '-1s', '0'] }],
  description: 'How long the model stays in memory: seconds, or a duration such as `5m`. The policy of a node goes before it; 0 without a prompt unloads.',
}

export const keepAlive: Check = described(KEEP_ALIVE, (value) => {
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value !== 'string') {
    const type = typeof value === 'boolean' ? 'bool' : Array.isArray(value) ? '[]interface {}' : 'map[string]interface {}'
    throw badRequest(`Unsupported type: '${type}'`)
  }
  const duration = goDuration(value)
  if (typeof duration === 'string') throw badRequest(duration)
  return value
})

const LEVELS = new Set(['high', 'medium', 'low', 'max'])
const THINK_VALUES = '"high", "medium", "low", "max", true, or false'

const think: Check = described({ anyOf: [{ type: 'boolean' }, { enum: [...LEVELS] }] }, (value) => {
  if (typeof value === 'boolean' || (typeof value === 'string' && LEVELS.has(value))) return value
  throw badRequest(
    typeof value === 'string'
      ? `invalid think value: ${JSON.stringify(value)} (must be ${THINK_VALUES})`
      : `think must be a boolean or string (${THINK_VALUES})`,
  )
})

/** `""` is no format. Ollama finds a bad one only when it starts to answer, hence status 500. */
const format: Check = described({ anyOf: [{ enum: ['json', ''] }, { type: 'object', description: 'A JSON Schema.' }] }, (value) => {
  if (value === 'json' || value === '' || isObject(value)) return value
  throw badRequest(`invalid format: ${JSON.stringify(JSON.stringify(value))}; expected "json" or a valid JSON Schema object`, 500)
})

const fold = { foldCase: true }
const images = list(base64Image, 256, '[]api.ImageData')

/** Messages are read by code of their own there, which tells of them as parts of the request. */
const REQUEST = 'ChatRequest'

const toolCall = struct(
  REQUEST,
  {
    id: text,
    function: struct(
      REQUEST,
      { index: int(0, 10_000), name: text, arguments: anyObject('api.ToolCallFunctionArguments') },
      { ...fold, type: 'api.ToolCallFunction' },
    ),
  },
  { ...fold, type: 'api.ToolCall' },
)

const message = struct(
  REQUEST,
  {
    role: lowerCase,
    content: text,
    thinking: text,
    images,
    tool_calls: list(toolCall, 1_000, '[]api.ToolCall'),
    tool_name: text,
    tool_call_id: text,
  },
  { ...fold, type: 'api.Alias' },
)

const common = {
  model: text,
  stream: flag,
  format,
  options,
  keep_alive: keepAlive,
  think,
  truncate: flag,
  shift: flag,
  logprobs: flag,
  top_logprobs: int(0, 20),
}

const chatFields = struct(
  REQUEST,
  { ...common, messages: list(message, 10_000, '[]api.Message'), tools: tools('api.Tool', 'api.Tools') },
  { ...fold, type: 'api.ChatRequest' },
)

const generateFields = struct(
  'GenerateRequest',
  {
    ...common,
    prompt: text,
    suffix: text,
    system: text,
    template: text,
    context: list(int(0, INT32), 1_000_000, '[]int'),
    raw: flag,
    images,
  },
  { ...fold, type: 'api.GenerateRequest' },
)

const NO_MESSAGES = 'Without messages the model is loaded, or unloaded where `keep_alive` is 0.'
const NO_PROMPT = 'Without a prompt the model is loaded, or unloaded where `keep_alive` is 0.'

/** The bodies of `POST /api/chat` and `POST /api/generate`. */
export const chatSchema: Schema = { ...schemaOf(chatFields), required: ['model'], description: NO_MESSAGES }
export const generateSchema: Schema = { ...schemaOf(generateFields), required: ['model'], description: NO_PROMPT }

/** What a native request says, and what it wishes of Drover. */
export interface NativeRequest {
  body: JsonObject
  ignored: Ignored
  wish: Pick<ParsedRequest, 'layout'>
}

const parsed = ({ body, ignored, wish }: NativeRequest): ParsedRequest => {
  const model = body['model'] as string
  if (!canonicalName(model)) throw badRequest('invalid model name')
  return { model, stream: body['stream'] !== false, body, ignored: [...ignored], slots: 1, ...wish }
}

/** A native request: its known fields, without those that are for Drover alone, and the names of the others. */
export const read = (input: string, fields: Check, name: string): NativeRequest => {
  const ignored: Ignored = new Set()
  // A bare `null` decodes into an empty request.
  const value = readJsonBody(input, 'missing request body') ?? {}
  const body = fields(value, top(name), ignored) as JsonObject
  if (!isObject(body['options']) || body['options']['distributed'] === undefined) return { ignored, body, wish: {} }
  const { distributed, ...given } = body['options']
  return { ignored, body: { ...body, options: given }, wish: { layout: distributed === true ? 'cluster' : 'node' } }
}

export const parseChat = (input: string): ParsedRequest => {
  const request = read(input, chatFields, 'ChatRequest')
  if (!request.body['model']) throw badRequest('model is required')
  return parsed(request)
}

export const parseGenerate = (input: string): ParsedRequest => {
  const request = read(input, generateFields, 'GenerateRequest')
  const { body } = request
  if (!body['model']) throw new BrokerError('model_not_found', "model '' not found")
  if (body['raw'] === true && (body['template'] || body['system'] || isFilled(body['context'])))
    throw badRequest('raw mode does not support template, system, or context')
  return parsed(request)
}

/** A request without anything to answer loads or unloads the model; `undefined` for any other one. */
export const loadRequest = (kind: 'chat' | 'generate', body: JsonObject): 'load' | 'unload' | undefined => {
  if (kind === 'chat' ? isFilled(body['messages']) : body['prompt']) return undefined
  const keep = body['keep_alive']
  return keep === 0 || (typeof keep === 'string' && goDuration(keep) === 0) ? 'unload' : 'load'
}

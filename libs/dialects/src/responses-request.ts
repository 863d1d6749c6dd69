import { canonicalName } from '@drover/core'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ParsedRequest } from './dialect.ts'
import { anyObject, badRequest, described, flag, float, ignore, int, list, schemaOf, struct, text, top, type Check, type Ignored, type Schema, written } from './fields.ts'
import { AUDIO, base64Audio, IMAGE_URL, imageUrl } from './images.ts'
import { readJsonBody } from './json-body.ts'
import { hasReferences, type StoredWish } from './responses-stored.ts'
import type { GenerationRequest } from './route.ts'
import { readArguments } from './tool-calls.ts'

const INT32 = 2 ** 31 - 1

const oneOf = (name: string, values: readonly string[]): Check =>
  described({ type: 'string', enum: [...values] }, (value) => {
    if (typeof value === 'string' && values.includes(value)) return value
    throw badRequest(`${name} must be one of ${values.map((one) => `"${one}"`).join(', ')}`)
  })

/** Checks of an object by its `type`. */
type Kinds = Readonly<Record<string, Check>>

const anyOf = (kinds: Kinds): Schema => ({
  anyOf: Object.entries(kinds).map(([type, check]) => {
    const { properties, required = [], ...schema } = schemaOf(check)
    const names = Array.isArray(required) ? required : []
    return { ...schema, required: ['type', ...names], properties: { ...(isObject(properties) ? properties : {}), type: { const: type } } }
  }),
})

/** An object that cannot be without these fields; `what` is its name in an error. */
const needing = (check: Check, what: string, ...names: string[]): Check =>
  described({ ...schemaOf(check), required: names }, (value, place, ignored) => {
    const known = check(value, place, ignored) as JsonObject
    for (const name of names) if (known[name] === undefined) throw badRequest(`${place.path}: ${what} needs ${name}`)
    return known
  })

const imageUri: Check = described(IMAGE_URL, (value) => imageUrl(typeof value === 'string' ? value : ''))

const audio = needing(
  struct('Audio', { data: described(AUDIO, base64Audio), format: oneOf('input_audio.format', ['wav', 'mp3']) }),
  'input_audio',
  'data',
)

/** A part of a message or of a tool's answer. An assistant's own parts come back as they were sent. */
const partKinds: Kinds = {
  input_text: needing(struct('InputText', { type: text, text }), 'input_text', 'text'),
  output_text: needing(struct('OutputText', { type: text, text }), 'output_text', 'text'),
  refusal: needing(struct('Refusal', { type: text, refusal: text }), 'refusal', 'refusal'),
  input_image: needing(struct('InputImage', { type: text, detail: text, image_url: imageUri }), 'input_image', 'image_url'),
  input_audio: needing(struct('InputAudio', { type: text, input_audio: audio }), 'input_audio', 'input_audio'),
}

const part: Check = described(anyOf(partKinds), (value, place, ignored) => {
  const type = isObject(value) ? value['type'] : undefined
  if (!isObject(value) || typeof type !== 'string') throw badRequest(`${place.path}: each part needs a type`)
  if (type === 'input_file') throw badRequest('input_file is not supported: send the text of the file itself')
  const check = Object.hasOwn(partKinds, type) ? partKinds[type] : undefined
  if (!check) throw badRequest(`${place.path}: parts of type "${type.slice(0, 64)}" are not supported`)
  if (type === 'input_image' && value['file_id']) throw badRequest('input_image by file_id is not supported: no files are stored, send a data URI')
  // What the API's own answers have beside their texts says nothing to a model.
  const { annotations: _annotations, logprobs: _logprobs, ...rest } = value
  return check(rest, place, ignored)
})

const parts = list(part, 10_000, '[]openai.ResponsesContent')

const content: Check = described({ anyOf: [{ type: 'string' }, schemaOf(parts)] }, (value, place, ignored) =>
  typeof value === 'string' ? value : parts(value, place, ignored))

/** What every item of an answer has, and a client sends back with it. */
const common = { type: text, id: text, status: text }

const thoughts = list(struct('ReasoningText', { type: text, text }), 10_000, '[]openai.ReasoningText')

/** llama-server answers arguments that are not JSON with 500, as if it had failed itself. */
const callArguments: Check = described({ type: 'string', description: 'The text of a JSON object.', examples: ['{"city":"Paris"}'] }, (value, place, ignored) => {
  const known = text(value, place, ignored) as string
  if (!readArguments(known)) throw badRequest('function_call: arguments must be the text of a JSON object')
  return known
})

const messageFields = struct('Message', {
  ...common, role: oneOf('role', ['user', 'assistant', 'system', 'developer']), phase: text, content,
})

const itemKinds: Kinds = {
  message: needing(messageFields, 'message', 'role', 'content'),
  function_call: needing(
    struct('FunctionCall', { ...common, call_id: text, name: text, arguments: callArguments }), 'function_call', 'call_id', 'name', 'arguments',
  ),
  function_call_output: needing(struct('FunctionCallOutput', { ...common, call_id: text, output: content }), 'function_call_output', 'call_id', 'output'),
  /** An item of a response that is stored. */
  item_reference: needing(struct('ItemReference', { type: text, id: text }), 'item_reference', 'id'),
  reasoning: struct('ReasoningItem', { ...common, summary: thoughts, content: thoughts, encrypted_content: text }),
}

const item: Check = described(anyOf(itemKinds), (value, place, ignored) => {
  if (!isObject(value)) throw badRequest('input: each item must be an object')
  const type = value['type'] ?? (value['role'] === undefined ? undefined : 'message')
  if (typeof type !== 'string') throw badRequest('input: each item needs a type')
  const check = Object.hasOwn(itemKinds, type) ? itemKinds[type] : undefined
  if (!check) throw badRequest(`input: items of type "${type.slice(0, 64)}" are not supported`)
  return check({ ...value, type }, place, ignored)
})

const items = list(item, 10_000, '[]openai.ResponsesInputItem')

const input: Check = described({ anyOf: [{ type: 'string' }, { ...schemaOf(items), minItems: 1 }] }, (value, place, ignored) =>
  typeof value === 'string' ? value : items(value, place, ignored))

const formatFields = struct('ResponsesTextFormat', {
  type: oneOf('text.format.type', ['text', 'json_object', 'json_schema']),
  name: text,
  description: text,
  strict: flag,
  schema: anyObject('json.RawMessage'),
})

const FORMATS: Schema = {
  anyOf: [
    { required: ['type'], properties: { type: { enum: ['text', 'json_object'] } } },
    { required: ['type', 'schema'], properties: { type: { const: 'json_schema' } } },
  ],
}

const format: Check = described({ ...schemaOf(formatFields), ...FORMATS }, (value, place, ignored) => {
  const known = formatFields(value, place, ignored) as JsonObject
  if (known['type'] === undefined) throw badRequest('text.format.type is required')
  if (known['type'] === 'json_schema' && known['schema'] === undefined) throw badRequest('text.format.schema is required')
  return known
})

const TOOL: Schema = {
  type: 'object',
  required: ['type', 'name'],
  properties: {
    type: { const: 'function' },
    name: { type: 'string', minLength: 1, maxLength: 256 },
    description: { type: 'string' },
    parameters: { type: 'object', description: 'A JSON Schema of its arguments.' },
    strict: { type: 'boolean' },
  },
}

const isFunction = (tool: unknown): tool is JsonObject => isObject(tool) && tool['type'] === 'function'

const functionTool: Check = described(TOOL, (tool, place) => {
  if (!isObject(tool)) throw badRequest(`${place.path}: each tool must be an object`)
  const { name, parameters } = tool
  if (typeof name !== 'string' || name === '' || name.length > 256)
    throw badRequest('tools: each function needs a name of at most 256 characters')
  if (parameters !== undefined && parameters !== null && !isObject(parameters)) throw badRequest('tools: parameters must be a JSON Schema object')
  return tool
})

const functions = list(functionTool, 1_000, '[]openai.ResponsesTool')

/** Functions; a tool that OpenAI's own servers would run (or a client in its own way) is nothing that a model here could use. */
const tools: Check = described(
  { ...schemaOf(functions), description: 'Functions. Tools of other types are left out and named in `x-drover-ignored`.' },
  (value, place, ignored) => {
    if (!Array.isArray(value)) return functions(value, place, ignored)
    for (const tool of value) if (!isFunction(tool)) ignore(ignored, `tools.${isObject(tool) ? written(tool['type']) : '?'}`)
    return functions(value.filter(isFunction), place, ignored)
  },
)

const CHOICES = ['none', 'auto', 'required']

const named: Schema = { type: 'object', required: ['type', 'name'], properties: { type: { const: 'function' }, name: { type: 'string' } } }
const allowed: Schema = {
  type: 'object',
  required: ['type', 'mode', 'tools'],
  properties: { type: { const: 'allowed_tools' }, mode: { enum: ['auto', 'required'] }, tools: { type: 'array', items: named, minItems: 1 } },
}

const isNamed = (value: unknown): value is JsonObject => isFunction(value) && typeof value['name'] === 'string'

const toolChoice: Check = described({ anyOf: [{ enum: CHOICES }, named, allowed] }, (value) => {
  if (typeof value === 'string' && CHOICES.includes(value)) return value
  if (isNamed(value)) return { type: 'function', name: value['name'] }
  if (isObject(value) && value['type'] === 'allowed_tools') {
    const { mode = 'auto', tools: some } = value
    if ((mode === 'auto' || mode === 'required') && isFilled(some) && some.every(isNamed))
      return { type: 'allowed_tools', mode, tools: some.map(({ name }) => ({ type: 'function', name })) }
  }
  throw badRequest('tool_choice must be "none", "auto", "required", a function, or allowed_tools of functions')
})

export const LOGPROBS = 'message.output_text.logprobs'

/** What else an answer is to have: of that, log probabilities are all that an engine can give. */
const include: Check = described({ type: 'array', items: { type: 'string' }, maxItems: 100 }, (value, place, ignored) => {
  const all = list(text, 100, '[]string')(value, place, ignored) as string[]
  for (const one of all) if (one !== LOGPROBS) ignore(ignored, `include.${one}`)
  return all.filter((one) => one === LOGPROBS)
})

const shortText = (name: string, most: number): Check =>
  described({ type: 'string', maxLength: most }, (value, place, ignored) => {
    const known = text(value, place, ignored) as string
    if (known.length > most) throw badRequest(`${name} has ${known.length} characters, at most ${most} are allowed`)
    return known
  })

const metadata: Check = described(
  { type: 'object', maxProperties: 16, propertyNames: { maxLength: 64 }, additionalProperties: { type: 'string', maxLength: 512 } },
  (value) => {
    if (!isObject(value)) throw badRequest('metadata must be an object')
    const entries = Object.entries(value)
    if (entries.length > 16) throw badRequest(`metadata has ${entries.length} keys, at most 16 are allowed`)
    for (const [key, one] of entries)
      if (key.length > 64 || typeof one !== 'string' || one.length > 512)
        throw badRequest('metadata: keys have at most 64 characters, values are texts of at most 512')
    return value
  },
)

/** A field that asks for something stored of a kind that is not stored here. */
const refused = (why: string): Check =>
  described({ const: null, description: `Anything else is refused: ${why}.` }, (_value, place) => {
    throw badRequest(`${place.path} is not supported: ${why}`)
  })

/** A field of which one value says what is done anyway; any other is dropped and named. */
const only = (schema: Schema, usual: unknown): Check =>
  described(schema, (value, place, ignored) => {
    if (value !== usual) ignore(ignored, place.path)
    return undefined
  })

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max', 'ultra']
const SUMMARIES = ['auto', 'concise', 'detailed']

const fields = struct(
  'ResponsesRequest',
  {
    model: text,
    input,
    instructions: text,
    stream: flag,
    max_output_tokens: int(1, INT32),
    temperature: float(0, 2),
    top_p: float(0, 1),
    top_logprobs: int(0, 20),
    include,
    reasoning: struct('ResponsesReasoning', {
      effort: oneOf('reasoning.effort', EFFORTS),
      summary: oneOf('reasoning.summary', SUMMARIES),
      generate_summary: oneOf('reasoning.generate_summary', SUMMARIES),
    }),
    text: struct('ResponsesText', { format }),
    tools,
    tool_choice: toolChoice,
    parallel_tool_calls: flag,
    metadata,
    user: shortText('user', 512),
    safety_identifier: shortText('safety_identifier', 512),
    prompt_cache_key: shortText('prompt_cache_key', 512),
    truncation: only({ enum: ['auto', 'disabled'], description: 'Always as `disabled`.' }, 'disabled'),
    store: flag,
    background: flag,
    previous_response_id: text,
    conversation: refused('conversations are not stored, send the whole conversation as input'),
    prompt: refused('prompts are not stored, send instructions and input'),
  },
  { type: 'openai.ResponsesRequest' },
)

/** The request body of `POST /v1/responses`, as JSON Schema. */
export const responsesSchema: Schema = { ...schemaOf(fields), required: ['model', 'input'] }

/** Functions that a choice names have to be there. */
const checkChoice = ({ tools: given, tool_choice: choice }: JsonObject): void => {
  if (choice === undefined || choice === 'none' || choice === 'auto') return
  const names = new Set((Array.isArray(given) ? given : []).map((tool: JsonObject) => tool['name']))
  if (choice === 'required' && names.size === 0) throw badRequest('tool_choice is "required", but there are no functions in tools')
  if (!isObject(choice)) return
  const wanted = Array.isArray(choice['tools']) ? choice['tools'].map((tool: JsonObject) => tool['name']) : [choice['name']]
  for (const name of wanted) if (!names.has(name)) throw badRequest(`tool_choice names a function "${written(name)}" that is not in tools`)
}

export const parseResponses = (text: string): ParsedRequest => {
  const ignored: Ignored = new Set()
  const { store, background, previous_response_id: previous, ...known } = fields(readJsonBody(text, 'EOF') ?? {}, top('ResponsesRequest'), ignored) as JsonObject
  const body: JsonObject = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined))
  const { model } = body
  if (typeof model !== 'string' || model === '') throw badRequest('model is required')
  if (!canonicalName(model)) throw badRequest('invalid model name')
  if (body['input'] === undefined) throw badRequest('input is required')
  if (Array.isArray(body['input']) && body['input'].length === 0) throw badRequest("[] is too short - 'input'")
  checkChoice(body)
  if (background === true && store === false) throw badRequest('background needs store: of a response that is not stored nobody could ask how far it is')
  const stored: StoredWish = {
    ...(typeof store === 'boolean' && { store }),
    background: background === true,
    ...(typeof previous === 'string' && { previous }),
    ...(hasReferences(body['input']) && { references: true as const }),
  }
  return { model, stream: body['stream'] === true, body, stored, ignored: [...ignored], slots: 1 }
}

/** Fields that only come back in the answer. */
const ECHOED = new Set(['metadata', 'user', 'safety_identifier', 'prompt_cache_key', 'previous_response_id', 'store', 'background', 'created_at'])

/** A request for an engine that speaks this API itself, streamed whatever the client wants. */
export const askResponses = ({ body, engine }: GenerationRequest): JsonObject => ({
  ...Object.fromEntries(Object.entries(body).filter(([name]) => !ECHOED.has(name))),
  model: engine.model,
  stream: true,
  store: false,
})

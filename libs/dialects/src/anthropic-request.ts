import { canonicalName } from '@drover/core'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ParsedRequest } from './dialect.ts'
import { anyObject, badRequest, described, float, ignore, int, list, schemaOf, struct, text, top, type Check, type Ignored, type Schema, written } from './fields.ts'
import { base64Image } from './images.ts'
import { readJsonBody } from './json-body.ts'

const INT32 = 2 ** 31 - 1

const oneOf = (values: readonly string[]): Check =>
  described({ enum: [...values] }, (value, { path }) => {
    if (typeof value === 'string' && values.includes(value)) return value
    throw badRequest(`${path} must be one of ${values.map((one) => `"${one}"`).join(', ')}`)
  })

const required = (fields: JsonObject, what: string, ...names: string[]): void => {
  for (const name of names) if (fields[name] === undefined) throw badRequest(`${what} needs ${name}`)
}

/** A text that is not empty. */
const name: Check = described({ type: 'string', minLength: 1 }, (value, place, ignored) => {
  if (text(value, place, ignored) === '') throw badRequest(`${place.path} must not be empty`)
  return value
})

const IMAGES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp']

const imageSource: Check = described(
  {
    type: 'object',
    properties: { type: { const: 'base64' }, media_type: { enum: IMAGES }, data: schemaOf(base64Image) },
    required: ['type', 'media_type', 'data'],
  },
  (value, place, ignored) => {
    if (!isObject(value)) throw badRequest(`${place.path} needs a source`)
    const { type, media_type: media, data } = value
    if (type === 'url') throw badRequest('image URLs are not supported: send the image itself as base64 data')
    if (type !== 'base64') throw badRequest('an image source must be of type "base64"')
    if (typeof media !== 'string' || !IMAGES.includes(media)) throw badRequest(`an image's media_type must be one of ${IMAGES.join(', ')}`)
    return { type, media_type: media, data: base64Image(data, place, ignored) }
  },
)

const type = text

const textBlock = struct('TextBlock', { type, text })
const imageBlock = struct('ImageBlock', { type, source: imageSource })

/** Blocks by their type, and which fields each of them must have. */
type Blocks = Record<string, { check: Check; needs: string[] }>

const TEXT: Blocks = { text: { check: textBlock, needs: ['text'] } }
const PLAIN: Blocks = { ...TEXT, image: { check: imageBlock, needs: ['source'] } }

/** Blocks that only Anthropic's own servers can make sense of: what they made themselves in an earlier turn. */
const ELSEWHERE = /^(redacted_thinking|server_tool_use|fallback|compaction|container_upload|[a-z_]+_tool_result)$/

const blockSchema = (blocks: Blocks): Schema => ({
  oneOf: Object.entries(blocks).map(([kind, { check, needs }]) => {
    const schema = schemaOf(check)
    return { ...schema, properties: { ...(schema['properties'] as Schema), type: { const: kind } }, required: ['type', ...needs] }
  }),
})

/** A list of blocks, or text that stands for one. */
const content = (blocks: Blocks): Check => {
  const one: Check = described(blockSchema(blocks), (value, place, ignored) => {
    if (!isObject(value)) throw badRequest(`${place.path} must be a text or a list of blocks`)
    const { type: kind } = value
    const block = typeof kind === 'string' && Object.hasOwn(blocks, kind) ? blocks[kind] : undefined
    if (!block) {
      if (kind === 'document' || kind === 'search_result')
        throw badRequest(`content blocks of type "${kind}" are not supported: send their text as a text block`)
      if (typeof kind !== 'string' || !ELSEWHERE.test(kind)) throw badRequest(`${place.path} has a block of an unknown type`)
      ignore(ignored, `${place.path}.${kind}`)
      return undefined
    }
    const known = block.check(value, { ...place, path: `${place.path}.${written(kind)}` }, ignored) as JsonObject
    required(known, `a block of type "${written(kind)}"`, ...block.needs)
    return known
  })
  const many = list(one, 10_000, '[]anthropic.ContentBlock')
  return described({ oneOf: [{ type: 'string' }, schemaOf(many)] }, (value, place, ignored) => {
    if (typeof value === 'string') return value
    return (many(value, place, ignored) as unknown[]).filter((block) => block !== undefined)
  })
}

const toolResult = struct('ToolResultBlock', {
  type,
  tool_use_id: name,
  content: content(PLAIN),
  is_error: described({ type: 'boolean' }, (value) => value === true),
})

const IN_TURNS: Blocks = {
  ...PLAIN,
  thinking: { check: struct('ThinkingBlock', { type, thinking: text, signature: text }), needs: [] },
  tool_use: { check: struct('ToolUseBlock', { type, id: name, name, input: anyObject('map[string]interface {}') }), needs: ['id', 'name'] },
  tool_result: { check: toolResult, needs: ['tool_use_id'] },
}

const messageFields = struct(
  'MessagesRequest',
  { role: oneOf(['user', 'assistant', 'system']), content: content(IN_TURNS) },
  { type: 'anthropic.MessageParam' },
)

const message: Check = described({ ...schemaOf(messageFields), required: ['role', 'content'] }, (value, place, ignored) => {
  const known = messageFields(value, place, ignored) as JsonObject
  if (known['role'] === undefined) throw badRequest('messages: each message needs a role')
  if (known['content'] === undefined) throw badRequest('messages: each message needs content')
  return known
})

const toolName: Check = described({ type: 'string', minLength: 1, maxLength: 256 }, (value, place, ignored) => {
  if (String(name(value, place, ignored)).length > 256) throw badRequest('tools: a name has at most 256 characters')
  return value
})

const toolFields = struct('Tool', { name: toolName, description: text, input_schema: anyObject('json.RawMessage') }, { type: 'anthropic.Tool' })

/** A tool of the client's own. What Anthropic's servers would run, or know the schema of, no engine can offer. */
const tool: Check = described({ ...schemaOf(toolFields), required: ['name', 'input_schema'] }, (value, place, ignored) => {
  if (!isObject(value)) return toolFields(value, place, ignored)
  const { type: kind = 'custom', ...fields } = value
  if (kind !== 'custom' && kind !== null) {
    ignore(ignored, `${place.path}.${written(kind)}`)
    return undefined
  }
  const known = toolFields(fields, place, ignored) as JsonObject
  required(known, 'each tool', 'name', 'input_schema')
  return known
})

const toolList = list(tool, 1_000, '[]anthropic.Tool')

const tools: Check = described(schemaOf(toolList), (value, place, ignored) =>
  (toolList(value, place, ignored) as unknown[]).filter((one) => one !== undefined),
)

const toolChoiceFields = struct('ToolChoice', {
  type: oneOf(['auto', 'any', 'tool', 'none']),
  name,
  disable_parallel_tool_use: described({ type: 'boolean' }, (value) => value === true),
})

const CHOICES: Schema = {
  ...schemaOf(toolChoiceFields),
  required: ['type'],
  oneOf: [{ properties: { type: { enum: ['auto', 'any', 'none'] } } }, { properties: { type: { const: 'tool' } }, required: ['name'] }],
}

const toolChoice: Check = described(CHOICES, (value, place, ignored) => {
  const known = toolChoiceFields(value, place, ignored) as JsonObject
  required(known, 'tool_choice', 'type')
  if (known['type'] === 'tool') required(known, 'tool_choice of type "tool"', 'name')
  return known
})

const format = struct('JSONOutputFormat', { type: oneOf(['json_schema']), schema: anyObject('json.RawMessage') })

const outputFormat: Check = described({ ...schemaOf(format), required: ['schema'] }, (value, place, ignored) => {
  const known = format(value, place, ignored) as JsonObject
  if (known['schema'] === undefined) throw badRequest('output_config.format.schema is required')
  return known
})

const MESSAGES = list(message, 100_000, '[]anthropic.MessageParam')

/** What the prompt and the model's freedom are made of; both routes have it. */
const PROMPT: Record<string, Check> = {
  model: text,
  messages: described({ minItems: 1 }, MESSAGES),
  system: content(TEXT),
  tools,
  tool_choice: toolChoice,
  thinking: struct('ThinkingConfig', {
    type: oneOf(['enabled', 'disabled', 'adaptive', 'between_tools']),
    budget_tokens: int(0, INT32),
  }),
  output_config: struct('OutputConfig', { effort: oneOf(['low', 'medium', 'high', 'xhigh', 'max']), format: outputFormat }),
}

const maxTokens: Check = described({ type: 'integer', minimum: 1, maximum: INT32 }, (value, place, ignored) => {
  if (typeof value === 'number' && value <= 0) throw noLimit()
  return int(1, INT32)(value, place, ignored)
})

const noLimit = () => badRequest('max_tokens is required and must be positive')

const messagesFields = struct(
  'MessagesRequest',
  {
    ...PROMPT,
    max_tokens: maxTokens,
    stream: described({ type: 'boolean' }, (value) => {
      if (typeof value !== 'boolean') throw badRequest('stream must be true or false')
      return value
    }),
    temperature: float(0, 2),
    top_p: float(0, 1),
    top_k: int(0, 1_000_000),
    stop_sequences: list(text, 64, '[]string'),
  },
  { type: 'anthropic.MessagesRequest' },
)

const countFields = struct('CountTokensRequest', PROMPT, { type: 'anthropic.CountTokensRequest' })

const REQUIRED = ['model', 'messages']

/** The body of `POST /v1/messages`, and of `POST /v1/messages/count_tokens`. */
export const messagesSchema: Schema = { ...schemaOf(messagesFields), required: [...REQUIRED, 'max_tokens'] }
export const countTokensSchema: Schema = { ...schemaOf(countFields), required: REQUIRED }

/** A choice that names no tool of the request has nothing to choose from. */
const checkChoice = ({ tools: offered, tool_choice: choice }: JsonObject): void => {
  if (!isObject(choice) || choice['type'] !== 'tool') return
  const names = Array.isArray(offered) ? offered.filter(isObject).map(({ name }) => name) : []
  if (!names.includes(choice['name'])) throw badRequest('tool_choice names a tool that is not among the tools')
}

const parse = (input: string, fields: Check, limited: boolean): ParsedRequest => {
  const ignored: Ignored = new Set()
  const body = fields(readJsonBody(input, 'EOF') ?? {}, top('MessagesRequest'), ignored) as JsonObject
  const { model, messages } = body
  if (typeof model !== 'string' || model === '') throw badRequest('model is required')
  if (limited && body['max_tokens'] === undefined) throw noLimit()
  if (!isFilled(messages)) throw badRequest('messages is required')
  if (!canonicalName(model)) throw badRequest('invalid model name')
  checkChoice(body)
  return { model, stream: body['stream'] === true, body, ignored: [...ignored], slots: 1 }
}

/** @throws BrokerError `bad_request` in the words that Ollama has for this route (v0.33), which are Anthropic's in form */
export const parseMessages = (input: string): ParsedRequest => parse(input, messagesFields, true)

export const parseCountTokens = (input: string): ParsedRequest => parse(input, countFields, false)

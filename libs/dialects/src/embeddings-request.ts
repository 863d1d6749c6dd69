import { BrokerError, canonicalName } from '@drover/core'
import type { JsonObject } from './delta.ts'
import type { Inputs, ParsedRequest } from './dialect.ts'
import { joinEmbed, joinOpenAiEmbeddings } from './embeddings-join.ts'
import { badRequest, described, flag, int, schemaOf, struct, text, top, type Check, type Ignored, type Schema } from './fields.ts'
import { readJsonBody } from './json-body.ts'
import { keepAlive, options, read, type NativeRequest } from './ollama-request.ts'

/** Most inputs of one request. */
const INPUTS = 10_000
/** Most characters, or tokens, of one input. */
const INPUT_LENGTH = 1_000_000
const INT32 = 2 ** 31 - 1

/** An input costs something however short it is: about as much as so many characters. */
const INPUT_WEIGHT = 1_000
const TOKEN_CHARS = 4

const TEXT_SCHEMA = { type: 'string', maxLength: INPUT_LENGTH }
const TOKENS_SCHEMA = { type: 'array', minItems: 1, maxItems: INPUT_LENGTH, items: { type: 'integer', minimum: 0, maximum: INT32 } }
const listOf = (items: Schema, minItems = 0): Schema => ({ type: 'array', minItems, maxItems: INPUTS, items })

/** Texts, or lists of tokens. */
type Items = string[] | number[][]

const limited = <T extends Items>(items: T): T => {
  if (items.length > INPUTS) throw badRequest(`input has ${items.length} items, at most ${INPUTS} are allowed`)
  const long = items.findIndex(({ length }) => length > INPUT_LENGTH)
  const unit = typeof items[long] === 'string' ? 'characters' : 'tokens'
  if (long >= 0) throw badRequest(`input ${long} has ${items[long]?.length} ${unit}, at most ${INPUT_LENGTH} are allowed`)
  return items
}

const isText = (value: unknown): value is string => typeof value === 'string'
const isToken = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= INT32
const isTokens = (value: unknown): value is number[] => Array.isArray(value) && value.length > 0 && value.every(isToken)

const wrongInput = () => badRequest('invalid input type')

/** A text or a list of them; nothing at all is an empty list. */
const texts: Check = described({ oneOf: [TEXT_SCHEMA, listOf(TEXT_SCHEMA)] }, (value) => {
  if (isText(value)) limited([value])
  else if (!Array.isArray(value) || !value.every(isText)) throw wrongInput()
  else limited(value)
  return value
})

/** Like `texts`, or one or more lists of tokens, which only llama-server can read. */
const textsOrTokens: Check = described({ oneOf: [TEXT_SCHEMA, listOf(TEXT_SCHEMA, 1), TOKENS_SCHEMA, listOf(TOKENS_SCHEMA, 1)] }, (value, place, ignored) => {
  if (isTokens(value)) limited([value])
  else if (Array.isArray(value) && value.length > 0 && value.every(isTokens)) limited(value)
  else return texts(value, place, ignored)
  return value
})

const dimensions = int(0, 65_536)
const fold = { foldCase: true }

const embedFields = struct(
  'EmbedRequest',
  { model: text, input: texts, truncate: flag, dimensions, keep_alive: keepAlive, options },
  { ...fold, type: 'api.EmbedRequest' },
)

const prompt = described(TEXT_SCHEMA, (value, place, ignored) => {
  const [one] = limited([text(value, place, ignored) as string])
  return one
})

const legacyFields = struct(
  'EmbeddingRequest',
  { model: text, prompt, keep_alive: keepAlive, options },
  { ...fold, type: 'api.EmbeddingRequest' },
)

const ENCODINGS = ['float', 'base64']

const encoding: Check = described({ enum: ENCODINGS }, (value, place, ignored) => {
  const name = text(value, place, ignored) as string
  if (!ENCODINGS.includes(name)) throw badRequest(`Invalid value for 'encoding_format' = ${name.slice(0, 50)}. Supported values: ['float', 'base64'].`)
  return name
})

const openAiFields = struct(
  'EmbedRequest',
  { model: text, input: textsOrTokens, dimensions, encoding_format: encoding },
  { type: 'openai.EmbedRequest' },
)

/** The bodies of the three routes. */
export const embedSchema: Schema = { ...schemaOf(embedFields), required: ['model'] }
export const legacyEmbeddingsSchema: Schema = { ...schemaOf(legacyFields), required: ['model'] }
export const openAiEmbeddingsSchema: Schema = { ...schemaOf(openAiFields), required: ['model', 'input'] }

/** A list of inputs, of which each can be answered by itself. */
const inputsOf = (body: JsonObject, join: Inputs['join']): { inputs?: Inputs } => {
  const { input } = body
  if (!Array.isArray(input) || input.length < 2 || isToken(input[0])) return {}
  const items = input as Items
  return {
    inputs: {
      weights: items.map((item) => INPUT_WEIGHT + item.length * (isText(item) ? 1 : TOKEN_CHARS)),
      part: (from, to) => ({ ...body, input: items.slice(from, to) }),
      join,
    },
  }
}

const parsed = ({ body, ignored, wish }: NativeRequest): ParsedRequest => {
  const model = body['model'] as string
  if (!canonicalName(model)) throw badRequest('invalid model name')
  return { model, stream: false, body, ignored: [...ignored], slots: 1, ...wish }
}

/** `POST /api/embed`. */
export const parseEmbed = (input: string): ParsedRequest => {
  const request = read(input, embedFields, 'EmbedRequest')
  if (!request.body['model']) throw new BrokerError('model_not_found', "model '' not found")
  return { ...parsed(request), ...inputsOf(request.body, joinEmbed) }
}

/** `POST /api/embeddings`. */
export const parseLegacyEmbeddings = (input: string): ParsedRequest => {
  const request = read(input, legacyFields, 'EmbeddingRequest')
  if (!request.body['model']) throw badRequest('model is required')
  return parsed(request)
}

/** `POST /v1/embeddings`. */
export const parseOpenAiEmbeddings = (input: string): ParsedRequest => {
  const ignored: Ignored = new Set()
  const body = openAiFields(readJsonBody(input, 'EOF') ?? {}, top('EmbedRequest'), ignored) as JsonObject
  const { model, input: items } = body
  if (items === undefined || (Array.isArray(items) && items.length === 0)) throw badRequest('invalid input')
  if (!model) throw badRequest('model is required')
  const tokens = Array.isArray(items) && !isText(items[0])
  return { ...parsed({ body, ignored, wish: {} }), ...inputsOf(body, joinOpenAiEmbeddings), ...(tokens ? { engine: 'llama-server' } : {}) }
}

/** What Ollama says of a model that is not there, on every route for embeddings. */
export const embedNotFound = (asked: string): string => `model "${asked}" not found, try pulling it first`

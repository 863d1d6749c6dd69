import { BrokerError, canonicalName } from '@drover/core'
import { isFilled, type JsonObject } from './delta.ts'
import type { ExchangeRequest, ParsedRequest } from './dialect.ts'
import { badRequest, described, flag, float, int, schemaOf, struct, text, top } from './fields.ts'
import type { Check, Ignored, Schema } from './fields.ts'
import { readJsonBody } from './json-body.ts'
import { optionsOf } from './openai-to-ollama.ts'
import { INT32, LLAMA_FIELDS, logitBias, SEED, stop, streamOptions } from './openai-request.ts'
import { unsupported } from './refusal.ts'

/** Most answers to one request: its prompts times `n`. */
const ANSWERS = 16

const PROMPT = 'prompt must be a string, a list of token numbers, or a list of these'

const isToken = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= INT32
const isTokens = (value: unknown): boolean => isFilled(value) && value.every(isToken)
const isPrompt = (value: unknown): boolean => typeof value === 'string' || isTokens(value)

/** How many prompts there are; a list of numbers is one, given as tokens. */
const promptsIn = (prompt: unknown): number => (Array.isArray(prompt) && !isTokens(prompt) ? prompt.length : 1)

const TOKENS = { type: 'array', items: { type: 'integer', minimum: 0, maximum: INT32 }, minItems: 1 }

const prompt: Check = described(
  {
    description: 'Ollama takes one text, and puts it into the template of the model. llama-server takes all forms, and adds nothing.',
    anyOf: [
      { type: 'string' },
      TOKENS,
      { type: 'array', items: { anyOf: [{ type: 'string' }, TOKENS] }, minItems: 1, maxItems: ANSWERS },
    ],
  },
  (value) => {
    if (isPrompt(value) || (isFilled(value) && value.every(isPrompt))) return value
    throw badRequest(PROMPT)
  },
)

/** Fields of OpenAI's API that an engine can act on, and llama.cpp's sampling settings, as in chats. */
const fields = struct(
  'CompletionRequest',
  {
    model: text,
    prompt,
    suffix: text,
    max_tokens: int(-1, INT32),
    n: int(1, ANSWERS),
    seed: SEED,
    stop,
    stream: flag,
    stream_options: streamOptions,
    temperature: float(0, 2),
    top_p: float(0, 1),
    frequency_penalty: float(-2, 2),
    presence_penalty: float(-2, 2),
    logit_bias: logitBias,
    logprobs: int(0, 20),
    ...LLAMA_FIELDS,
  },
  { type: 'openai.CompletionRequest' },
)

/** What a request body may be, as OpenAPI has it. */
export const completionSchema: Schema = { ...schemaOf(fields), required: ['model', 'prompt'] }

export const parseCompletion = (input: string): ParsedRequest => {
  const ignored: Ignored = new Set()
  const body = fields(readJsonBody(input, 'EOF') ?? {}, top('CompletionRequest'), ignored) as JsonObject
  const { model, prompt: given, n = 1 } = body
  if (given === undefined) throw badRequest('prompt is required')
  const slots = promptsIn(given) * Number(n)
  if (slots > ANSWERS) throw badRequest(`the request has ${slots} answers (prompts times n), at most ${ANSWERS} are allowed`)
  if (typeof model !== 'string' || model === '') throw badRequest('model is required')
  if (!canonicalName(model)) throw badRequest('invalid model name')
  return { model, stream: body['stream'] === true, body, ignored: [...ignored], slots }
}

/** Ollama knows one text only: a list of one says the same. */
export const oneText = (given: unknown): unknown => (Array.isArray(given) && given.length === 1 && typeof given[0] === 'string' ? given[0] : given)

/**
 * A `/v1/completions` request for an engine that speaks it; one with a suffix does not come here for a llama-server.
 * @throws BrokerError `engine_refused` for what the engine would pass over without a word although it decides about the answer
 */
export const askCompletions = ({ body, asked, engine }: ExchangeRequest): JsonObject => {
  const { stream_options: _options, prompt: given, suffix, ...rest } = body
  const common = { ...rest, model: engine.model, stream: true, stream_options: { include_usage: true } }
  if (engine.kind !== 'ollama') return { ...common, prompt: given }
  if (body['grammar']) throw unsupported(asked, 'grammar')
  return { ...common, prompt: oneText(given), ...(suffix ? { suffix } : {}) }
}

/**
 * A `/v1/completions` request as `/api/generate`, for an Ollama without `/v1`. As on Ollama's own there is one answer whatever `n` says.
 * @throws BrokerError `engine_refused` for prompts that are not one text
 */
export const completionsToGenerate = (request: ExchangeRequest): JsonObject => {
  const { body, asked, engine, policy } = request
  const { suffix, logprobs } = body
  const given = oneText(body['prompt'])
  if (typeof given !== 'string') throw new BrokerError('engine_refused', 'prompt must be one string for this model', { status: 400 })
  if (body['grammar']) throw unsupported(asked, 'grammar')
  const options = optionsOf(request)
  return {
    model: engine.model,
    stream: true,
    prompt: given,
    ...(suffix ? { suffix } : {}),
    ...(Object.keys(options).length > 0 ? { options } : {}),
    ...(typeof logprobs === 'number' && logprobs > 0 ? { logprobs: true, top_logprobs: logprobs } : {}),
    ...(policy.keepAlive === undefined ? {} : { keep_alive: policy.keepAlive }),
  }
}

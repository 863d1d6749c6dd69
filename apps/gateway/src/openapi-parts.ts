import { BrokerError, ErrorInfo, type DialectId, type ErrorCode } from '@drover/core'
import type { Dialect } from '@drover/dialects'

/** Any part of an OpenAPI 3.1 document; JSON Schema is one of them. */
export type Json = Record<string, unknown>

export type Method = 'get' | 'head' | 'post' | 'delete'

export interface Operation extends Json {
  tags: string[]
  summary: string
  description?: string
  operationId: string
  parameters?: Json[]
  requestBody?: { required: boolean; content: Record<string, { schema: Json }> }
  responses: Record<string, Json>
  security?: Json[]
}

export interface OpenApi {
  openapi: string
  info: Json
  tags: { name: string; description: string }[]
  security: Json[]
  paths: Record<string, Partial<Record<Method, Operation>>>
  components: { schemas: Record<string, Json>; headers: Record<string, Json>; parameters: Record<string, Json>; securitySchemes: Record<string, Json> }
}

export const ref = (kind: 'schemas' | 'headers' | 'parameters', name: string): Json => ({ $ref: `#/components/${kind}/${name}` })

const text: Json = { type: 'string' }
const string = (description: string): Json => ({ description, schema: text })

export const HEADERS: Record<string, Json> = {
  'x-request-id': string('The id that the client gave, or one of ours: it stands in our logs.'),
  'x-drover': string('Which of our programs answered, and its version.'),
  'x-drover-job': string('The job that the request became.'),
  'x-drover-model': string('The model that answers, with its whole name.'),
  'x-drover-node': string('The node that answers.'),
  'x-drover-attempts': { description: 'How often the job was started.', schema: { type: 'integer', minimum: 0 } },
  'x-drover-resumed': string('How other attempts took up the answer after the first, as far as was known when the header was sent: `restart`, `continue`, `replay`; parted by commas.'),
  'x-drover-ignored': string('Fields of the request that were dropped because this API does not know them, parted by commas.'),
  'Retry-After': { description: 'Seconds after which the same request may be sent again.', schema: { type: 'integer', minimum: 0 } },
}
export const headers = (...names: string[]): Json => Object.fromEntries(names.map((name) => [name, ref('headers', name)]))

/** Headers of every answer. */
export const ALWAYS = headers('x-request-id', 'x-drover')

/** Why each error comes, for those that a client can meet. */
const CAUSES: Record<ErrorCode, string> = {
  bad_request: 'the request is not one of this API, or a field is out of its range',
  unauthorized: 'a key is needed, or the one that was sent is not valid',
  forbidden: 'the page or host name is not allowed',
  model_not_found: 'no node has the model',
  body_too_large: 'the request body is larger than the gateway takes',
  cancelled: 'the job was cancelled',
  internal: 'a fault of ours',
  engine_refused: 'the engine refused the request: its own status and text',
  engine_failed: 'the engine failed',
  engine_protocol: 'the engine broke off, or sent something that is not its protocol',
  engine_stalled: 'the engine said nothing for too long',
  node_lost: 'the node is gone, and what was sent cannot be continued',
  attempts_exhausted: 'the job was started as often as a job may be',
  queue_full: 'too many jobs wait',
  broker_unavailable: 'Redis cannot be reached',
  draining: 'the gateway is being stopped',
  answer_too_large: 'the answer is longer than a job may keep',
  deadline_exceeded: 'the answer was not finished in time',
}

type Family = 'ollama' | 'openai' | 'anthropic'

/** Routes of llama-server have errors like OpenAI's. */
export const familyOf = (id: DialectId): Family => (id.startsWith('ollama.') ? 'ollama' : id.startsWith('anthropic.') ? 'anthropic' : 'openai')

const ERRORS: Record<Family, { name: string; schema: Json }> = {
  ollama: { name: 'OllamaError', schema: { type: 'object', required: ['error'], properties: { error: text } } },
  openai: {
    name: 'OpenAiError',
    schema: {
      type: 'object',
      required: ['error'],
      properties: { error: { type: 'object', required: ['message', 'type'], properties: { message: text, type: text, param: { type: ['string', 'null'] }, code: { type: ['string', 'integer', 'null'] } } } },
    },
  },
  anthropic: {
    name: 'AnthropicError',
    schema: {
      type: 'object',
      required: ['type', 'error'],
      properties: { type: { const: 'error' }, error: { type: 'object', required: ['type', 'message'], properties: { type: text, message: text } } },
    },
  },
}

export const ERROR_SCHEMAS: Record<string, Json> = Object.fromEntries(Object.values(ERRORS).map(({ name, schema }) => [name, schema]))

/** All that a request for inference can meet. A foreign page is told nothing, so that has no form of a dialect. */
export const CODES = ErrorInfo.shape.code.options.filter((code) => code !== 'forbidden')

export const REQUEST_ID: Json = {
  name: 'x-request-id',
  in: 'header',
  required: false,
  description: 'An id of your own for the request; it comes back, and stands in our logs.',
  schema: { type: 'string', pattern: '^[\\w.:-]{1,128}$' },
}

const wish = (name: string, description: string, words: string[]): Json => ({ name, in: 'header', required: false, description, schema: { type: 'string', enum: words } })

/** How an answer is to be kept up. */
export const WISHES: Record<string, Json> = {
  'x-drover-on-disconnect': wish(
    'x-drover-on-disconnect',
    '`continue`: the job goes on when its client leaves, and can be read at `GET /api/jobs/{id}/stream`, also for a while after its end; `x-drover-job` names it. Otherwise it is cancelled.',
    ['continue', 'cancel'],
  ),
  'x-drover-resume': wish('x-drover-resume', '`never`: when the node dies in mid-answer, the answer ends with an error instead of going on elsewhere.', ['never']),
}

/** Errors of one dialect by status, each with what it says itself as its example. */
export const errorResponses = (dialect: Pick<Dialect, 'id' | 'refuse'>, codes: readonly ErrorCode[]): Record<string, Json> => {
  const byStatus = Map.groupBy(codes.map((code) => new BrokerError(code, CAUSES[code])), (error) => dialect.refuse(error).status)
  return Object.fromEntries(
    [...byStatus].map(([status, errors]) => [
      String(status),
      {
        description: `${errors.map(({ message }) => message).join('; or ')}.`,
        headers: { ...ALWAYS, ...(errors.some(({ retry }) => retry === 'caller') && headers('Retry-After')) },
        content: {
          'application/json': {
            schema: ref('schemas', ERRORS[familyOf(dialect.id)].name),
            examples: Object.fromEntries(errors.map((error) => [error.code, { value: JSON.parse(dialect.refuse(error).body) as unknown }])),
          },
        },
      },
    ]),
  )
}

/** A page of elsewhere is told nothing at all, so the form of that refusal is the same everywhere. */
export const FORBIDDEN: Record<string, Json> = { '403': { description: 'The host name or the page is not allowed here; without a body.', headers: ALWAYS } }

import { BrokerError, ErrorInfo, type DialectId, type ErrorCode } from '@drover/core'
import type { Dialect } from '@drover/dialects'

/** Any part of an OpenAPI 3.1 document; JSON Schema is one of them. */
export type Json = Record<string, unknown>

export type Method = 'get' | 'head' | 'post' | 'put' | 'patch' | 'delete'

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
  'preference-applied': string('`respond-async`: the request was handed in, as was preferred.'),
  'idempotent-replayed': string('`true`: the request repeats another with its `Idempotency-Key`, and this is what became of that.'),
  location: string('Where the job is to be seen.'),
  'Retry-After': { description: 'Seconds after which the same request may be sent again.', schema: { type: 'integer', minimum: 0 } },
}
export const headers = (...names: string[]): Json => Object.fromEntries(names.map((name) => [name, ref('headers', name)]))

/** Headers of every answer. */
export const ALWAYS = headers('x-request-id', 'x-drover')

/** Why each error comes, for those that a client can meet. */
const CAUSES: Record<ErrorCode, string> = {
  bad_request: 'the request is not one of this API, or a field is out of its range',
  unauthorized: 'a key is needed, or the one that was sent is not valid',
  forbidden: 'the page or host name is not allowed (then without a body), or the key may not do this, or not with this model',
  model_not_found: 'no node has the model',
  body_too_large: 'the request body is larger than the gateway takes',
  rate_limited: 'the key has used up what it may use in a minute, or has as many jobs as it may have, or as may be kept for it',
  quota_exceeded: 'the key has used up what it may use in a day',
  key_reused: 'the `Idempotency-Key` belongs to another request',
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
  store_unavailable: 'where files lie cannot be used just now',
  content_lost: 'the content of the file is gone',
  draining: 'the gateway is being stopped',
  cannot_run: 'the nodes that are there cannot run the model, or not as the request asks: the error says what is missing',
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

const OF_FILES: ReadonlySet<ErrorCode> = new Set(['store_unavailable', 'content_lost'])

/** All that a request for inference can meet. */
export const CODES = ErrorInfo.shape.code.options.filter((code) => !OF_FILES.has(code))

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
  prefer: {
    name: 'Prefer',
    in: 'header',
    required: false,
    description: '`respond-async`: the answer is not waited for. It is 202 as soon as the job is in Redis, and is fetched from `GET /api/jobs/{id}/result`.',
    schema: text,
  },
  'idempotency-key': {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description: 'Your own name for this request: sent again with the same body it is the same job, with another body it is refused.',
    schema: { type: 'string', pattern: '^[!-~]([ -~]{0,253}[!-~])?$' },
  },
  'x-drover-keep': {
    name: 'x-drover-keep',
    in: 'header',
    required: false,
    description: 'How long the answer is kept after its end, where it can be read later: a number with a unit, as `30m` or `24h`.',
    schema: text,
  },
  'x-drover-distributed': wish(
    'x-drover-distributed',
    '`true`: the model is to run over several nodes; `false`: on one. Without it as it fits. In requests of Ollama’s API `options.distributed` says the same, and goes before it.',
    ['true', 'false'],
  ),
  'x-drover-resume': wish('x-drover-resume', '`never`: when the node dies in mid-answer, the answer ends with an error instead of going on elsewhere.', ['never']),
  'x-drover-webhook': {
    name: 'x-drover-webhook',
    in: 'header',
    required: false,
    description: 'The id of a webhook: it alone is told when the job has ended. For jobs that go on without their client; by default all webhooks of its owner are told that want to be.',
    schema: { type: 'string', pattern: '^wh_[\\w-]{22}$' },
  },
  'x-drover-priority': {
    name: 'x-drover-priority',
    in: 'header',
    required: false,
    description: 'How much of the model this request may have beside those of others, when jobs wait: at 10 its owner is served twice as much as at 5, the default. What is above the ceiling of the key counts as that.',
    schema: { type: 'integer', minimum: 1, maximum: 10, default: 5 },
  },
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

/** On routes that ask for no key: a page of elsewhere is told nothing at all, so the form of that refusal is the same everywhere. */
export const FORBIDDEN: Record<string, Json> = { '403': { description: 'The host name or the page is not allowed here; without a body.', headers: ALWAYS } }

import { inPath, inQuery, json, notThere, ok, refusals } from '../files/openapi.ts'
import type { Json, OpenApi, Operation } from '../openapi-parts.ts'
import { ENDPOINTS } from './batches.ts'

const text: Json = { type: 'string' }
const integer: Json = { type: 'integer' }
const maybe: Json = { type: ['integer', 'null'] }
const maybeText: Json = { type: ['string', 'null'] }

const error: Json = { type: 'object', properties: { code: text, message: text, param: maybeText, line: maybe } }
const batch: Json = {
  type: 'object',
  required: ['id', 'object', 'endpoint', 'input_file_id', 'completion_window', 'status', 'created_at', 'request_counts'],
  properties: {
    id: text,
    object: { const: 'batch' },
    endpoint: text,
    errors: { type: ['object', 'null'], properties: { object: { const: 'list' }, data: { type: 'array', items: error } } },
    input_file_id: text,
    completion_window: text,
    status: { enum: ['validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled'] },
    output_file_id: maybeText,
    error_file_id: maybeText,
    created_at: integer,
    ...Object.fromEntries(['in_progress', 'expires', 'finalizing', 'completed', 'failed', 'expired', 'cancelling', 'cancelled'].map((name) => [`${name}_at`, maybe])),
    request_counts: { type: 'object', properties: { total: integer, completed: integer, failed: integer, cancelled: integer, expired: integer } },
    metadata: { type: ['object', 'null'], additionalProperties: text },
  },
}
const created: Json = {
  type: 'object',
  required: ['input_file_id', 'endpoint', 'completion_window'],
  properties: {
    input_file_id: text,
    endpoint: { enum: [...ENDPOINTS] },
    completion_window: { const: '24h' },
    metadata: { type: 'object', additionalProperties: { type: 'string', maxLength: 512 }, maxProperties: 16 },
    output_expires_after: { type: 'object', required: ['anchor', 'seconds'], properties: { anchor: { const: 'created_at' }, seconds: { type: 'integer', minimum: 3600, maximum: 2_592_000 } } },
  },
}
const BATCH = inPath('batch', 'Its id.')
const operation = (id: string, summary: string, rest: Pick<Operation, 'responses' | 'requestBody' | 'parameters'>): Operation => ({ tags: ['OpenAI'], summary, operationId: `openai.batches.${id}`, ...rest })
const gone = notThere('batch', 'OpenAiError')

const at: Json = { type: ['string', 'null'], format: 'date-time' }
const messageBatch: Json = {
  type: 'object',
  required: ['id', 'type', 'processing_status', 'request_counts', 'created_at', 'expires_at', 'results_url'],
  properties: {
    id: text,
    type: { const: 'message_batch' },
    processing_status: { enum: ['in_progress', 'canceling', 'ended'] },
    request_counts: { type: 'object', properties: { processing: integer, succeeded: integer, errored: integer, canceled: integer, expired: integer } },
    created_at: at, expires_at: at, ended_at: at, cancel_initiated_at: at, archived_at: at,
    results_url: maybeText,
  },
}
const messages = (id: string, summary: string, rest: Pick<Operation, 'responses' | 'requestBody' | 'parameters'>): Operation => ({ tags: ['Anthropic'], summary, operationId: `anthropic.batches.${id}`, ...rest })
const unknown = notThere('batch', 'AnthropicError')
const requests: Json = {
  type: 'object',
  required: ['requests'],
  properties: { requests: { type: 'array', minItems: 1, items: { type: 'object', required: ['custom_id', 'params'], properties: { custom_id: { type: 'string', pattern: '^[a-zA-Z0-9_-]{1,64}$' }, params: { type: 'object', description: 'As for `/v1/messages`, not streamed.' } } } } },
}

/** The routes of `message-batches.ts`. */
const messageBatchEntries = (): OpenApi['paths'] => ({
  '/v1/messages/batches': {
    post: messages('create', 'Run many requests', {
      requestBody: { required: true, content: json(requests) },
      responses: { '200': ok('It is kept, and will run.', json(messageBatch)), ...refusals('anthropic.messages', 'bad_request', 'body_too_large', 'queue_full', 'broker_unavailable', 'store_unavailable') },
    }),
    get: messages('list', 'Your batches, newest first', {
      parameters: [inQuery('after_id', 'Behind this batch.'), inQuery('before_id', 'Before this batch.'), inQuery('limit', 'Most batches.', { type: 'integer', minimum: 1, maximum: 1000 })],
      responses: { '200': ok('OK', json({ type: 'object', properties: { data: { type: 'array', items: messageBatch }, has_more: { type: 'boolean' }, first_id: maybeText, last_id: maybeText } })), ...refusals('anthropic.messages', 'bad_request', 'broker_unavailable') },
    }),
  },
  '/v1/messages/batches/{batch}': {
    get: messages('get', 'One batch', { parameters: [BATCH], responses: { '200': ok('OK', json(messageBatch)), ...unknown, ...refusals('anthropic.messages', 'broker_unavailable') } }),
    delete: messages('delete', 'Forget a batch that has ended, and its results', { parameters: [BATCH], responses: { '200': ok('It is gone.', json({ type: 'object', properties: { id: text, type: { const: 'message_batch_deleted' } } })), ...unknown, ...refusals('anthropic.messages', 'bad_request', 'broker_unavailable') } }),
  },
  '/v1/messages/batches/{batch}/cancel': { post: messages('cancel', 'Cancel a batch; what has been answered stays', { parameters: [BATCH], responses: { '200': ok('It is being cancelled.', json(messageBatch)), ...unknown, ...refusals('anthropic.messages', 'broker_unavailable') } }) },
  '/v1/messages/batches/{batch}/results': { get: messages('results', 'The results of a batch that has ended, one line each', { parameters: [BATCH], responses: { '200': ok('Lines of JSON.', { 'application/x-jsonl': { schema: text } }), ...unknown, ...refusals('anthropic.messages', 'broker_unavailable', 'store_unavailable', 'content_lost') } }) },
})

/** The routes of `batches.ts`. */
export const batchEntries = (): OpenApi['paths'] => ({
  ...messageBatchEntries(),
  '/v1/batches': {
    post: operation('create', 'Run the requests of a file', {
      requestBody: { required: true, content: json(created) },
      responses: { '200': ok('It is kept, and will be looked at.', json(batch)), ...refusals('openai.chat', 'bad_request', 'body_too_large', 'queue_full', 'broker_unavailable') },
    }),
    get: operation('list', 'Your batches, newest first', {
      parameters: [inQuery('after', 'Behind this batch.'), inQuery('limit', 'Most batches.', { type: 'integer', minimum: 1, maximum: 100 })],
      responses: { '200': ok('OK', json({ type: 'object', properties: { object: { const: 'list' }, data: { type: 'array', items: batch }, has_more: { type: 'boolean' } } })), ...refusals('openai.chat', 'bad_request', 'broker_unavailable') },
    }),
  },
  '/v1/batches/{batch}': { get: operation('get', 'One batch', { parameters: [BATCH], responses: { '200': ok('OK', json(batch)), ...gone, ...refusals('openai.chat', 'broker_unavailable') } }) },
  '/v1/batches/{batch}/cancel': {
    post: operation('cancel', 'Cancel a batch; what has been answered stays', { parameters: [BATCH], responses: { '200': ok('It is being cancelled.', json(batch)), ...gone, ...refusals('openai.chat', 'broker_unavailable') } }),
  },
  '/api/batches/{batch}/results': {
    get: {
      tags: ['Drover'],
      summary: "A batch's results so far, one line each, also while it runs",
      operationId: 'drover.batches.results',
      parameters: [BATCH],
      responses: { '200': ok('Lines as in the files of results and errors.', { 'application/x-ndjson': { schema: text } }), ...notThere('batch', 'OllamaError'), ...refusals('ollama.chat', 'broker_unavailable', 'store_unavailable', 'content_lost') },
    },
  },
})

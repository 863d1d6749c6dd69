import type { ErrorCode } from '@drover/core'
import { dialects } from '@drover/dialects'
import { ALWAYS, errorResponses, FORBIDDEN, ref, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'

const text: Json = { type: 'string' }
const integer: Json = { type: 'integer' }
export const json = (schema: Json) => ({ 'application/json': { schema } })
export const ok = (description: string, content: Json): Json => ({ description, headers: ALWAYS, content })
export const inPath = (name: string, description: string): Json => ({ name, in: 'path', required: true, description, schema: text })
export const inQuery = (name: string, description: string, schema: Json = text): Json => ({ name, in: 'query', required: false, description, schema })
export const refusals = (dialect: 'ollama.chat' | 'openai.chat' | 'anthropic.messages', ...codes: ErrorCode[]): Record<string, Json> => ({
  ...errorResponses(dialects[dialect], ['unauthorized', ...codes]),
  ...FORBIDDEN,
})

export const notThere = (what: string, schema: 'OpenAiError' | 'AnthropicError' | 'OllamaError'): Record<string, Json> => ({ '404': { description: `There is no such ${what}, or it is another's.`, headers: ALWAYS, content: json(ref('schemas', schema)) } })
const NOT_THERE = notThere('file', 'OpenAiError')

const file: Json = {
  type: 'object',
  required: ['id', 'object', 'bytes', 'created_at', 'filename', 'purpose', 'status'],
  properties: { id: text, object: { const: 'file' }, bytes: integer, created_at: integer, expires_at: integer, filename: text, purpose: { enum: ['batch', 'batch_output'] }, status: { const: 'processed' } },
}
const FILE = inPath('file', 'Its id.')

const operation = (id: string, summary: string, rest: Pick<Operation, 'responses' | 'requestBody' | 'parameters'>): Operation => ({ tags: ['OpenAI'], summary, operationId: `openai.files.${id}`, ...rest })
const form: Json = {
  type: 'object',
  required: ['file', 'purpose'],
  properties: {
    file: { type: 'string', format: 'binary', description: 'Lines of JSON, each a request.' },
    purpose: { const: 'batch' },
    'expires_after[anchor]': { const: 'created_at' },
    'expires_after[seconds]': { type: 'integer', minimum: 3600, maximum: 2_592_000 },
  },
}

/** The routes of `files.ts`. */
export const fileEntries = (): OpenApi['paths'] => ({
  '/v1/files': {
    post: operation('create', 'Upload a file for a batch', {
      requestBody: { required: true, content: { 'multipart/form-data': { schema: form } } },
      responses: { '200': ok('It is kept.', json(file)), ...refusals('openai.chat', 'bad_request', 'body_too_large', 'queue_full', 'broker_unavailable', 'store_unavailable') },
    }),
    get: operation('list', 'Your files, newest first', {
      parameters: [inQuery('after', 'Behind this file.'), inQuery('limit', 'Most files.', { type: 'integer', minimum: 1, maximum: 10_000 }), inQuery('order', 'By creation.', { enum: ['asc', 'desc'] }), inQuery('purpose', 'Only those of this purpose.')],
      responses: { '200': ok('OK', json({ type: 'object', properties: { object: { const: 'list' }, data: { type: 'array', items: file }, has_more: { type: 'boolean' } } })), ...refusals('openai.chat', 'bad_request', 'broker_unavailable') },
    }),
  },
  '/v1/files/{file}': {
    get: operation('get', 'One file', { parameters: [FILE], responses: { '200': ok('OK', json(file)), ...NOT_THERE, ...refusals('openai.chat', 'broker_unavailable') } }),
    delete: operation('delete', 'Delete a file', { parameters: [FILE], responses: { '200': ok('It is gone.', json({ type: 'object', properties: { id: text, object: { const: 'file' }, deleted: { const: true } } })), ...NOT_THERE, ...refusals('openai.chat', 'broker_unavailable') } }),
  },
  '/v1/files/{file}/content': {
    get: operation('content', "A file's content", { parameters: [FILE], responses: { '200': ok('The bytes.', { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } }), ...NOT_THERE, ...refusals('openai.chat', 'broker_unavailable', 'store_unavailable', 'content_lost') } }),
  },
})

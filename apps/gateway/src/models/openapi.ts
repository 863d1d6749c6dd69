import { managementFields, type ManagementCall } from '@drover/dialects'
import { answer, json, nativeError, object, parameter, refusals, text } from '../openapi-builders.ts'
import { FORBIDDEN, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'

const body = (call: ManagementCall) => ({ required: true, content: json(managementFields[call].schema ?? {}) })

const NODES: Json = { name: 'x-drover-nodes', in: 'header', required: false, description: 'The nodes that are to do it, by name, with commas between them. Without it as `docs/models.md` says.', schema: text }

const bytes: Json = { type: 'integer', description: 'Bytes; of several nodes their sum.' }
const progress: Json = {
  ...object({ status: text }),
  properties: { status: text, digest: text, total: bytes, completed: bytes, error: text },
  description: 'A line. The last one has the status `success`, or an `error`.',
}
const LINES = answer('How it goes on, a line each; with `stream: false` the last one alone.', { 'application/x-ndjson': { schema: progress }, 'application/json': { schema: object({ status: { const: 'success' } }) } })
const FAILED = { '500': nativeError('Not all nodes have done it: the error names those, and their reasons. Of a stream that has begun it is the last line.') }

interface Change {
  call: Exclude<ManagementCall, 'show'>
  summary: string
  done: Json
  needsModel: boolean
  more?: Record<string, Json>
  /** Ollama has no such route. */
  own?: boolean
}

const BY_ITSELF = { '501': nativeError('An engine that holds it decides by itself what it has in memory.') }

const change = ({ call, summary, done, needsModel, more = {}, own = false }: Change): Operation => ({
  tags: [own ? 'Drover' : 'Ollama'],
  summary,
  operationId: `${own ? 'drover' : 'ollama'}.${call}`,
  parameters: [NODES],
  requestBody: body(call),
  responses: {
    '200': done,
    ...FAILED,
    ...refusals('ollama.chat', 'bad_request', 'body_too_large', 'queue_full', 'broker_unavailable', 'cannot_run', ...(needsModel ? (['model_not_found'] as const) : [])),
    ...more,
  },
})

const DIGEST = parameter('digest', '`sha256:` and 64 hex digits.')

const blobs = {
  head: {
    tags: ['Ollama'],
    summary: 'Whether a blob is here: none is',
    operationId: 'ollama.blobs.head',
    parameters: [DIGEST],
    responses: { '404': answer('It is not here.'), '400': answer('This is no digest.'), '401': answer('A key is needed.', undefined), ...FORBIDDEN },
  },
  post: {
    tags: ['Ollama'],
    summary: 'Send a blob (not built)',
    operationId: 'ollama.blobs.post',
    parameters: [DIGEST],
    responses: { '501': nativeError('No blobs are kept; the error says what to do instead.'), ...refusals('ollama.chat', 'bad_request') },
  },
} satisfies Record<string, Operation>

/** Routes that change what nodes hold. */
export const modelRoutes = (): OpenApi['paths'] => ({
  '/api/pull': { post: change({ call: 'pull', summary: 'Bring a model to nodes', done: LINES, needsModel: false }) },
  '/api/push': { post: change({ call: 'push', summary: 'Send a model to a registry', done: LINES, needsModel: true }) },
  '/api/create': { post: change({ call: 'create', summary: 'Make a model from another', done: LINES, needsModel: false, more: { '501': nativeError('It is to be made of files: not built.') } }) },
  '/api/copy': { post: change({ call: 'copy', summary: 'Copy a model on all nodes that hold it', done: answer('All have done it.'), needsModel: true }) },
  '/api/delete': { delete: change({ call: 'delete', summary: 'Delete a model on all nodes that hold it', done: answer('All have done it.'), needsModel: true }) },
  '/api/blobs/{digest}': blobs,
  '/api/load': { post: change({ call: 'load', summary: 'Bring a model into memory', done: LINES, needsModel: true, more: BY_ITSELF, own: true }) },
  '/api/unload': { post: change({ call: 'unload', summary: 'Take a model out of memory', done: LINES, needsModel: true, more: BY_ITSELF, own: true }) },
})

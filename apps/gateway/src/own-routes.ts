import { managementFields } from '@drover/dialects'
import { clusterEntries } from './clusters/openapi.ts'
import { desiredEntries } from './desired/openapi.ts'
import { jobOperations } from './jobs/openapi.ts'
import { answer, json, list, nativeError, object, parameter, plain, reading, refusals, text } from './openapi-builders.ts'
import { FORBIDDEN, type Json, type OpenApi, type Operation } from './openapi-parts.ts'
import { modelRoutes } from './models/openapi.ts'
import { responseRoutes } from './responses/openapi.ts'
import { webhookPaths } from './webhooks/openapi.ts'

const details = { type: 'object', description: 'Format, family, size and quantization.' }
const tag = object({ name: text, model: text, modified_at: text, size: { type: 'integer' }, digest: text, details })
const loaded = object({ name: text, model: text, size: { type: 'integer' }, digest: text, details, expires_at: text, size_vram: { type: 'integer' } })
const openAiModel = object({ id: text, object: { const: 'model' }, created: { type: 'integer' }, owned_by: text })
const map = { type: 'object', additionalProperties: { type: 'object' } }

const ofUser = (id: string, summary: string): Operation => ({
  tags: ['Ollama'],
  summary,
  operationId: id,
  responses: { '401': nativeError("Nobody is signed in: there is no account of Ollama's maker behind Drover, or a key is needed."), ...FORBIDDEN },
})

const show: Operation = {
  tags: ['Ollama'],
  summary: 'What is known of a model',
  operationId: 'ollama.show',
  requestBody: { required: true, content: json(managementFields.show.schema ?? {}) },
  responses: {
    '200': answer('OK', json(object({ modelfile: text, parameters: text, template: text, details, model_info: { type: 'object' }, capabilities: list(text), modified_at: text }))),
    ...refusals('ollama.chat', 'bad_request', 'model_not_found', 'body_too_large', 'broker_unavailable'),
  },
}

const model: Operation = {
  tags: ['OpenAI'],
  summary: 'One model',
  operationId: 'openai.model',
  parameters: [parameter('model', 'Its name; slashes need not be escaped.')],
  responses: { '200': answer('OK', json(openAiModel)), ...refusals('openai.chat', 'model_not_found') },
}

const NODE = parameter('id', 'Its name.')
const node = { ...object({ id: text, version: text, draining: { type: 'boolean' }, drained: { type: 'boolean' }, engines: list({ type: 'object' }) }), description: 'As an entry of `nodes` in `GET /api/status`.' }
const wish: Json = { anyOf: [node, { ...object({ id: text, drained: { type: 'boolean' } }), description: 'Of a node that is not there just now: it finds the wish when it comes back.' }] }

const ofNode = (id: string, summary: string, content: Json): Operation => ({
  tags: ['Drover'],
  summary,
  operationId: id,
  parameters: [NODE],
  responses: { '200': answer('OK', json(content)), '404': nativeError('No such node is known; the error names those that are there.'), ...refusals('ollama.chat') },
})

const ready: Operation = {
  ...reading({ tag: 'Drover', id: 'drover.ready', summary: 'Whether requests are taken', answer: plain, open: true }),
  responses: { '200': answer('They are.', plain), '503': answer('They are not; the text says why.', plain), ...FORBIDDEN },
}

const native = (id: string, summary: string, schema: Json) => reading({ tag: 'Ollama', id, summary, answer: json(schema) })
const ours = (id: string, summary: string, content: Json, open = false) => reading({ tag: 'Drover', id, summary, answer: content, open })

/** Routes that the gateway answers itself. HEAD is listed only where it has an answer of its own. */
export const ownRoutes = (): OpenApi['paths'] => ({
  '/': { get: reading({ tag: 'Ollama', id: 'ollama.root', summary: 'A word for clients that look whether Ollama is there', answer: plain, open: true }) },
  '/api/version': { get: native('ollama.version', 'The version of Ollama whose API this is', object({ version: text })) },
  '/api/tags': { get: native('ollama.tags', 'All models of all nodes', object({ models: list(tag) })) },
  '/api/ps': { get: native('ollama.ps', 'The models in memory, over all nodes', object({ models: list(loaded) })) },
  '/api/show': { post: show },
  ...modelRoutes(),
  '/api/me': { post: ofUser('ollama.me', 'Who is signed in: nobody') },
  '/api/signout': { post: ofUser('ollama.signout', 'Sign out: nobody is signed in') },
  '/api/user/keys/{key}': { delete: { ...ofUser('ollama.keys.delete', 'Sign a key out: nobody is signed in'), parameters: [parameter('key', 'The key.')] } },
  '/api/experimental/model-recommendations': { get: native('ollama.recommendations', 'Models that are recommended: none', object({ recommendations: list({ type: 'object' }) })) },
  '/v1/models': { get: reading({ tag: 'OpenAI', id: 'openai.models', summary: 'All models of all nodes', answer: json(object({ object: { const: 'list' }, data: list(openAiModel) })) }) },
  '/v1/models/{model}': { get: model },
  ...responseRoutes(),
  '/api/status': { get: ours('drover.status', 'Nodes, what they hold and do, and what waits', json(object({ version: text, gateway: { type: 'object' }, nodes: list({ type: 'object' }), lanes: list({ type: 'object' }), distributed_inference: { type: 'object' }, models: list({ type: 'object' }) }))) },
  '/api/servers': { get: ours('drover.servers', 'The nodes by name, as OLOL tells its servers', json(object({ servers: map, count: { type: 'integer' } }))) },
  '/api/models': { get: ours('drover.models', 'The models by name, as OLOL tells them', json(object({ models: map, count: { type: 'integer' } }))) },
  '/api/nodes': { get: ours('drover.nodes', 'The nodes, what they hold and do', json(object({ nodes: list(node) }))) },
  '/api/nodes/{id}': { get: ofNode('drover.node', 'One node', node) },
  '/api/nodes/{id}/drain': { post: ofNode('drover.drain', 'Let a node take no more jobs; what runs there goes on', wish) },
  '/api/nodes/{id}/undrain': { post: ofNode('drover.undrain', 'Let a drained node take jobs again', wish) },
  ...desiredEntries(),
  ...clusterEntries(),
  ...jobOperations(),
  ...webhookPaths,
  '/livez': { get: ours('drover.live', 'Whether the gateway lives', plain, true) },
  '/readyz': { get: ready },
  '/metrics': { get: ours('drover.metrics', 'Metrics in the format of Prometheus', plain) },
  '/openapi.json': { get: ours('drover.openapi', 'This description', json({ type: 'object' }), true) },
  '/docs': { get: ours('drover.docs', 'This description as a page', { 'text/html': { schema: text } }, true) },
})

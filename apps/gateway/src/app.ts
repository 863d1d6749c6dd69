import { randomUUID } from 'node:crypto'
import { toBrokerError, type BrokerError, type Caller } from '@drover/core'
import { dialects, type Answer } from '@drover/dialects'
import { exposition } from '@drover/service'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono, type Context } from 'hono'
import { allowedHeaders, type Access } from './access.ts'
import { me, signOut } from './account.ts'
import { batchRoutes, type BatchDeps } from './batches/batches.ts'
import { messageBatchRoutes } from './batches/message-batches.ts'
import { plan } from './clusters/plan.ts'
import { clustersOf } from './clusters/shown.ts'
import { desiredRoutes, type DesiredDeps } from './desired/routes.ts'
import { fileRoutes } from './files/files.ts'
import { inference, type InferenceDeps } from './inference.ts'
import { jobRoutes } from './jobs/routes.ts'
import { keyRoutes } from './keys/routes.ts'
import { checkScope } from './keys/scopes.ts'
import { visibleTo } from './keys/visible.ts'
import type { BlobSpool } from './models/blob-spool.ts'
import { headBlob, putBlob } from './models/blobs.ts'
import { load, unload } from './models/in-memory.ts'
import { onHolders } from './models/on-holders.ts'
import { create, push } from './models/on-one.ts'
import type { ModelDeps } from './models/order.ts'
import { pull } from './models/pull.ts'
import { transfer } from './models/transfer.ts'
import { oneOpenaiModel, openaiModels, ps, tags } from './models.ts'
import { models, servers } from './olol.ts'
import { nodes, oneNode, setDrained } from './nodes.ts'
import { openApi } from './openapi.ts'
import { answersHead, methodsByPath, unrouted } from './paths.ts'
import { referencePage } from './reference-page.ts'
import type { View } from './registry-view.ts'
import { storedResponses } from './responses/routes.ts'
import { show } from './show.ts'
import { status, type StatusSources } from './status.ts'
import { webhookRoutes, type WebhookDeps } from './webhooks/routes.ts'

/** What Ollama clients are told: they compare it with what they need. */
export const OLLAMA_VERSION = '0.33.0'

export interface GatewayEnv {
  Bindings: HttpBindings
  /** `caller`: on every path but the open ones. */
  Variables: { headers: Record<string, string>; caller: Caller }
}

export interface AppDeps extends Omit<InferenceDeps, 'settings'>, Omit<BatchDeps, 'settings' | 'broker' | 'admission'>, Omit<StatusSources, 'view'>, Pick<DesiredDeps, 'onDesired'> {
  settings: InferenceDeps['settings'] & BatchDeps['settings'] & { batchLines: number } & WebhookDeps['settings'] & ModelDeps['settings'] & DesiredDeps['settings']
  access: Access
  blobs: BlobSpool
  /** The gateway is being stopped. */
  draining(): boolean
}

const REQUEST_ID = /^[\w.:-]{1,128}$/

/** An error in the form of the API that the path belongs to. */
const refuseFor = (path: string, error: BrokerError, requestId: string | undefined): Answer =>
  dialects[path.startsWith('/v1/messages') ? 'anthropic.messages' : path.startsWith('/v1/') ? 'openai.chat' : 'ollama.chat'].refuse(error, requestId)

/** Middleware order and the route table: the front page of the API. */
export const gatewayApp = (deps: AppDeps): Hono<GatewayEnv> => {
  const app = new Hono<GatewayEnv>()

  app.use(async (c, next) => {
    const { headers } = c.env.incoming
    const given = headers['x-request-id']
    const ours: Record<string, string> = {
      'x-drover': `gateway/${deps.gateway.version}`,
      'x-request-id': typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID(),
    }
    // The header by which Anthropic's clients know a request.
    if (c.req.path.startsWith('/v1/messages')) ours['request-id'] = ours['x-request-id'] ?? ''
    const { origin } = headers
    if (origin !== undefined && deps.access.allowsOrigin(origin)) {
      ours['access-control-allow-origin'] = origin
      ours['vary'] = 'origin'
      ours['access-control-expose-headers'] = '*'
    }
    c.set('headers', ours)
    const apiKey = headers['x-api-key']
    const request = { host: headers.host, origin, authorization: headers.authorization, apiKey: typeof apiKey === 'string' ? apiKey : undefined }
    const foreign = deps.access.checkSource(request)
    if (foreign) return c.body(null, 403, ours)
    if (c.req.method === 'OPTIONS' && (origin !== undefined || deps.access.guardsHost))
      return c.body(null, 204, {
        ...ours,
        'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS',
        'access-control-allow-headers': allowedHeaders(headers['access-control-request-headers']),
        'access-control-max-age': '600',
      })
    if (!OPEN_PATHS.has(c.req.path)) {
      try {
        const caller = deps.access.identify(request)
        c.set('caller', caller)
        checkScope(caller, c.req.path)
      } catch (thrown) {
        const error = toBrokerError(thrown)
        const { status, contentType, body } = refuseFor(c.req.path, error, ours['x-request-id'])
        return c.body(body, status as 401, { ...ours, 'content-type': contentType, ...(error.code === 'unauthorized' && { 'www-authenticate': 'Bearer' }) })
      }
    }
    await next()
    // An inference handler sends its answer itself, headers included.
    if (c.res !== RESPONSE_ALREADY_SENT) for (const [name, value] of Object.entries(ours)) c.res.headers.set(name, value)
  })

  // Hono answers every HEAD like a GET.
  app.use(async (c, next) => {
    if (c.req.method !== 'HEAD' || answersHead(c.req.path)) return next()
    const digest = /^\/api\/blobs\/([^/]+)$/.exec(c.req.path)?.[1]
    return digest === undefined ? c.notFound() : headBlob(c, digest, deps)
  })

  /** What the caller may see of nodes and models. */
  const seen = (c: Context<GatewayEnv>): View => visibleTo(c.get('caller'), deps.view)

  app.get('/', (c) => c.text('Ollama is running'))
  app.get('/api/version', (c) => c.json({ version: OLLAMA_VERSION }))
  app.get('/api/tags', (c) => c.json(tags(seen(c))))
  app.get('/api/ps', (c) => c.json(ps(seen(c))))
  app.get('/v1/models', (c) => c.json(openaiModels(seen(c))))
  app.get('/v1/models/:model{.+}', async (c) => {
    try {
      return c.json(await oneOpenaiModel(seen(c), c.req.param('model')))
    } catch (error) {
      const { status, contentType, body } = dialects['openai.chat'].refuse(toBrokerError(error))
      return c.body(body, status as 404, { 'content-type': contentType })
    }
  })
  for (const dialect of Object.values(dialects)) for (const path of [dialect.path, ...(dialect.aliases ?? [])]) app.post(path, inference(dialect, deps))
  storedResponses(app, deps)

  app.post('/api/show', show(deps))
  app.post('/api/pull', pull(deps))
  app.post('/api/push', push(deps))
  app.post('/api/create', create(deps))
  app.post('/api/copy', onHolders('copy', deps))
  app.delete('/api/delete', onHolders('delete', deps))
  app.post('/api/transfer', transfer(deps))
  app.post('/api/blobs/:digest', putBlob(deps))
  app.post('/api/load', load(deps))
  app.post('/api/unload', unload(deps))

  app.post('/api/me', me)
  app.post('/api/signout', signOut)
  app.delete('/api/user/keys/:key', signOut)
  app.get('/api/experimental/model-recommendations', (c) => c.json({ recommendations: [] }))

  app.get('/api/servers', (c) => c.json(servers(seen(c))))
  app.get('/api/models', (c) => c.json(models(seen(c))))
  app.get('/api/status', async (c) => c.json(await status({ ...deps, view: seen(c) }, c.get('caller'))))
  app.get('/api/clusters', (c) => c.json({ clusters: clustersOf(seen(c)) }))
  app.post('/api/plan', plan(deps))
  app.get('/api/nodes', nodes(deps))
  app.get('/api/nodes/:id', oneNode(deps))
  app.post('/api/nodes/:id/drain', setDrained(true, deps))
  app.post('/api/nodes/:id/undrain', setDrained(false, deps))
  desiredRoutes(app, deps)
  jobRoutes(app, deps)
  fileRoutes(app, deps)
  webhookRoutes(app, deps)
  keyRoutes(app, deps)
  batchRoutes(app, deps)
  messageBatchRoutes(app, deps)
  app.get('/livez', (c) => c.text('ok'))
  app.get('/readyz', (c) => {
    const reason = deps.draining() ? 'draining' : !deps.broker.up ? 'Redis cannot be reached' : deps.admission.memory.full ? 'Redis has little memory left' : undefined
    return reason === undefined ? c.text('ok') : c.text(reason, 503)
  })
  app.get('/metrics', async (c) => {
    const { contentType, body } = await exposition(deps.metrics.registry)
    return c.body(body, 200, { 'content-type': contentType })
  })

  const api = openApi(deps.gateway.version)
  const [apiText, page] = [JSON.stringify(api), referencePage(api)]
  app.get('/openapi.json', (c) => c.body(apiText, 200, { 'content-type': 'application/json; charset=utf-8' }))
  app.get('/docs', (c) => c.html(page))

  app.notFound(unrouted(methodsByPath(app.routes)))
  app.onError((error, c) => {
    deps.onError(error)
    return c.json({ error: 'internal error' }, 500, c.get('headers'))
  })
  return app
}

/** Probes have no key, and what the API is tells nothing of this installation. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/', '/livez', '/readyz', '/openapi.json', '/docs'])

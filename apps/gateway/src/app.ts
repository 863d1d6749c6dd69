import { randomUUID } from 'node:crypto'
import type { BrokerError } from '@drover/core'
import { dialects, type Answer } from '@drover/dialects'
import { exposition } from '@drover/service'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import type { Access } from './access.ts'
import { inference, type InferenceDeps } from './inference.ts'
import { openaiModels, ps, tags } from './models.ts'
import { status, type StatusSources } from './status.ts'

/** What Ollama clients are told: they compare it with what they need. */
export const OLLAMA_VERSION = '0.33.0'

export interface GatewayEnv {
  Bindings: HttpBindings
  Variables: { headers: Record<string, string> }
}

export interface AppDeps extends InferenceDeps, StatusSources {
  access: Access
}

const REQUEST_ID = /^[\w.:-]{1,128}$/

/** An error in the form of the API that the path belongs to. */
const refuseFor = (path: string, error: BrokerError): Answer => (path.startsWith('/v1/') ? dialects['openai.chat'] : dialects['ollama.chat']).refuse(error)

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
    if (c.req.method === 'OPTIONS' && origin !== undefined)
      return c.body(null, 204, {
        ...ours,
        'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS',
        'access-control-allow-headers': headers['access-control-request-headers'] ?? '*',
        'access-control-max-age': '600',
      })
    if (!OPEN_PATHS.has(c.req.path)) {
      const locked = deps.access.checkKey(request)
      if (locked) {
        const { status, contentType, body } = refuseFor(c.req.path, locked)
        return c.body(body, status as 401, { ...ours, 'content-type': contentType, 'www-authenticate': 'Bearer' })
      }
    }
    await next()
    // An inference handler sends its answer itself, headers included.
    if (c.res !== RESPONSE_ALREADY_SENT) for (const [name, value] of Object.entries(ours)) c.res.headers.set(name, value)
  })

  app.get('/', (c) => c.text('Ollama is running'))
  app.get('/api/version', (c) => c.json({ version: OLLAMA_VERSION }))
  app.get('/api/tags', (c) => c.json(tags(deps.view)))
  app.get('/api/ps', (c) => c.json(ps(deps.view)))
  app.get('/v1/models', (c) => c.json(openaiModels(deps.view)))
  for (const dialect of Object.values(dialects)) app.post(dialect.path, inference(dialect, deps))

  app.get('/api/status', async (c) => c.json(await status(deps)))
  app.get('/livez', (c) => c.text('ok'))
  app.get('/readyz', (c) => {
    const reason = deps.draining() ? 'draining' : deps.broker.up ? undefined : 'Redis cannot be reached'
    return reason === undefined ? c.text('ok') : c.text(reason, 503)
  })
  app.get('/metrics', async (c) => {
    const { contentType, body } = await exposition(deps.metrics.registry)
    return c.body(body, 200, { 'content-type': contentType })
  })

  const methods = new Map<string, Set<string>>()
  for (const { path, method } of app.routes) if (method !== 'ALL') methods.set(path, (methods.get(path) ?? new Set()).add(method))
  app.notFound((c) => {
    const known = methods.get(c.req.path)
    return known ? c.text('405 method not allowed', 405, { allow: [...known].join(', ') }) : c.text('404 page not found', 404)
  })
  app.onError((error, c) => {
    deps.onError(error)
    return c.json({ error: 'internal error' }, 500, c.get('headers'))
  })
  return app
}

/** Probes have no key. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/', '/livez', '/readyz'])

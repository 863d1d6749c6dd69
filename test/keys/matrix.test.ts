import { Scope } from '@drover/core'
import { expect } from 'vitest'
import { gatewayApp, type AppDeps } from '../../apps/gateway/src/app.ts'
import { openApi } from '../../apps/gateway/src/openapi.ts'
import { send, type RawAnswer } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { bearer, makeKey, OPERATOR_KEY } from './making.ts'

type Need = 'open' | 'any' | Scope | 'infer or batch'

/** What each route asks for: `open`: nothing; `any`: a valid key; else a key with that scope, or one of them. `…`: all below. A route that is in no row fails. */
const ROWS: Record<Need, readonly string[]> = {
  open: ['GET /', 'GET /livez', 'GET /readyz', 'GET /openapi.json', 'GET /docs'],
  any: [
    'GET /api/version', 'GET /api/tags', 'GET /api/ps', 'POST /api/show', 'GET /v1/models', 'GET /v1/models/{model}', 'GET /api/status', 'GET /api/clusters', 'GET /api/nodes',
    'GET /api/nodes/{id}', 'GET /api/servers', 'GET /api/models', 'POST /api/me', 'POST /api/signout', 'DELETE /api/user/keys/{key}', 'GET /api/experimental/model-recommendations',
  ],
  infer: [
    'POST /api/chat', 'POST /api/generate', 'POST /api/embed', 'POST /api/embeddings', 'POST /v1/chat/completions', 'POST /v1/completions', 'POST /v1/embeddings', 'POST /v1/responses',
    'POST /v1/messages', 'POST /v1/messages/count_tokens', 'POST /v1/rerank', 'POST /rerank', 'POST /tokenize', 'POST /detokenize', 'POST /api/plan',
    '/api/jobs…', '/v1/responses/…',
  ],
  'infer or batch': ['/api/webhooks…'],
  batch: ['/v1/files…', '/v1/batches…', '/v1/messages/batches…', '/api/batches…'],
  models: ['POST /api/pull', 'POST /api/push', 'POST /api/create', 'POST /api/copy', 'DELETE /api/delete', 'POST /api/transfer', 'POST /api/load', 'POST /api/unload', 'HEAD /api/blobs/{digest}', 'POST /api/blobs/{digest}', '/api/models/desired…'],
  metrics: ['GET /metrics'],
  admin: ['/api/keys…', 'POST /api/nodes/{id}/drain', 'POST /api/nodes/{id}/undrain'],
}
const isIn = (route: string) => (row: string) => row === route || (row.endsWith('…') && route.split(' ')[1]!.startsWith(row.slice(0, -1)))
const needOf = (route: string): Need | undefined => (Object.keys(ROWS) as Need[]).find((need) => ROWS[need].some(isIn(route)))

const api = openApi('0')
const app = gatewayApp({ gateway: { version: '0' }, settings: {} } as unknown as AppDeps)
const routes = [
  ...new Set([...app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`), 'HEAD /api/blobs/{digest}']),
]

/** The scopes of which one is needed. */
const scopesOf = (need: Need): Scope[] => Scope.options.filter((scope) => need.split(' or ').includes(scope))
/** Scopes that a key may have without those that are missing, and without the one that stands for all. */
const others = (missing: readonly Scope[]): Scope[] => Scope.options.filter((scope) => !missing.includes(scope) && scope !== 'admin')

const test = world.extend('site', { scope: 'file' }, async ({ house }) => {
  const { url } = await house.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  const keys = new Map<string, string>()
  for (const scope of Scope.options) keys.set(`only ${scope}`, (await makeKey(url, { scopes: [scope] })).key)
  for (const need of Object.keys(ROWS) as Need[]) keys.set(`without ${need}`, (await makeKey(url, { scopes: others(scopesOf(need)) })).key)
  return { url, keyFor: (what: string) => keys.get(what)! }
})

const FORM: readonly [RegExp, (value: { error: unknown; type?: unknown }) => unknown][] = [
  [/^\/v1\/messages/, ({ type, error }) => type === 'error' && (error as { message: unknown }).message],
  [/^\/v1\//, ({ error }) => (error as { message: unknown }).message],
  [/^\//, ({ error }) => error],
]
const errorText = (path: string, { text }: RawAnswer): unknown => FORM.find(([pattern]) => pattern.test(path))![1](JSON.parse(text) as { error: unknown })

/** A path with something in it that nobody has, and what each method is sent with. */
const asked = (route: string) => {
  const [method = '', path = ''] = route.split(' ')
  const operation = api.paths[path]?.[method.toLowerCase() as 'get']
  const body = method === 'POST' || method === 'DELETE' ? { body: '{}' } : {}
  return { method: method as 'GET', path: path.replaceAll(/\{\w+\}/g, 'nobody-has-this'), documented: Object.keys(operation?.responses ?? {}), body }
}

test('every route has a row', () => {
  expect(routes.filter((route) => needOf(route) === undefined)).toEqual([])
  expect(routes.length).toBeGreaterThan(40)
})

test.for(routes.map((route) => ({ route, need: needOf(route) ?? 'any' })))('$route asks for: $need', async ({ route, need }, { site: { url, keyFor } }) => {
  const { method, path, documented, body } = asked(route)
  const ask = (key?: string) => send(url + path, { method, headers: bearer(key), ...body })
  if (need === 'open') {
    for (const key of [undefined, 'wrong']) expect(documented).toContain(String((await ask(key)).status))
    return
  }
  for (const key of [undefined, 'drover_k00_wrong-key']) {
    const refused = await ask(key)
    expect([refused.status, refused.headers['www-authenticate']]).toEqual([401, 'Bearer'])
    if (method !== ('HEAD' as string)) expect(errorText(path, refused)).toMatch(/API key/)
    expect(documented).toContain('401')
  }
  if (need !== 'any') {
    const refused = await ask(keyFor(`without ${need}`))
    expect(refused.status).toBe(403)
    expect(documented).toContain('403')
    if (method !== ('HEAD' as string)) expect(errorText(path, refused)).toContain(scopesOf(need).map((scope) => `"${scope}"`).join(' or '))
  }
  const right = [keyFor('only admin'), OPERATOR_KEY, ...(need === 'any' ? [keyFor('only metrics'), keyFor('only batch')] : scopesOf(need).map((scope) => keyFor(`only ${scope}`)))]
  for (const key of right) {
    const { status } = await ask(key)
    expect(documented).toContain(String(status))
    // Nobody is ever signed in at Ollama's maker.
    if (!/^\/api\/(me|signout|user)/.test(path)) expect([401, 403]).not.toContain(status)
  }
})

test('a path that is no route wants a valid key, and tells nothing without one', async ({ site: { url, keyFor } }) => {
  for (const path of ['/nothing', '/api/nothing', '/v1/nothing', '/api/keys/a/b/c']) expect([path, (await send(url + path, { method: 'GET' })).status]).toEqual([path, 401])
  expect((await send(`${url}/v1/nothing`, { method: 'GET', headers: bearer(keyFor('only metrics')) })).status).toBe(404)
  // However a path is written, it is the route's scope that counts.
  for (const path of ['/api/k%65ys', '/api/keys/', '/api//keys', '/%61pi/keys'])
    expect([path, (await send(url + path, { method: 'GET', headers: bearer(keyFor('without admin')) })).status]).not.toEqual([path, 200])
})

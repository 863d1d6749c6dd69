import { expect, test } from 'vitest'
import { gatewayApp, type AppDeps } from './app.ts'
import { openApi } from './openapi.ts'
import type { Operation } from './openapi-parts.ts'
import { referencePage } from './reference-page.ts'

const api = openApi('1.2.3')

/** Routes are told when the app is made; what they need is looked at only when they are called. */
const app = gatewayApp({ gateway: { version: '1.2.3' }, settings: {} } as unknown as AppDeps)

const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation: operation as Operation })))

test('every route of the gateway is described, and nothing else', () => {
  const routes = app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`)
  // HEAD of a blob is answered before the routes are looked at.
  const described = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`).filter((route) => route !== 'HEAD /api/blobs/{digest}')
  expect(described.toSorted()).toEqual([...new Set(routes)].toSorted())
})

function* refsIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) {
    if (name === '$ref' && typeof inner === 'string') yield inner
    yield* refsIn(inner)
  }
}

const target = (ref: string): unknown => ref.slice(2).split('/').reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], api)

test('every reference has a target, and every part is referred to', () => {
  const refs = new Set(refsIn(api))
  expect([...refs].filter((ref) => typeof target(ref) !== 'object')).toEqual([])
  const parts = (['schemas', 'headers', 'parameters'] as const).flatMap((kind) => Object.keys(api.components[kind]).map((name) => `#/components/${kind}/${name}`))
  expect(parts.filter((part) => !refs.has(part))).toEqual([])
})

test('operations are told apart by their ids, and stand in a group that there is', () => {
  const ids = operations.map(({ operation }) => operation.operationId)
  expect(new Set(ids).size).toBe(ids.length)
  const tags = new Set(api.tags.map(({ name }) => name))
  for (const { operation } of operations) expect(operation.tags.every((tag) => tags.has(tag))).toBe(true)
})

test('what a path names is a parameter, and nothing else is', () => {
  for (const { path, operation } of operations) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    expect((operation.parameters ?? []).filter((each) => each['in'] === 'path').map((each) => each['name'])).toEqual(named)
  }
})

test('the description is JSON and says the same behind it', () => {
  expect(JSON.parse(JSON.stringify(api))).toEqual(api)
})

test('both are served without a key', async () => {
  const env = { incoming: { headers: { host: 'localhost' } } }
  const open = gatewayApp({
    gateway: { version: '1.2.3' }, settings: {},
    access: { allowsOrigin: () => false, checkSource: () => undefined, identify: () => { throw new Error('locked') } },
  } as unknown as AppDeps)
  const told = await open.request('/openapi.json', {}, env)
  expect([told.status, told.headers.get('content-type'), await told.json()]).toEqual([200, 'application/json; charset=utf-8', api])
  const page = await open.request('/docs', {}, env)
  expect([page.status, page.headers.get('content-type'), await page.text()]).toEqual([200, 'text/html; charset=UTF-8', referencePage(api)])
})

test('the page names every call and every field, runs no script and fetches nothing', () => {
  const page = referencePage(api)
  for (const { path, operation } of operations) {
    expect(page).toContain(`id="${operation.operationId}"`)
    expect(page).toContain(`<span class="path">${path}</span>`)
  }
  for (const name of ['keep_alive', 'max_completion_tokens', 'stop_sequences', 'num_ctx', 'x-drover-ignored']) expect(page).toContain(`<code>${name}</code>`)
  expect(page).not.toMatch(/<script|<link|<img|<iframe|https?:|src=|@import|url\(/)
  const anchors = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id)
  expect(anchors.toSorted()).toEqual(operations.map(({ operation }) => operation.operationId).toSorted())
})

test('what stands in the description cannot become a part of the page', () => {
  const page = referencePage({ ...api, info: { ...api.info, title: '<script>alert(1)</script>', description: '`a<b>` & "c"' } })
  expect(page).not.toContain('<script')
  expect(page).toContain('<code>a&lt;b&gt;</code> &amp; &quot;c&quot;')
})

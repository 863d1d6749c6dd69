import { readFile } from 'node:fs/promises'
import { Agent, request } from 'undici'
import fc from 'fast-check'
import { expect } from 'vitest'
import type { OpenApi, Operation } from '../../apps/gateway/src/openapi-parts.ts'
import { arbitraryOf } from '../../libs/dialects/src/testing/samples.ts'
import { send, sendBytes } from '../support/raw.ts'
import { test as world } from '../support/world.ts'

/** Requests of each kind below to each route; there are more kinds than ten. */
const RUNS = 2
/** What either process may grow by over the whole run, MiB: what Node keeps in hand, and no request. */
const GROWTH = 48
const BODY_LIMIT = 256 * 1024

/** A failure tells the seed; with it the same requests are made again. */
const seed = Number(process.env['DROVER_FUZZ_SEED'] ?? Date.now() % 2 ** 31)

type Json = Record<string, unknown>
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

interface Route {
  method: 'GET' | 'HEAD' | 'POST' | 'DELETE'
  path: string
  /** With its parameters filled in. */
  target: string
  operation: Operation
  schema: Json | undefined
}

const routesOf = ({ paths, components }: OpenApi): Route[] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const schema = operation.requestBody?.content['application/json']?.schema
      const name = typeof schema?.['$ref'] === 'string' ? schema['$ref'].slice('#/components/schemas/'.length) : undefined
      const target = path.replace('{model}', 'scripted').replace('{digest}', `sha256:${'a'.repeat(64)}`).replace('{key}', 'k').replace('{id}', 'n1')
      return { method: method.toUpperCase() as Route['method'], path, target, operation, schema: name === undefined ? schema : components.schemas[name] }
    }),
  )

const residentMiB = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const ollama = await engines({ slots: 8, models: ['scripted', CHANGED] })
  const llama = await engines({ kind: 'llama-server', slots: 8, models: ['single'] })
  const ranks = await engines({ kind: 'llama-server', slots: 8, models: [{ name: 'ranks', capabilities: ['rerank'] }] })
  const gateway = await house.gateway({ DROVER_BODY_LIMIT: String(BODY_LIMIT) })
  const worker = await house.worker('n1', [{ url: ollama.url, slots: 8 }, { url: llama.url, slots: 8 }, { url: ranks.url, slots: 8 }], { gateway })
  const api = JSON.parse((await send(`${gateway.url}/openapi.json`, { method: 'GET' })).text) as OpenApi
  return { gateway, worker, routes: routesOf(api) }
})

/** The model of those requests that change what nodes hold: whatever becomes of it, the others have theirs. */
const CHANGED = 'changed'
const modelOf = ({ path }: Route): string => (/^\/api\/(pull|push|create|copy|delete|load|unload)$/.test(path) ? CHANGED : 'scripted')

const nested = (open: string, close: string) => fc.integer({ min: 65, max: 20_000 }).map((depth) => open.repeat(depth) + close.repeat(depth))

/** Bodies as text or bytes, of one kind each. Most begin with a good one, so that they get past the first check. */
const bodies = (schema: Json, model: string): Record<string, fc.Arbitrary<string | Buffer>> => {
  const good = arbitraryOf(schema).map((value) => ({ ...(value as Json), model, stream: false }))
  const fields = Object.keys(isObject(schema['properties']) ? schema['properties'] : {})
  const field = fc.constantFrom(...fields)
  const replaced = (value: fc.Arbitrary<unknown>) => fc.tuple(good, field, value).map(([body, name, other]) => JSON.stringify({ ...body, [name]: other }))
  const raw = (value: fc.Arbitrary<string>) => fc.tuple(good, field, value).map(([body, name, text]) => JSON.stringify({ ...body, [name]: '@@' }).replace('"@@"', () => text))
  return {
    'a field of another type': replaced(fc.jsonValue({ maxDepth: 3 })),
    'fields missing': fc.tuple(good, fc.subarray(fields)).map(([body, names]) => JSON.stringify(Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name))))),
    'numbers beyond their range': raw(fc.constantFrom('1e999', '-1e999', '1e308', '-9007199254740993', '18446744073709551616', `1${'0'.repeat(400)}`, '-0', '0.1e-400', '1.5')),
    'deep nesting': raw(fc.oneof(nested('[', ']'), nested('{"a":', '}').map((text) => text.replace(':}', ':1}')))),
    'long texts': replaced(fc.integer({ min: 1, max: 100_000 }).map((length) => 'x'.repeat(length))),
    'long lists': replaced(fc.integer({ min: 1, max: 50_000 }).map((length) => Array.from({ length }, () => 1))),
    'names of JavaScript itself': raw(fc.constantFrom('{"__proto__":{"model":"x","length":1}}', '{"constructor":{"prototype":{"a":1}}}', '{"toString":1,"valueOf":2,"hasOwnProperty":3}', '[{"__proto__":null}]')),
    'names of JavaScript itself, on top': fc.tuple(good, fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', '__defineGetter__')).map(([body, name]) => `{"${name}":{"a":1},${JSON.stringify(body).slice(1)}`),
    'the same name twice': fc.tuple(good, field, fc.jsonValue({ maxDepth: 1 })).map(([body, name, value]) => `{${JSON.stringify(name)}:${JSON.stringify(value)},${JSON.stringify(body).slice(1)}`),
    'NUL and halves of characters': replaced(fc.constantFrom('\u0000', 'a\u0000b', '\ud800', '\udfff\ud800', '\u202e', '\ufeff')),
    'bytes that are not UTF-8': fc.tuple(good, fc.uint8Array({ minLength: 1, maxLength: 20 })).map(([body, bytes]) => Buffer.concat([Buffer.from(JSON.stringify(body)).subarray(0, 20), Buffer.from([0xff, 0xc0]), Buffer.from(bytes)])),
    'JSON cut off or broken': fc.tuple(good, fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom('', ',', '}', '\u0001', '//', "'")).map(([body, share, junk]) => {
      const text = JSON.stringify(body)
      return text.slice(0, Math.floor(text.length * share)) + junk
    }),
    'JSON that is no object': fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)),
    'any bytes': fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    'a model of any name': fc.tuple(good, fc.string({ unit: 'binary', maxLength: 300 })).map(([body, name]) => JSON.stringify({ ...body, model: name })),
    'what the description allows': good.map((body) => JSON.stringify(body)),
    'more than the limit': fc.constant('x'.repeat(BODY_LIMIT + 1)),
  }
}

/** 500 in Ollama's API, and in its words: what a client got wrong in a place that Ollama looks at late, or what its registry does not have. */
const OLLAMAS_OWN_500 = /^(option ".*" must be of |invalid format: |pull model manifest: file does not exist$)/

/** Checks an answer that is not a good one. */
const checkError = ({ path, operation }: Route, { status, text, type }: { status: number; text: string; type: string }, asked: string) => {
  const about = `${path}: ${status} ${text.slice(0, 300)} for ${asked.slice(0, 500)}`
  if (text === '' || !type.startsWith('application/json')) {
    // Not the API, but HTTP itself: a wrong method or path, a page that may not.
    expect([301, 307, 400, 403, 404, 405, 413, 431], about).toContain(status)
    return
  }
  const said = JSON.parse(text) as Json
  const message = isObject(said['error']) ? said['error']['message'] : said['error']
  expect(typeof message === 'string' && message !== '', about).toBe(true)
  expect(message, about).not.toMatch(/internal error|is not a function|Cannot read|undefined|\bat .*\.ts:/)
  if (status === 500) expect(message, about).toMatch(OLLAMAS_OWN_500)
  if (operation.tags[0] === 'Anthropic') expect(said['type'], about).toBe('error')
  else if (operation.tags[0] === 'OpenAI' || operation.tags[0] === 'llama.cpp') expect(isObject(said['error']), about).toBe(true)
  else if (path.startsWith('/api/')) expect(typeof said['error'], about).toBe('string')
}

const agent = new Agent({ headersTimeout: 30_000, bodyTimeout: 30_000, maxHeaderSize: 65_536 })

const fetchIt = async (url: string, method: string, body: string | Buffer | undefined, headers: Record<string, string> = {}) => {
  const response = await request(url, { method: method as 'POST', dispatcher: agent, headers: { 'content-type': 'application/json', ...headers }, ...(body !== undefined && { body }) })
  return { status: response.statusCode, type: String(response.headers['content-type'] ?? ''), text: await response.body.text() }
}

const HEADERS: Record<string, Record<string, string>> = {
  'a content type that is not JSON': { 'content-type': 'multipart/form-data; boundary=x' },
  'no content type to speak of': { 'content-type': '\u00ff' },
  'an encoding that is not true': { 'content-encoding': 'zstd' },
  'an encoding that there is not': { 'content-encoding': 'x-rot13' },
  'a huge header': { 'x-padding': 'x'.repeat(40_000) },
  'an id with a line break encoded': { 'x-request-id': 'a%0d%0ab' },
  'a page of elsewhere': { origin: 'https://elsewhere.example' },
  'a host that is not ours': { host: 'elsewhere.example' },
}

/** A good request to each route, for before and after. */
const GOOD: Record<string, Json> = {
  '/api/chat': { model: 'scripted', stream: false, messages: [{ role: 'user', content: 'job=good tokens=2' }] },
  '/api/generate': { model: 'scripted', stream: false, prompt: 'job=good tokens=2' },
  '/v1/chat/completions': { model: 'scripted', messages: [{ role: 'user', content: 'job=good tokens=2' }] },
  '/v1/completions': { model: 'scripted', prompt: 'job=good tokens=2' },
  '/api/show': { model: 'scripted' },
  '/api/embed': { model: 'scripted', input: 'text' },
  '/api/embeddings': { model: 'scripted', prompt: 'text' },
  '/v1/embeddings': { model: 'scripted', input: 'text' },
  '/v1/responses': { model: 'scripted', input: 'job=good tokens=2' },
  '/v1/messages': { model: 'scripted', max_tokens: 5, messages: [{ role: 'user', content: 'job=good tokens=2' }] },
  '/v1/messages/count_tokens': { model: 'single', messages: [{ role: 'user', content: 'text' }] },
  '/tokenize': { model: 'single', content: 'text' },
  '/detokenize': { model: 'single', tokens: [1] },
  '/v1/rerank': { model: 'ranks', query: 'text', documents: ['text'] },
  '/rerank': { model: 'ranks', query: 'text', documents: ['text'] },
}

/** Good requests to every route that has a good answer and changes nothing. */
const answersWell = async (url: string, routes: Route[]) => {
  for (const { path, method, target, operation } of routes) {
    const good = GOOD[path]
    // Of what a path names, only the node and the models are there.
    if ((!good && method !== 'GET') || (path.includes('{') && !/^\/(api\/nodes|v1\/models)\//.test(path))) continue
    const { status, text } = await fetchIt(url + target, method, good && JSON.stringify(good))
    expect([operation.operationId, status, text === ''], text.slice(0, 200)).toEqual([operation.operationId, 200, false])
  }
}

test(`hostile requests to every route are answered in its own form, and leave nothing behind (seed ${seed})`, { timeout: 180_000 }, async ({ site: { gateway, worker, routes } }) => {
  const { url } = gateway
  await answersWell(url, routes)
  const posts = routes.filter(({ schema }) => schema)
  expect(posts.length).toBeGreaterThan(10)

  const round = async (numRuns: number) => {
    for (const route of posts) {
      const kinds = bodies(route.schema ?? {}, modelOf(route))
      expect(Object.keys(kinds).length).toBeGreaterThan(10)
      await Promise.all(
        Object.entries(kinds).map(([kind, made]) =>
          fc.assert(
            fc.asyncProperty(made, async (body) => {
              const answer = await fetchIt(url + route.target, route.method, body)
              if (answer.status !== 200) checkError(route, answer, `${kind}: ${body.toString('latin1' as 'utf8')}`)
            }),
            { numRuns, seed, endOnFailure: true },
          ),
        ),
      )
    }
  }

  for (const route of routes) {
    for (const [kind, headers] of Object.entries(HEADERS)) {
      const body = route.schema ? JSON.stringify(GOOD[route.path] ?? { model: modelOf(route) }) : undefined
      const answer = await fetchIt(url + route.target, route.method, body, headers)
      if (answer.status !== 200) checkError(route, answer, kind)
    }
    for (const method of ['PUT', 'PATCH', 'DELETE', 'GET', 'POST']) {
      if (routes.some((each) => each.path === route.path && each.method === method)) continue
      const { status } = await fetchIt(url + route.target, method, undefined)
      expect([route.path, method, status]).toEqual([route.path, method, 405])
    }
    const broken = await sendBytes(url, `${route.method} ${route.target} HTTP/1.1\r\nhost: localhost\r\nbad header\u0000: x\r\n\r\n`)
    expect(broken).toMatch(/^HTTP\/1\.1 400/)
  }

  // What code and pools need is there after the first round: what comes on top in the second would come with every further one.
  await round(RUNS)
  const before = await Promise.all([residentMiB(gateway.pid), residentMiB(worker.pid)])
  await round(RUNS)
  const after = await Promise.all([residentMiB(gateway.pid), residentMiB(worker.pid)])
  for (const [at, mib] of after.entries()) expect(mib - (before[at] ?? 0)).toBeLessThan(GROWTH)

  await answersWell(url, routes)
  for (const { log } of [gateway, worker]) expect(log()).not.toMatch(/"level":[56]0/)
  const metrics = await send(`${url}/metrics`, { method: 'GET' })
  expect(metrics.text).toMatch(/outcome="bad_request"[^\n]* [1-9]/)
  expect(metrics.text).not.toMatch(/outcome="internal"/)
})

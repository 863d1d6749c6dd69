import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI, { toFile } from 'openai'
import { expect } from 'vitest'
import { gatewayApp, type AppDeps } from '../../apps/gateway/src/app.ts'
import { send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { bearer, get, makeKey, OPERATOR_KEY, type Made } from './making.ts'

const messages = (prompt: string) => [{ role: 'user' as const, content: prompt }]
const line = (id: string) => JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body: { model: 'scripted', messages: messages(`job=${id} tokens=2`) } })

/** One of everything that outlives a connection, made by one key; and two other keys. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines, redis }) => {
  const engine = await engines({ models: [{ name: 'scripted:latest', slots: 4 }] })
  const { url } = await house.gateway({ DROVER_API_KEY: OPERATOR_KEY, DROVER_WEBHOOK_PRIVATE: 'true', DROVER_FILES_DIR: await mkdtemp(join(redis.dir, 'files-')) })
  await house.worker('n1', [{ url: engine.url, slots: 4 }])
  await expect.poll(async () => (await get(url, '/v1/models/scripted', OPERATOR_KEY)).status, { timeout: 20_000 }).toBe(200)
  const [owner, other, admin] = (await Promise.all([makeKey(url, {}), makeKey(url, {}), makeKey(url, { scopes: ['admin'] })])) as [Made, Made, Made]

  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: owner.key })
  const anthropic = new Anthropic({ baseURL: url, apiKey: owner.key })
  const repeatable = { body: JSON.stringify({ model: 'scripted', messages: messages('job=once tokens=2') }), headers: { ...bearer(owner.key), prefer: 'respond-async', 'idempotency-key': 'the-same-for-both' } }
  const job = (JSON.parse((await send(`${url}/v1/chat/completions`, repeatable)).text) as { id: string }).id
  const response = (await openai.responses.create({ model: 'scripted', input: 'job=r tokens=2', store: true })).id
  const file = (await openai.files.create({ purpose: 'batch', file: await toFile(Buffer.from(`${line('a')}\n${line('b')}\n`), 'in.jsonl') })).id
  const batch = (await openai.batches.create({ input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h' })).id
  const messageBatch = (await anthropic.messages.batches.create({ requests: [{ custom_id: 'c', params: { model: 'scripted', max_tokens: 4, messages: messages('job=mb tokens=2') } }] })).id
  const webhook = (JSON.parse((await send(`${url}/api/webhooks`, { body: JSON.stringify({ url: 'http://127.0.0.1:9/hook' }), headers: bearer(owner.key) })).text) as { id: string }).id
  await expect.poll(async () => [(await openai.batches.retrieve(batch)).status, (await anthropic.messages.batches.retrieve(messageBatch)).processing_status], { timeout: 30_000 }).toEqual(['completed', 'ended'])
  return { url, owner, other, admin, repeatable, made: { job, response, file, batch, messageBatch, webhook } }
})

type Kind = 'job' | 'response' | 'file' | 'batch' | 'messageBatch' | 'webhook'
/** What each family of routes is about. */
const FAMILIES: readonly [RegExp, Kind][] = [
  [/^\/api\/jobs\/:/, 'job'],
  [/^\/v1\/responses\/:/, 'response'],
  [/^\/v1\/files\/:/, 'file'],
  [/^\/(v1|api)\/batches\/:/, 'batch'],
  [/^\/v1\/messages\/batches\/:/, 'messageBatch'],
  [/^\/api\/webhooks\/:/, 'webhook'],
]
const LISTS = ['/api/jobs', '/v1/files', '/v1/batches', '/v1/messages/batches', '/api/webhooks']

const app = gatewayApp({ gateway: { version: '0' }, settings: {} } as unknown as AppDeps)
const routes = [...new Set(app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`))].flatMap((route) => {
  const [method = '', path = ''] = route.split(' ')
  const kind = FAMILIES.find(([pattern]) => pattern.test(path))?.[1]
  return kind === undefined ? [] : [{ route, method: method as 'GET', path, kind }]
})

/** An answer without what differs anyway. */
const plain = (text: string, which: string) => text.replaceAll(which, 'ID').replaceAll(/"request_id":"[^"]*"/g, '')
/** The status of a refusal. */
const refused = (asked: Promise<unknown>) => asked.then(() => 'taken', (error: unknown) => (error instanceof OpenAI.APIError ? error.status : error))

test.for(routes)('$route of another key’s $kind is as if it were not there', async ({ method, path, kind }, { site: { url, other, made } }) => {
  const at = (id: string) => url + path.replace(/:\w+/, id).replace(/:\w+/, 'any')
  const id = made[kind]
  // As long as it is, and of its form.
  const nobodys = id.slice(0, -8) + id.slice(-8).replaceAll(/./g, (char) => (char === '0' ? '1' : '0'))
  const options = { method, headers: bearer(other.key), ...(method !== 'GET' && { body: '{}' }) }
  const [foreign, none] = await Promise.all([send(at(id), options), send(at(nobodys), options)])
  expect(foreign.status).toBe(404)
  expect(plain(foreign.text, id)).toBe(plain(none.text, nobodys))
})

test('afterwards all of it is still there, for its owner and for an admin', async ({ site: { url, owner, admin, made } }) => {
  const paths: Record<Kind, string> = { job: '/api/jobs/', response: '/v1/responses/', file: '/v1/files/', batch: '/v1/batches/', messageBatch: '/v1/messages/batches/', webhook: '/api/webhooks/' }
  for (const [kind, path] of Object.entries(paths)) for (const { key } of [owner, admin]) expect([kind, (await get(url, path + made[kind as Kind], key)).status]).toEqual([kind, 200])
  expect(new Set(routes.map(({ kind }) => kind))).toEqual(new Set(Object.keys(paths)))
})

test('no list of another key shows any of it; its owner’s do', async ({ site: { url, owner, other, made } }) => {
  const ids = Object.values(made)
  const seen = new Set<string>()
  for (const path of LISTS) {
    const [mine, theirs] = await Promise.all([get(url, path, owner.key), get(url, path, other.key)])
    expect([path, mine.status, theirs.status]).toEqual([path, 200, 200])
    for (const id of ids) {
      expect(theirs.text).not.toContain(id)
      if (mine.text.includes(id)) seen.add(id)
    }
  }
  // Responses have no list.
  expect(seen).toEqual(new Set(ids.filter((id) => id !== made.response)))
})

test('another key’s things cannot be named within a request', async ({ site: { url, other, made } }) => {
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: other.key, maxRetries: 0 })
  expect(await refused(openai.responses.create({ model: 'scripted', input: 'job=p tokens=2', previous_response_id: made.response }))).toBeOneOf([400, 404])
  expect(await refused(openai.batches.create({ input_file_id: made.file, endpoint: '/v1/chat/completions', completion_window: '24h' }))).toBeOneOf([400, 404])
  const hooked = await send(`${url}/v1/chat/completions`, { body: JSON.stringify({ model: 'scripted', messages: messages('job=h tokens=1') }), headers: { ...bearer(other.key), prefer: 'respond-async', 'x-drover-webhook': made.webhook } })
  expect(hooked.status).toBe(400)
})

test('the same Idempotency-Key of another key is another job', async ({ site: { url, owner, other, repeatable, made } }) => {
  const again = await send(`${url}/v1/chat/completions`, repeatable)
  expect((JSON.parse(again.text) as { id: string }).id).toBe(made.job)
  const theirs = await send(`${url}/v1/chat/completions`, { ...repeatable, headers: { ...repeatable.headers, ...bearer(other.key) } })
  const { id } = JSON.parse(theirs.text) as { id: string }
  expect([theirs.status, id === made.job, (await get(url, `/api/jobs/${id}`, owner.key)).status, (await get(url, `/api/jobs/${id}`, other.key)).status]).toEqual([202, false, 404, 200])
})

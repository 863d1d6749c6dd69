import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { DIALECTS, test as world } from '../support/world.ts'
import { bearer, get, makeKey, OPERATOR_KEY, setKey } from './making.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ models: [{ name: 'scripted:latest', slots: 4 }, { name: 'other:1b' }] })
  const [a, b] = await Promise.all([house.gateway({ DROVER_API_KEY: OPERATOR_KEY }), house.gateway({ DROVER_API_KEY: OPERATOR_KEY })])
  await house.worker('n1', [engine.url])
  await expect.poll(async () => (await get(a.url, '/v1/models/other:1b', OPERATOR_KEY)).status + (await get(b.url, '/v1/models/other:1b', OPERATOR_KEY)).status, { timeout: 20_000 }).toBe(400)
  return { a, b, engine }
})

const tags = async (url: string, key: string): Promise<number> => (await get(url, '/api/tags', key)).status
const remove = (url: string, id: string, by?: string) => send(`${url}/api/keys/${id}`, { method: 'DELETE', headers: bearer(by) })
const rotate = async (url: string, id: string, by: string | undefined, body = '{}') => {
  const { status, text } = await send(`${url}/api/keys/${id}/rotate`, { body, headers: bearer(by) })
  expect(status).toBe(200)
  return JSON.parse(text) as { id: string; key: string }
}

test('a key works on every gateway as soon as it is made, and on none when it is revoked', async ({ site: { a, b } }) => {
  const { id, key } = await makeKey(a.url, {})
  expect(await tags(a.url, key)).toBe(200)
  await expect.poll(() => tags(b.url, key), { interval: 5, timeout: 5_000 }).toBe(200)
  expect((await send(`${b.url}/api/tags`, { method: 'GET', headers: { 'x-api-key': key } })).status).toBe(200)
  expect((await remove(b.url, id, OPERATOR_KEY)).status).toBe(200)
  expect(await tags(b.url, key)).toBe(401)
  await expect.poll(() => tags(a.url, key), { interval: 5, timeout: 5_000 }).toBe(401)
  expect((await remove(a.url, id, OPERATOR_KEY)).status).toBe(404)
})

test('a rotated key keeps its id; the secret before ends at once, or after its grace', async ({ site: { a, b } }) => {
  const { id, key } = await makeKey(a.url, {})
  const second = await rotate(b.url, id, OPERATOR_KEY)
  expect(second.id).toBe(id)
  expect([await tags(b.url, key), await tags(b.url, second.key)]).toEqual([401, 200])
  await expect.poll(async () => [await tags(a.url, key), await tags(a.url, second.key)], { interval: 5, timeout: 5_000 }).toEqual([401, 200])
  const third = await rotate(a.url, id, OPERATOR_KEY, '{"grace_s":60}')
  expect([await tags(a.url, key), await tags(a.url, second.key), await tags(a.url, third.key)]).toEqual([401, 200, 200])
  const before = Date.now()
  const fourth = await rotate(a.url, id, OPERATOR_KEY, '{"grace_s":2}')
  await expect.poll(() => tags(a.url, third.key)).toBe(401)
  // However late it was asked, it had been good for a while.
  expect(Date.now() - before).toBeGreaterThan(1_000)
  expect(await tags(a.url, fourth.key)).toBe(200)
})

test('what a key may is changed while it is used, at once and on every gateway; its secret and what else it is stay', async ({ site: { a, b } }) => {
  const { id, key } = await makeKey(a.url, { name: 'before', models: ['other:*'], limits: { concurrent: 9 } })
  const chats = async (url: string, model: string) => (await post(url, 'openai.chat', { ...smallest('openai.chat', 'job=changed tokens=1'), model }, bearer(key))).status
  const on = (url: string) => Promise.all(['scripted', 'other:1b'].map((model) => chats(url, model)))
  expect(await on(a.url)).toEqual([403, 200])
  const changed = await setKey(a.url, id, { name: 'behind', models: ['scripted'] })
  expect([changed.status, JSON.parse(changed.text)]).toEqual([200, expect.objectContaining({ id, name: 'behind', models: ['scripted'], scopes: ['infer', 'batch'], limits: { concurrent: 9 }, changed_at: expect.any(String) as string })])
  expect(changed.text).not.toMatch(/[0-9a-f]{64}/)
  expect(await on(a.url)).toEqual([200, 403])
  await expect.poll(() => on(b.url), { interval: 5, timeout: 5_000 }).toEqual([200, 403])
  expect((await setKey(b.url, id, { models: null })).status).toBe(200)
  expect(await on(b.url)).toEqual([200, 200])
  expect((await setKey(b.url, id, { scopes: ['metrics'] })).status).toBe(200)
  expect(await on(b.url)).toEqual([403, 403])
  expect((await setKey(b.url, id, { expires_at: new Date(Date.now() - 1_000).toISOString() })).status).toBe(200)
  expect(await on(b.url)).toEqual([401, 401])
  expect((await setKey(b.url, id, { scopes: null, expires_at: null })).status).toBe(200)
  expect(await on(b.url)).toEqual([200, 200])
})

test('a change that is none is refused by what is wrong with it, and one of a key that is not there finds nothing', async ({ site: { a } }) => {
  const { id } = await makeKey(a.url, {})
  const wrong = await setKey(a.url, id, { limits: { requests_per_minute: 'many' }, hash: 'mine' })
  expect([wrong.status, wrong.text]).toEqual([400, expect.stringMatching(/limits\.requests_per_minute: .*hash/) as string])
  expect((await setKey(a.url, 'k0000000000000000', { name: 'nobody' })).status).toBe(404)
})

test('a key ends by itself at its time', async ({ site: { a } }) => {
  const { id, key } = await makeKey(a.url, { expires_at: new Date(Date.now() + 3_600_000).toISOString() })
  expect(await tags(a.url, key)).toBe(200)
  const end = Date.now() + 1_500
  expect((await setKey(a.url, id, { expires_at: new Date(end).toISOString() })).status).toBe(200)
  await expect.poll(() => tags(a.url, key)).toBe(401)
  // By Redis' clock, which the gateway knows to a part of a second.
  expect(Date.now()).toBeGreaterThan(end - 1_000)
  expect((await get(a.url, '/api/tags', key)).text).toContain('expired')
})

test('nothing that opens anything lies in Redis, in a log or in the list', async ({ site: { a, b }, redis }) => {
  const { id, key } = await makeKey(a.url, {})
  const secret = key.split('_').at(-1)!
  expect(await tags(a.url, key)).toBe(200)
  await tags(a.url, `${key}x`)
  const client = new Redis(redis.connection)
  const held: string[] = []
  for (const name of await client.keys('*')) {
    const type = await client.type(name)
    held.push(name, JSON.stringify(type === 'hash' ? await client.hgetall(name) : type === 'string' ? await client.get(name) : ''))
  }
  client.disconnect()
  const listed = (await get(a.url, '/api/keys', OPERATOR_KEY)).text
  expect(listed).toContain(id)
  for (const text of [held.join('\n'), a.log(), b.log(), listed]) expect(text).not.toContain(secret)
  expect(listed).not.toMatch(/[0-9a-f]{64}/)
})

test.for(DIALECTS)('a key for some models is refused another, and is not told whether there is one: %s', async (dialect, { site: { a, engine } }) => {
  const { key } = await makeKey(a.url, { models: ['other:*'] })
  const { requests } = await engine.admin.stats()
  for (const model of ['scripted', 'no-such-model']) {
    const refused = await post(a.url, dialect, { ...smallest(dialect, 'job=not-mine'), model }, bearer(key))
    expect([refused.status, errorTextOf(dialect, refused)]).toEqual([403, `this API key may not use the model '${model}:latest'`])
  }
  expect((await engine.admin.stats()).requests).toBe(requests)
  expect((await post(a.url, dialect, { ...smallest(dialect, 'job=mine tokens=2'), model: 'other:1b' }, bearer(key))).status).toBe(200)
})

test('a key for some models sees these and no others', async ({ site: { a } }) => {
  const { key } = await makeKey(a.url, { models: ['other:*'] })
  for (const path of ['/api/tags', '/api/ps', '/v1/models', '/api/models', '/api/servers', '/api/status', '/api/nodes', '/api/nodes/n1']) {
    const { status, text } = await get(a.url, path, key)
    expect([path, status, text.includes('scripted')]).toEqual([path, 200, false])
    if (path !== '/api/ps') expect([path, text.includes('other:1b') || path === '/api/ps']).toEqual([path, true])
  }
  expect((await get(a.url, '/v1/models/scripted', key)).status).toBe(404)
  expect((await send(`${a.url}/api/show`, { body: '{"model":"scripted"}', headers: bearer(key) })).status).toBe(404)
  expect((await get(a.url, '/api/tags', OPERATOR_KEY)).text).toContain('scripted')
})

test('the stream of another key’s job is not there; its own key and an admin read it', async ({ site: { a, b } }) => {
  const [owner, other, admin] = await Promise.all([makeKey(a.url, {}), makeKey(a.url, {}), makeKey(a.url, { scopes: ['admin'] })])
  const told = await ask(a.url, 'openai.chat', { key: 'owned', script: { tokens: 3 }, headers: { ...bearer(owner.key), 'x-drover-on-disconnect': 'continue' } }).told
  const stream = `/api/jobs/${String(told.headers['x-drover-job'])}/stream`
  await expect.poll(() => tags(b.url, other.key), { interval: 5, timeout: 5_000 }).toBe(200)
  for (const { url } of [a, b]) {
    const foreign = await get(url, stream, other.key)
    expect([foreign.status, foreign.text]).toEqual([404, (await get(url, stream.replace(/0-.{22}/, `0-${'x'.repeat(22)}`), other.key)).text.replace(`0-${'x'.repeat(22)}`, stream.split('/')[3]!)])
    expect((await get(url, stream, owner.key)).status).toBe(200)
    expect((await get(url, stream, admin.key)).status).toBe(200)
  }
  const rotated = await rotate(a.url, owner.id, OPERATOR_KEY)
  expect((await get(a.url, stream, rotated.key)).status).toBe(200)
})

test('without the operator’s key the first key must be able to manage keys, and the last such key stays', async ({ drover }) => {
  const { url } = await drover.gateway()
  const refused = await send(`${url}/api/keys`, { body: '{"name":"app"}' })
  expect([refused.status, refused.text]).toEqual([409, expect.stringMatching(/first there must be a key.*admin.*DROVER_API_KEY/) as string])
  expect((await get(url, '/api/tags')).status).toBe(200)
  const admin = await makeKey(url, { scopes: ['admin'] }, '')
  // From now on a key is asked for, here too.
  expect((await get(url, '/api/tags')).status).toBe(401)
  const app = await makeKey(url, {}, admin.key)
  expect((await remove(url, admin.id, admin.key)).status).toBe(409)
  for (const change of [{ scopes: ['infer'] }, { scopes: null }, { expires_at: '2099-01-01T00:00:00Z' }]) {
    const kept = await setKey(url, admin.id, change, admin.key)
    expect([kept.status, kept.text]).toEqual([409, expect.stringMatching(/last key that may manage keys/) as string])
  }
  expect((await setKey(url, admin.id, { name: 'still admin' }, admin.key)).status).toBe(200)
  expect((await remove(url, app.id, admin.key)).status).toBe(200)
  // With the last key of all this machine's owner is served as before.
  expect((await remove(url, admin.id, admin.key)).status).toBe(200)
  expect((await get(url, '/api/tags')).status).toBe(200)
})

test('where there are keys a gateway listens beyond loopback, for those who have one', async ({ drover }) => {
  const near = await drover.gateway()
  const { key, id } = await makeKey(near.url, { scopes: ['admin'] }, '')
  const far = await drover.gateway({ DROVER_HOST: '0.0.0.0' })
  const url = far.url.replace('0.0.0.0', '127.0.0.1')
  expect([(await get(url, '/api/tags')).status, await tags(url, key)]).toEqual([401, 200])
  // Nobody could come in there any more; on loopback the owner could.
  expect((await remove(url, id, key)).status).toBe(409)
  expect((await remove(near.url, id, key)).status).toBe(200)
  await expect.poll(() => tags(url, key), { interval: 5, timeout: 5_000 }).toBe(401)
  expect((await get(url, '/api/tags')).status).toBe(401)
})

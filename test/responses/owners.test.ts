import { newJobId, openGateway, ResponsesFull, type GatewayConnection } from '@drover/broker'
import { almighty, type Caller, type JobId, LOCAL, type ModelName, type Owner } from '@drover/core'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

let redis: RedisServer
let a: GatewayConnection
let b: GatewayConnection
beforeAll(async () => {
  redis = await startRedis({ roles: true })
  const open = (id: string) => openGateway(id, { url: redis.urlFor?.('gateway') ?? '', prefix: '{towners}', laneLimit: 10, onError: (error) => expect.unreachable(String(error)) })
  ;[a, b] = await Promise.all([open('a'), open('b')])
})
afterAll(async () => {
  await Promise.all([a.close(), b.close()])
  await redis.stop()
})

const caller = (owner: string): Caller => ({ ...almighty(owner as Owner), scopes: new Set(['infer']) })
const ME = caller('me')
const OTHER = caller('other')
const silent = { frame: () => undefined, lost: () => undefined }

const kept = { queued: '{"id":"r"}', input: '[{"a":1}]', background: true, streamed: false, livesMs: 60_000 }

const submitted = async (owner: Owner, previous?: JobId) => {
  const id = newJobId()
  await a.responses.keep({ id, owner, ...kept, previous }, 1_000_000)
  const follow = await a.jobs.submit({ id, owner, dialect: 'openai.responses', model: 'm:latest' as ModelName, asked: 'm', class: 'interactive', body: '{}', stream: false, slots: 1, background: true, timeoutMs: 60_000, keepMs: 60_000 }, silent)
  return { id, follow }
}

test('a response is its owner’s, and an administrator’s; for others it is not there', async () => {
  const { id, follow } = await submitted(ME.owner)
  for (const gateway of [a, b]) {
    expect(await gateway.responses.find(id, ME)).toMatchObject({ id, owner: 'me', state: 'queued', background: true, ended: undefined, input: '' })
    expect(await gateway.responses.find(id, almighty(LOCAL), { withInput: true })).toMatchObject({ id, input: kept.input })
    expect(await gateway.responses.find(id, OTHER)).toBeUndefined()
    expect(await gateway.responses.chain(id, OTHER, 1_000)).toEqual({ kind: 'gone', id })
    expect(await gateway.responses.chain(id, ME, 1_000)).toEqual({ kind: 'open', id })
    expect(await gateway.jobs.follow(id, OTHER, 1, silent)).toBeUndefined()
  }
  await follow.leave()
})

test('a conversation with a response of somebody else in it is not there', async () => {
  const first = await submitted(OTHER.owner)
  const second = await submitted(ME.owner, first.id)
  for (const [{ id }, who] of [[first, OTHER], [second, ME]] as const) {
    const found = await b.responses.find(id, who)
    expect(await b.responses.seal(found!, `{"said":"${who.owner}"}`, { keepMs: 60_000, jobMs: 1_000 })).toBe(true)
  }
  expect(await a.responses.chain(second.id, ME, 60_000)).toEqual({ kind: 'gone', id: first.id })
  expect(await a.responses.chain(second.id, almighty(LOCAL), 60_000)).toMatchObject({ kind: 'turns', turns: [{ id: first.id, response: '{"said":"other"}' }, { id: second.id, input: kept.input }] })
})

test('of two requests with one key the response that is kept is that of the first, and another request takes nothing away', async () => {
  const id = newJobId()
  const keep = (fingerprint: string, queued: string) => a.responses.keep({ id, owner: ME.owner, ...kept, queued, fingerprint }, 1_000_000)
  expect(await keep('one', '"first"')).toBe('"first"')
  expect(await keep('one', '"again"')).toBe('"first"')
  await expect(keep('two', '"other"')).rejects.toMatchObject({ code: 'key_reused' })
  await a.responses.drop({ id, owner: ME.owner }, 'two')
  expect(await b.responses.find(id, ME)).toMatchObject({ queued: '"first"' })
  await a.responses.drop({ id, owner: ME.owner }, 'one')
  expect(await b.responses.find(id, ME)).toBeUndefined()
})

test('who is first to keep how it ended is right, and a bound counts one owner’s only', async () => {
  const owner = caller('small').owner
  const { id } = await submitted(owner)
  const found = (await a.responses.find(id, caller('small')))!
  await Promise.all([a.responses.seal(found, '"first"', { keepMs: 60_000, jobMs: 1_000 }), b.responses.seal(found, '"later"', { keepMs: 60_000, jobMs: 1_000 })])
  const { ended } = (await b.responses.find(id, caller('small')))!
  await a.responses.seal(found, '"too late"', { keepMs: 60_000, jobMs: 1_000 })
  expect((await b.responses.find(id, caller('small')))?.ended).toBe(ended)
  const more = (whose: Owner, most: number) => a.responses.keep({ id: newJobId(), owner: whose, ...kept }, most)
  await expect(more(owner, 16_000)).rejects.toBeInstanceOf(ResponsesFull)
  await more(caller('empty').owner, 17_000)
  await a.responses.drop({ id, owner })
  await more(owner, 17_000)
  // What was counted aside goes with it, whatever was known of its end.
  await expect(more(owner, 17_000)).rejects.toMatchObject({ bound: 'bytes' })
})

test('a response goes when its time is over, and counts no longer', async () => {
  const owner = caller('brief')
  const { id } = await submitted(owner.owner)
  const found = (await a.responses.find(id, owner))!
  await a.responses.seal(found, '"over"', { keepMs: 40, jobMs: 40 })
  await expect.poll(() => a.responses.find(id, owner)).toBeUndefined()
  await a.responses.keep({ id: newJobId(), owner: owner.owner, ...kept }, 17_000)
})

test('a Redis that is killed and has forgotten a response is told of it again', async () => {
  const { id, follow } = await submitted(ME.owner)
  const admin = new Redis(redis.connection)
  try {
    await admin.del(`{towners}:response:${id}`, `{towners}:responses:me`, `{towners}:responses:me:bytes`)
    expect(await b.responses.find(id, ME)).toBeUndefined()
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await expect.poll(async () => (await b.responses.find(id, ME).catch(() => undefined))?.id, { timeout: 10_000 }).toBe(id)
  } finally {
    admin.disconnect()
  }
  await follow.leave()
})

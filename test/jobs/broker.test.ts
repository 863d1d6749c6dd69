import { openGateway, type GatewayConnection, type Once, type Submission } from '@drover/broker'
import { almighty, LOCAL, type Caller, type JobId, type ModelName, type Owner } from '@drover/core'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

const PREFIX = '{tkept}'

let redis: RedisServer
let admin: Redis
let a: GatewayConnection
let b: GatewayConnection
beforeAll(async () => {
  redis = await startRedis({ roles: true })
  admin = new Redis(redis.connection)
  const open = (id: string) => openGateway(id, { url: redis.urlFor?.('gateway') ?? '', prefix: PREFIX, laneLimit: 1_000, onError: (error) => expect.unreachable(String(error)) })
  ;[a, b] = await Promise.all([open('a'), open('b')])
})
afterAll(async () => {
  await Promise.all([a.close(), b.close()])
  admin.disconnect()
  await redis.stop()
})

const caller = (owner: string): Caller => ({ ...almighty(owner as Owner), scopes: new Set(['infer']) })
const silent = { frame: () => undefined, lost: () => undefined }

const order = (owner: Owner, more: Partial<Submission> = {}): Submission => ({
  owner, dialect: 'openai.chat', model: 'm:latest' as ModelName, asked: 'm', class: 'interactive', body: '{}', stream: false, slots: 1, timeoutMs: 60_000, keepMs: 60_000, mostListed: 100, ...more,
})
const waiting = async () => (await a.depths()).reduce((sum, lane) => sum + lane.waiting, 0)
/** Ids that nobody else makes. */
const onceOf = (key: string, fingerprint = 'this'): Once => ({ fingerprint, id: (turn) => `0-${Buffer.from(`${key}.${turn}`.padEnd(16, '.')).toString('base64url')}` as JobId })

test('a job is its owner’s, and an administrator’s; for others it is not there', async () => {
  const [me, other] = [caller('me'), caller('other')]
  const { id } = await a.jobs.handIn(order(me.owner))
  const theirs = await b.jobs.handIn(order(other.owner))
  for (const gateway of [a, b]) {
    expect(await gateway.kept.inspect(id, me)).toMatchObject({ id, owner: 'me', state: 'queued', ahead: { waiting: 0, running: 0 } })
    expect(await gateway.kept.inspect(id, other)).toBeUndefined()
    expect(await gateway.kept.inspect(id, almighty(LOCAL))).toMatchObject({ id })
    const ids = async (owner?: Owner) => (await gateway.kept.list({ owner, most: 10, wanted: () => true })).jobs.map((job) => job.id)
    expect(await ids(me.owner)).toEqual([id])
    expect(await ids(other.owner)).toEqual([theirs.id])
    expect((await ids()).toSorted()).toEqual([id, theirs.id].toSorted())
  }
  // Nor does it go away for who says that it is theirs.
  expect(await b.jobs.cancel(id)).toBe(true)
  expect(await b.kept.drop({ id, owner: other.owner })).toBe(false)
  expect(await a.kept.inspect(id, me)).toMatchObject({ state: 'cancelled' })
  expect(await b.kept.drop({ id, owner: me.owner })).toBe(true)
  expect(await a.kept.inspect(id, me)).toBeUndefined()
})

test('a job that a killed Redis has forgotten is handed in once more by the gateway that took it', async () => {
  const me = caller('forgotten')
  const { id } = await a.jobs.handIn(order(me.owner))
  await admin.del(...(await admin.keys(`${PREFIX}:*`)).filter((key) => key.includes(id) || key.includes(':lane:') || key.includes(':jobs:')))
  expect(await b.kept.inspect(id, me)).toBeUndefined()
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await expect.poll(async () => (await b.kept.inspect(id, me).catch(() => undefined))?.state, { timeout: 10_000 }).toBe('queued')
  expect((await b.kept.list({ owner: me.owner, most: 10, wanted: () => true })).jobs.map((job) => job.id)).toEqual([id])
})

test('a job that its owner has cancelled stays so where a killed Redis has forgotten it', async () => {
  const me = caller('regrets')
  const { id } = await a.jobs.handIn(order(me.owner))
  const all = await admin.keys(`${PREFIX}:*`)
  const before = await Promise.all(all.map(async (key) => ({ key, lives: Math.max(0, await admin.pttl(key)), value: await admin.dumpBuffer(key) })))
  expect(await b.jobs.cancel(id)).toBe(true)
  for (const { key, lives, value } of before) await admin.restore(key, lives, value, 'REPLACE')
  expect(await a.kept.inspect(id, me)).toMatchObject({ state: 'queued' })
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await expect.poll(async () => (await a.kept.inspect(id, me).catch(() => undefined))?.state, { timeout: 10_000 }).toBe('cancelled')
})

test('many submissions under one key are one job, whichever way and gateway they come', async () => {
  const me = caller('many')
  const once = onceOf('many')
  const before = await waiting()
  const follows = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const gateway = i % 2 ? a : b
    return i % 3 === 0 ? gateway.jobs.handIn(order(me.owner, { once })) : gateway.jobs.submit(order(me.owner, { once }), silent)
  }))
  expect(new Set(follows.map(({ id }) => id)).size).toBe(1)
  expect(follows.filter(({ repeated }) => !repeated).length).toBe(1)
  expect(await waiting()).toBe(before + 1)
  expect((await a.kept.list({ owner: me.owner, most: 10, wanted: () => true })).jobs.length).toBe(1)
  // It was handed in as well, so it stays when all have left.
  await Promise.all(follows.map((follow) => ('leave' in follow ? follow.leave() : undefined)))
  expect(await a.kept.inspect(follows[0]!.id, me)).toMatchObject({ state: 'queued', background: true })
})

test('another request under a key is refused and takes nothing away, on whichever gateway', async () => {
  const me = caller('refused')
  const first = await a.jobs.submit(order(me.owner, { once: onceOf('refused') }), silent)
  for (const gateway of [a, b]) {
    await expect(gateway.jobs.submit(order(me.owner, { once: onceOf('refused', 'other') }), { frame: () => expect.unreachable(), lost: () => expect.unreachable() })).rejects.toMatchObject({ code: 'key_reused', status: 422 })
    await expect(gateway.jobs.handIn(order(me.owner, { once: onceOf('refused', 'other') }))).rejects.toMatchObject({ code: 'key_reused' })
    await expect(gateway.jobs.idOf(onceOf('refused', 'other'))).rejects.toMatchObject({ code: 'key_reused' })
  }
  expect(await b.kept.inspect(first.id, me)).toMatchObject({ state: 'queued' })
  await first.leave()
  expect(await b.kept.inspect(first.id, me)).toMatchObject({ state: 'cancelled' })
})

test('after a cancel and after a deletion the next one counts, for all; so often, and no more', async () => {
  const me = caller('turns')
  const once = onceOf('turns')
  const ids: string[] = []
  for (let turn = 0; turn < 32; turn += 1) {
    const { id } = await (turn % 2 ? a : b).jobs.handIn(order(me.owner, { once }))
    expect(await a.jobs.idOf(once)).toBe(id)
    expect((await b.jobs.handIn(order(me.owner, { once }))).id).toBe(id)
    ids.push(id)
    await a.jobs.cancel(id)
    if (turn % 3 === 0) await b.kept.drop({ id, owner: me.owner })
  }
  expect(ids).toEqual(Array.from({ length: 32 }, (_, turn) => once.id(turn)))
  await expect(a.jobs.handIn(order(me.owner, { once }))).rejects.toMatchObject({ code: 'rate_limited', status: 429 })
  // The first of them are not forgotten before the last: else there would be two.
  const lives = await Promise.all(ids.map((id) => admin.pttl(`${PREFIX}:job:${id}`)))
  expect(Math.min(...lives)).toBeGreaterThan(60_000 - 10_000)
})

test('one owner’s list has its bound, which others do not feel', async () => {
  const me = caller('bound')
  const ids = []
  for (let i = 0; i < 3; i += 1) ids.push((await a.jobs.handIn(order(me.owner, { mostListed: 3 }))).id)
  await expect(b.jobs.handIn(order(me.owner, { mostListed: 3 }))).rejects.toMatchObject({ code: 'rate_limited' })
  await b.jobs.handIn(order(caller('another').owner, { mostListed: 3 }))
  await a.jobs.cancel(ids[0]!)
  expect(await a.kept.drop({ id: ids[0]!, owner: me.owner })).toBe(true)
  await b.jobs.handIn(order(me.owner, { mostListed: 3 }))
})

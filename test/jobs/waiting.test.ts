import { keys, laneOf, openGateway, openWorker } from '@drover/broker'
import { almighty, BrokerError, LOCAL, WIRE_VERSION, type JobId, type ModelName, type Owner } from '@drover/core'
import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'

const MODEL = 'm:latest' as ModelName
const LANE = laneOf(MODEL, 'interactive')
const silent = { frame: () => undefined, lost: () => undefined }

const order = (asked: string) => ({ owner: 'me' as Owner, dialect: 'openai.chat' as const, model: MODEL, asked, class: 'interactive' as const, body: '{}', stream: false, slots: 1, timeoutMs: 60_000, keepMs: 60_000 })

/** Two gateways and a worker, as processes have them; half of what they send arrives twice. */
const test = world.extend('site', async ({ redis, drover }, { onCleanup }) => {
  const settings = { prefix: drover.prefix, sendTwice: 0.5, onError: () => undefined }
  const gateway = (id: string) => openGateway(id, { ...settings, url: redis.urlFor?.('gateway') ?? redis.url, laneLimit: 1_000 })
  const [a, b, worker] = await Promise.all([gateway('a'), gateway('b'), openWorker('n', { ...settings, url: redis.urlFor?.('worker') ?? redis.url })])
  onCleanup(async () => void (await Promise.all([a.close(), b.close(), worker.close()])))
  const stateOf = async (id: Parameters<typeof a.kept.inspect>[0]) => (await a.kept.inspect(id, almighty(LOCAL)))?.state
  return { a, b, worker, stateOf }
})

test('a job that waits is wanted while somebody follows it whose gateway lives', async ({ site: { a, b } }) => {
  expect(await a.waiting.wanted(LANE, true)).toBeUndefined()
  await b.jobs.submit(order('M'), silent)
  expect(await a.waiting.wanted(LANE, true)).toEqual({ dialect: 'openai.chat', asked: 'M' })
  await b.close()
  // Whose silence says nothing yet is not judged.
  expect(await a.waiting.wanted(LANE, false)).toEqual({ dialect: 'openai.chat', asked: 'M' })
  await until('the gateway is dead', async () => (await a.waiting.wanted(LANE, true)) === undefined)
  await a.jobs.handIn(order('m:latest'))
  expect(await a.waiting.wanted(LANE, true)).toEqual({ dialect: 'openai.chat', asked: 'm:latest' })
})

test('a lane is taken away when nothing is in it, leaves nothing behind, and is there again with its next job', async ({ site: { a, b, worker }, redis, drover }) => {
  const admin = new Redis(redis.connection)
  // Whoever looks for stalled jobs just then leaves a mark that goes by itself.
  const left = async () => (await admin.keys(`${drover.prefix}:lane:*`)).filter((key) => !key.endsWith(':stalled-check'))
  const { id } = await a.jobs.handIn(order('M'))
  expect(await a.waiting.forget(LANE)).toBe(false)
  const lease = await worker.jobs.take(LANE)
  if (typeof lease === 'string') expect.unreachable(lease)
  expect([lease.job.id, await a.waiting.forget(LANE)]).toEqual([id, false])
  await lease.settle({ kind: 'completed' })
  await until('the worker is done with it', () => a.waiting.forget(LANE))
  expect([await b.depths(), await left()]).toEqual([[], []])
  expect(await a.waiting.forget(LANE)).toBe(true)
  const again = await b.jobs.handIn(order('M'))
  expect(await a.depths()).toMatchObject([{ lane: LANE, waiting: 1, running: 0 }])
  expect(await worker.jobs.take(LANE)).toMatchObject({ job: { id: again.id } })
  admin.disconnect()
})

test('jobs of a later version are read as far as they can be, and end nothing', async ({ site: { a, stateOf }, redis, drover }) => {
  const admin = new Redis(redis.connection)
  const write = (id: JobId, envelope: object) => admin.hset(keys(drover.prefix).ofLane(LANE, id), 'data', JSON.stringify(envelope))
  const [strange, later] = [await a.jobs.handIn(order('M')), await a.jobs.handIn(order('M'))]
  const envelope = JSON.parse((await admin.hget(keys(drover.prefix).ofLane(LANE, strange.id), 'data')) ?? '') as object
  await write(later.id, { ...envelope, id: later.id, v: WIRE_VERSION + 1, body: { elsewhere: true } })
  await write(strange.id, { ...envelope, v: WIRE_VERSION + 1, dialect: 'later.chat' })
  expect(await a.waiting.wanted(LANE, true)).toEqual({ asked: 'M' })
  expect(await a.waiting.refuse(LANE, () => new BrokerError('engine_failed', 'no'))).toBe(1)
  expect([await stateOf(strange.id), await stateOf(later.id)]).toEqual(['queued', 'failed'])
  await write(strange.id, { v: WIRE_VERSION + 2 })
  expect(await a.waiting.wanted(LANE, true)).toBeUndefined()
  expect(await a.waiting.refuse(LANE, () => new BrokerError('engine_failed', 'no'))).toBe(0)
  admin.disconnect()
})

test('all that wait are ended with their reasons, and what somebody has taken goes on', async ({ site: { a, b, worker, stateOf } }) => {
  const taken = await a.jobs.handIn(order('taken'))
  const lease = await worker.jobs.take(LANE)
  expect(lease).toMatchObject({ job: { id: taken.id } })
  const jobs = await Promise.all(Array.from({ length: 250 }, (_, i) => [a, b][i % 2]!.jobs.handIn(order(`m${i}`))))
  const [left] = jobs
  await a.jobs.cancel(left!.id)
  const refuse = (gateway: typeof a) => gateway.waiting.refuse(LANE, ({ asked }) => new BrokerError('model_not_found', `model '${asked}' not found`))
  await Promise.all([refuse(a), refuse(b)])
  expect((await a.depths()).map(({ waiting, running }) => [waiting, running])).toEqual([[0, 1]])
  expect([await stateOf(taken.id), await stateOf(left!.id)]).toEqual(['running', 'cancelled'])
  for (const [i, { id }] of jobs.slice(1).entries())
    expect(await a.kept.inspect(id, almighty(LOCAL))).toMatchObject({ state: 'failed', attempts: 0, record: { error: { code: 'model_not_found', message: `model 'm${i + 1}' not found` } } })
})

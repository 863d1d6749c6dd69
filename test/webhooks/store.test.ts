import { expect, onTestFinished } from 'vitest'
import { openGateway, type GatewayConnection } from '../../libs/broker/src/index.ts'
import { almighty, type Caller, type Owner } from '@drover/core'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'

const SECRET = `whsec_${Buffer.alloc(24, 1).toString('base64')}`
const [ANNA, BERT] = ['anna', 'bert'] as Owner[] as [Owner, Owner]
const callerOf = (owner: Owner): Caller => ({ ...almighty(owner), scopes: new Set(['infer']) })
const NOTHING = { webhooks: new Map<string, number>(), owners: new Map<string, number>() }
const ROOMY = { leaseMs: 60_000, most: 2_000, mostOfWebhook: 2_000, mostOfOwner: 2_000, underWay: NOTHING }

/** What a gateway says to Redis, without a gateway that would tell anybody. Most scripts are sent twice, or more often. */
const test = world.extend('store', async ({ redis, drover }, { onCleanup }) => {
  const errors: unknown[] = []
  const broker: GatewayConnection = await openGateway('test', { url: redis.urlFor?.('gateway') ?? redis.url, prefix: drover.prefix, laneLimit: 10, sendTwice: 0.8, onError: (error) => errors.push(error) })
  onCleanup(async () => {
    await broker.close()
    expect(errors).toEqual([])
  })
  return broker.webhooks
})

type Store = GatewayConnection['webhooks']
const add = async (store: Store, owner: Owner, events: Parameters<Store['add']>[0]['events'] = []) => (await store.add({ owner, url: 'https://example.com/', events, secret: SECRET }))!

/** Hands on all that has ended, and claims as much as the options say. */
const claimed = async (store: Store, options: Partial<typeof ROOMY> = {}) => {
  while ((await store.dispatch({ ...ROOMY, most: 0 })).more);
  return (await store.dispatch({ ...ROOMY, ...options })).claims
}

test('what is claimed is claimed once, though scripts are sent twice, and is answered for once', async ({ store }) => {
  const { id } = await add(store, ANNA)
  await store.emit({ type: 'batch.completed', owner: ANNA, id: 'b1' })
  const [claim, ...more] = await claimed(store)
  expect(more).toEqual([])
  expect(claim).toMatchObject({ webhook: id, owner: ANNA, event: 'msg_b1', type: 'batch.completed', data: '{"id":"b1"}', secret: SECRET, tries: 1, step: 0 })
  expect(await claimed(store)).toEqual([])
  await store.answer(claim!, { kind: 'retry', status: 500, reason: 'answered 500', delayMs: 0 })
  const [again] = await claimed(store)
  expect(again).toMatchObject({ event: 'msg_b1', tries: 2, step: 1, at: claim!.at })
  await store.answer(again!, { kind: 'delivered', status: 200 })
  expect(await claimed(store)).toEqual([])
  expect(await store.deliveries(id, 10)).toEqual([{ event: 'msg_b1', type: 'batch.completed', state: 'delivered', at: claim!.at, tries: 2, lastAt: expect.any(Number) as number, status: 200 }])
})

test('a claim that nobody answers for is taken by another, and the first one’s late word changes nothing', async ({ store }) => {
  const { id } = await add(store, ANNA)
  await store.emit({ type: 'batch.failed', owner: ANNA, id: 'b2' })
  const [first] = await claimed(store, { leaseMs: 1 })
  let second: typeof first
  await until('the claim is free', async () => (second = (await claimed(store))[0]) !== undefined)
  expect(second).toMatchObject({ event: 'msg_b2', tries: 2 })
  await store.answer(first!, { kind: 'delivered', status: 200 })
  expect(await store.delivery(id, 'msg_b2')).toMatchObject({ state: 'pending', tries: 2 })
})

test('a try that was not made is not counted', async ({ store }) => {
  await add(store, ANNA)
  await store.emit({ type: 'batch.failed', owner: ANNA, id: 'b3' })
  const [first] = await claimed(store)
  await store.answer(first!, { kind: 'returned' })
  expect(await claimed(store)).toMatchObject([{ event: 'msg_b3', tries: 1, step: 0 }])
})

test('an event goes to the webhooks of its owner that want its type, and to no other', async ({ store }) => {
  const [all, some] = [await add(store, ANNA), await add(store, ANNA, ['batch.failed', 'job.failed'])]
  const foreign = await add(store, BERT)
  await store.emit({ type: 'batch.completed', owner: ANNA, id: 'c1' })
  await store.emit({ type: 'batch.failed', owner: ANNA, id: 'c2' })
  await store.emit({ type: 'batch.failed', owner: 'carl' as Owner, id: 'c3' })
  expect((await claimed(store)).map(({ webhook, event }) => [webhook, event]).toSorted()).toEqual([[all.id, 'msg_c1'], [all.id, 'msg_c2'], [some.id, 'msg_c2']].toSorted())
  expect((await store.list(callerOf(ANNA))).map(({ id }) => id)).toEqual(expect.arrayContaining([all.id, some.id]))
  expect((await store.list(callerOf(BERT))).map(({ id }) => id)).toEqual([foreign.id])
  expect(await store.list(callerOf('carl' as Owner))).toEqual([])
  expect(await store.list(almighty('carl' as Owner))).toHaveLength(3)
})

test('a webhook and an owner have so many under way and no more; others have theirs', async ({ store }) => {
  const webhooks = [await add(store, ANNA), await add(store, ANNA), await add(store, BERT)]
  for (let i = 0; i < 5; i += 1) for (const owner of [ANNA, BERT]) await store.emit({ type: 'batch.completed', owner, id: `${owner}${i}` })
  const first = await claimed(store, { mostOfWebhook: 2, mostOfOwner: 3 })
  const of = (id: string) => first.filter(({ webhook }) => webhook === id).length
  expect(webhooks.map(({ id }) => of(id)).slice(0, 2).toSorted()).toEqual([1, 2])
  expect(of(webhooks[2]!.id)).toBe(2)
  const underWay = { webhooks: new Map(webhooks.map(({ id }) => [id, of(id)])), owners: new Map([[ANNA, 3], [BERT, 2]]) }
  expect(await claimed(store, { mostOfWebhook: 2, mostOfOwner: 3, underWay })).toEqual([])
  expect((await claimed(store, { mostOfWebhook: 3, mostOfOwner: 3, underWay })).map(({ webhook }) => webhook)).toEqual([webhooks[2]!.id])
})

test('of more than 10,000 that wait the new ones are dropped and counted, and the last 1,000 that are over are kept', { timeout: 120_000 }, async ({ store }) => {
  const { id } = await add(store, ANNA)
  for (let i = 0; i < 10_050; i += 150) await Promise.all(Array.from({ length: 150 }, (_, j) => store.emit({ type: 'batch.completed', owner: ANNA, id: `m${i + j}` })))
  const claims = await claimed(store, { most: 1_200 })
  expect(claims).toHaveLength(1_200)
  expect(await store.find(id)).toMatchObject({ lost: 50 })
  for (const claim of claims) await store.answer(claim, { kind: 'delivered', status: 200 })
  const over = (await store.deliveries(id, 1_000)).filter(({ state }) => state === 'delivered')
  expect(over).toHaveLength(1_000)
  expect(over.map(({ event }) => event).toSorted()).toEqual(claims.slice(200).map(({ event }) => event).toSorted())
  expect(await store.delivery(id, claims[0]!.event)).toBe(undefined)
})

test('of a deleted webhook nothing is left but what the clock takes', async ({ store, redis, drover }) => {
  const webhook = await add(store, ANNA)
  await store.emit({ type: 'batch.completed', owner: ANNA, id: 'd1' })
  await store.emit({ type: 'batch.completed', owner: ANNA, id: 'd2' })
  const [claim] = await claimed(store, { most: 1 })
  await store.remove(webhook)
  await store.answer(claim!, { kind: 'retry', delayMs: 0 })
  await store.emit({ type: 'batch.completed', owner: ANNA, id: 'd3' })
  expect(await claimed(store)).toEqual([])
  const { Redis } = await import('ioredis')
  const look = new Redis(redis.connection)
  onTestFinished(() => look.disconnect())
  const left = (await look.keys(`${drover.prefix}:*`)).map((key) => key.slice(drover.prefix.length + 1)).filter((key) => !/^(gateway|wire|sweep)/.test(key))
  expect([...new Set(left.map((key) => key.replace(/:.*/, '')))]).toEqual(['claimed'])
})

import { keyHash, openGateway, type GatewayConnection } from '@drover/broker'
import { BrokerError, KeyWish, type Entrance } from '@drover/core'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

let redis: RedisServer
let admin: Redis
let gateways: [GatewayConnection, GatewayConnection]
beforeAll(async () => {
  redis = await startRedis({ roles: true })
  admin = new Redis(redis.connection)
  const open = (id: string) => openGateway(id, { url: redis.urlFor?.('gateway') ?? '', prefix: '{tkeepers}', laneLimit: 10, onError: (error) => expect.unreachable(String(error)) })
  gateways = await Promise.all([open('a'), open('b')])
})
afterAll(async () => {
  await Promise.all(gateways.map((gateway) => gateway.close()))
  admin.disconnect()
  await redis.stop()
})

const LOOPBACK: Entrance = { hasOperator: false, opensWithoutKeys: true }
const OPERATED: Entrance = { hasOperator: true, opensWithoutKeys: false }
const ADMIN = KeyWish.parse({ name: 'admin', scopes: ['admin'] })
const APP = KeyWish.parse({ name: 'app' })

/** What became of things that were done in the same moment, in order. */
const together = async (...work: Promise<unknown>[]) =>
  (await Promise.allSettled(work)).map((each) => (each.status === 'fulfilled' ? 'done' : each.reason instanceof BrokerError ? each.reason.status : each.reason))
const scopesLeft = async (): Promise<string[]> => {
  await gateways[0].apiKeys.refresh()
  return gateways[0].apiKeys.all.flatMap(({ scopes }) => scopes)
}
/** The same race, until whoever could lose it has lost it. */
const rounds = async (round: ([a, b]: typeof gateways) => Promise<void>) => {
  for (let i = 0; i < 20; i += 1) {
    await round(gateways)
    await gateways[0].apiKeys.refresh()
    for (const { id } of gateways[0].apiKeys.all) await gateways[0].keyChanges.revoke(id, OPERATED)
  }
}

test('two gateways that revoke the last two keys that manage keys, in the same moment, leave one', async () => {
  await rounds(async ([a, b]) => {
    const [first, second] = [await a.keyChanges.add(ADMIN, LOOPBACK), await b.keyChanges.add(ADMIN, LOOPBACK)]
    await a.keyChanges.add(APP, LOOPBACK)
    expect((await together(a.keyChanges.revoke(first.key.id, LOOPBACK), b.keyChanges.revoke(second.key.id, LOOPBACK))).toSorted()).toEqual([409, 'done'])
    expect((await scopesLeft()).toSorted()).toEqual(['admin', 'batch', 'infer'])
  })
})

test('the last key of all is revoked, or a first one beside it is made, but not both', async () => {
  await rounds(async ([a, b]) => {
    const { key } = await a.keyChanges.add(ADMIN, LOOPBACK)
    const [made, revoked] = await together(a.keyChanges.add(APP, LOOPBACK), b.keyChanges.revoke(key.id, LOOPBACK))
    expect([['done', 409], [409, 'done']]).toContainEqual([made, revoked])
    expect((await scopesLeft()).includes('admin')).toBe(made === 'done')
  })
})

test('what a killed Redis has forgotten of the keys is told again by the gateway that has told it', async () => {
  const [a, b] = gateways
  const { key, text } = await a.keyChanges.add(ADMIN, LOOPBACK)
  const { key: revoked, text: stolen } = await a.keyChanges.add(APP, LOOPBACK)
  const before = await admin.hgetall('{tkeepers}:apikeys')
  const { text: given } = (await a.keyChanges.rotate(key.id, 0))!
  expect(await a.keyChanges.revoke(revoked.id, LOOPBACK)).toBe(true)
  await admin.hset('{tkeepers}:apikeys', before)
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  const opens = (secret: string): boolean => {
    try {
      return b.apiKeys.identify(keyHash(secret)).owner !== ''
    } catch {
      return false
    }
  }
  await expect.poll(async () => {
    await b.apiKeys.refresh()
    return [text, stolen, given].map(opens)
  }, { timeout: 10_000 }).toEqual([false, false, true])
  await a.keyChanges.revoke(key.id, LOOPBACK)
})

test('what is not answered in time is refused, and a key of which nobody has the secret does not stay', async () => {
  const [a, b] = gateways
  await a.apiKeys.refresh()
  redis.signal('SIGSTOP')
  const refused = await together(a.keyChanges.add(ADMIN, LOOPBACK), b.keyChanges.revoke('k1', LOOPBACK))
  redis.signal('SIGCONT')
  expect(refused).toEqual([503, 503])
  await b.apiKeys.refresh()
  expect(b.apiKeys.all).toEqual([])
})

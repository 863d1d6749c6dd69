import { statSync, truncateSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openWorker, type Loan, type LoanAsk, type LoanState, type WorkerConnection } from '@drover/broker'
import { WIRE_VERSION, type ModelName, type NodeRecord } from '@drover/core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { until } from '../support/drover.ts'
import { appendedTo, startRedis, type RedisServer } from '../support/redis-server.ts'

const GIB = 2 ** 30
const TOTAL = 8 * GIB

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis({ roles: true })
})
afterAll(() => redis.stop())

/** One that has been away, or has only just come, judges nobody so long, ms. */
const JUDGE_AFTER_MS = 5_000

const recordOf = (id: string): NodeRecord => ({
  v: WIRE_VERSION, id, version: '0', engines: [], labels: {}, preference: 0, draining: false, gpus: [], startedAt: 0,
  lending: { address: '127.0.0.1', devices: [{ name: 'CPU', kind: 'cpu', total: TOTAL, free: TOTAL }] },
})

/** Nodes of one installation, by the rights of workers; each says that it lives until it is silenced. */
const nodes = async <const Name extends string>(server: RedisServer, names: readonly Name[]) => {
  const prefix = `{t${Math.random().toString(36).slice(2)}}`
  const open = async (name: string) => {
    const connection = await openWorker(name, { url: server.urlFor?.('worker') ?? server.url, prefix, onError: () => undefined })
    const live = () => connection.registry.nodeLives(recordOf(name), connection.instance)
    await live()
    const timer = setInterval(() => void live().catch(() => undefined), 500)
    connection.onReady(() => void live().catch(() => undefined))
    const silence = () => clearInterval(timer)
    onTestFinished(async () => {
      silence()
      await connection.close()
    })
    return Object.assign(connection, { silence })
  }
  const all = await Promise.all(names.map(open))
  return { ...(Object.fromEntries(names.map((name, i) => [name, all[i]])) as Record<Name, (typeof all)[number]>), also: open }
}

const asking = (gib: number, more: Partial<LoanAsk> = {}): LoanAsk => ({ lender: 'l', device: 'CPU', bytes: gib * GIB, model: 'm:1' as ModelName, cluster: 'c1', own: false, ...more })

const stateOf = async ({ loans }: WorkerConnection, loan: Loan): Promise<LoanState> => (await loans.renew([loan]))[0]!.state

/** Renews it four times a second until the test is over or it is let go; hears whatever is news. */
const holding = ({ loans }: WorkerConnection, loan: Loan) => {
  const heard: string[] = []
  const look = () =>
    void loans.renew([loan]).then(([renewed]) => {
      if (renewed && heard.at(-1) !== renewed.state.state) heard.push(renewed.state.state)
    }, () => undefined)
  const timer = setInterval(look, 250)
  const letGo = () => clearInterval(timer)
  onTestFinished(letGo)
  look()
  return { heard, letGo }
}

test('a loan goes from asked to ready to released, and both sides are told at once', async () => {
  const { l, a } = await nodes(redis, ['l', 'a'])
  let asked = 0
  let news = 0
  l.loans.onAsked(() => (asked += 1))
  a.loans.onNews(() => (news += 1))
  const loan = await a.loans.borrow(asking(2))
  await until('the lender is told', () => asked === 1)
  expect(await stateOf(a, loan)).toEqual({ state: 'asked' })
  const [seen] = await l.loans.mine()
  expect(seen).toMatchObject({ id: loan.id, token: loan.token, device: 'CPU', bytes: 2 * GIB, model: 'm:1', by: 'a', cluster: 'c1', own: false, state: 'asked' })
  expect(await l.loans.ready(loan.id, 'another', 1234)).toBe(false)
  expect(await l.loans.ready(loan.id, loan.token, 1234)).toBe(true)
  await until('the borrower is told', () => news === 1)
  expect(await stateOf(a, loan)).toEqual({ state: 'ready', port: 1234 })
  await a.loans.release([loan])
  await until('the lender is told again', () => asked === 2)
  expect(await l.loans.mine()).toEqual([])
  expect(await stateOf(a, loan)).toEqual({ state: 'gone' })
  await a.loans.release([loan])
  expect(await l.loans.ready(loan.id, loan.token, 1234)).toBe(false)
})

test('a lender that cannot is heard with its reason, and the memory is free again', async () => {
  const { l, a } = await nodes(redis, ['l', 'a'])
  const loan = await a.loans.borrow(asking(8))
  expect(await l.loans.failed(loan.id, loan.token, 'out of memory')).toBe(true)
  expect(await stateOf(a, loan)).toEqual({ state: 'failed', reason: 'out of memory' })
  expect(await l.loans.mine()).toEqual([])
  await a.loans.borrow(asking(8))
})

test('of those who race for the last bytes some get them, and never more than there are', async () => {
  const { l, a, b } = await nodes(redis, ['l', 'a', 'b'])
  const all = await Promise.allSettled(Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? a : b).loans.borrow(asking(1))))
  const granted = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  expect(granted).toHaveLength(8)
  expect((await l.loans.mine()).reduce((sum, { bytes }) => sum + bytes, 0)).toBe(TOTAL)
  const refused = all.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []))
  expect(new Set(refused)).toEqual(new Set([`BrokerError: node l was asked for ${GIB} bytes of CPU and has 0 to lend`]))
})

test('who is not there, or does not lend that, is not borrowed from; a node that lends nothing may still count what it uses itself', async () => {
  const { a, also } = await nodes(redis, ['l', 'a'])
  await expect(a.loans.borrow(asking(1, { lender: 'nobody' }))).rejects.toThrow('node nobody is not there to lend memory')
  await expect(a.loans.borrow(asking(1, { device: 'CUDA0' }))).rejects.toThrow('node l lends no memory of CUDA0')
  const alone = await also('alone')
  const own = await alone.loans.borrow(asking(1, { lender: 'alone', device: 'CUDA0', own: true }))
  expect(await alone.loans.mine()).toMatchObject([{ id: own.id, own: true }])
})

test('a loan that nobody renews is over after five seconds, and its borrower cannot bring it back', async () => {
  const { l, a, b } = await nodes(redis, ['l', 'a', 'b'])
  const kept = await a.loans.borrow(asking(2))
  const left = await b.loans.borrow(asking(6))
  const { heard } = holding(a, kept)
  const begun = performance.now()
  await until('it is over', async () => (await l.loans.mine()).length === 1, 12_000)
  expect(performance.now() - begun).toBeGreaterThan(4_900)
  expect(await l.loans.mine()).toMatchObject([{ id: kept.id }])
  expect(await stateOf(b, left)).toEqual({ state: 'gone' })
  expect(heard).toEqual(['asked'])
  await a.loans.borrow(asking(6))
})

test('a silent lender’s loans are gone, and stay so when it speaks again', async () => {
  const { l, a, also } = await nodes(redis, ['l', 'a'])
  const loan = await a.loans.borrow(asking(2))
  await l.loans.ready(loan.id, loan.token, 1234)
  const { heard } = holding(a, loan)
  await sleep(JUDGE_AFTER_MS + 500)
  l.silence()
  await until('its silence is noticed', () => heard.at(-1) === 'gone', 8_000)
  await l.close()
  const again = await also('l')
  expect(await again.loans.mine()).toEqual([])
  expect(await stateOf(a, loan)).toEqual({ state: 'gone' })
})

test('whoever is short of memory is heard by the others, for a while', async () => {
  const { a, b } = await nodes(redis, ['l', 'a', 'b'])
  const [ofA, ofB] = [await a.loans.borrow(asking(2)), await b.loans.borrow(asking(2, { cluster: 'c2' }))]
  let news = 0
  a.loans.onNews(() => (news += 1))
  await b.loans.want(['l'], 'c2')
  await until('it is told', () => news === 1)
  expect(await a.loans.renew([ofA])).toMatchObject([{ wanted: true }])
  expect(await b.loans.renew([ofB])).toMatchObject([{ wanted: false }])
})

/** Redis is killed; what was written in `forgetting` had not reached its disk. */
const killed = async (server: RedisServer, downMs: number, forgetting?: () => Promise<void>): Promise<void> => {
  const file = appendedTo(server.dir)
  const kept = statSync(file).size
  await forgetting?.()
  await server.kill()
  if (forgetting) truncateSync(file, kept)
  await sleep(downMs)
  await server.restart()
}

const ownRedis = async (): Promise<RedisServer> => {
  const server = await startRedis()
  onTestFinished(() => server.stop())
  return server
}

test('a Redis that was away for longer than a loan lives ends none', async () => {
  const server = await ownRedis()
  const { l, a } = await nodes(server, ['l', 'a'])
  const loan = await a.loans.borrow(asking(2))
  await l.loans.ready(loan.id, loan.token, 1234)
  const { heard } = holding(a, loan)
  await until('it is known to be ready', () => heard.at(-1) === 'ready')
  await sleep(JUDGE_AFTER_MS)
  await killed(server, 7_000)
  for (const end = performance.now() + JUDGE_AFTER_MS + 2_000; performance.now() < end; await sleep(200)) {
    const mine = await l.loans.mine().catch(() => undefined)
    if (mine) expect(mine).toMatchObject([{ id: loan.id, state: 'ready', port: 1234 }])
  }
  expect(heard).toEqual(['ready'])
})

test('a Redis that has forgotten a loan is told of it again, before anybody else has its memory', async () => {
  const server = await ownRedis()
  const { l, a, b } = await nodes(server, ['l', 'a', 'b'])
  await sleep(JUDGE_AFTER_MS)
  let loan: Loan | undefined
  let heard: string[] = []
  await killed(server, 100, async () => {
    loan = await a.loans.borrow(asking(6))
    await l.loans.mine()
    await l.loans.ready(loan.id, loan.token, 1234)
    heard = holding(a, loan).heard
    await until('it is known to be ready', () => heard.at(-1) === 'ready')
  })
  const [taken, mine] = await Promise.all([b.loans.borrow(asking(6)).catch(String), l.loans.mine()])
  expect(mine).toMatchObject([{ id: loan?.id }])
  expect(taken).toContain('was asked for')
  await until('it is in the ledger again', async () => (await l.loans.mine())[0]?.state === 'asked')
  expect(await l.loans.ready(loan!.id, loan!.token, 1234)).toBe(true)
  await sleep(1_000)
  expect(heard).toEqual(['ready'])
  // Another process on another port has not the weights.
  expect(await l.loans.ready(loan!.id, loan!.token, 4321)).toBe(true)
  await until('that is noticed', () => heard.at(-1) === 'gone')
})

test('a loan that Redis forgot was given back is not believed by a lender that had heard so', async () => {
  const server = await ownRedis()
  const { l, a } = await nodes(server, ['l', 'a'])
  const loan = await a.loans.borrow(asking(6))
  await l.loans.ready(loan.id, loan.token, 1234)
  await killed(server, 100, async () => {
    await a.loans.release([loan])
    expect(await l.loans.mine()).toEqual([])
  })
  // It is there once more, until its time is over or its lender says that it has ended the process.
  await until('Redis is back', async () => (await l.loans.mine().catch(() => [])).length === 1)
  expect(await l.loans.failed(loan.id, loan.token, 'given back')).toBe(true)
  expect(await l.loans.mine()).toEqual([])
})

test('every call sent twice is as good as once', async () => {
  const prefix = `{t${Math.random().toString(36).slice(2)}}`
  const connection = await openWorker('l', { url: redis.url, prefix, sendTwice: 0.8, onError: () => undefined })
  onTestFinished(() => connection.close())
  await connection.registry.nodeLives(recordOf('l'), connection.instance)
  const loan = await connection.loans.borrow(asking(8))
  expect(await connection.loans.mine()).toHaveLength(1)
  expect(await connection.loans.ready(loan.id, loan.token, 1)).toBe(true)
  expect(await stateOf(connection, loan)).toEqual({ state: 'ready', port: 1 })
  expect(await connection.loans.failed(loan.id, loan.token, 'x')).toBe(true)
  await connection.loans.release([loan])
  expect(await connection.loans.mine()).toEqual([])
})

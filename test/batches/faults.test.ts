import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { Installation, until, type Gateway } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'
import { startS3 } from '../support/s3-server.ts'
import { expectAccounted } from './accounts.ts'
import { chatLine, clientOf, ended, expectAnswers, expectOnce, resultsOf, submit } from './lines.ts'
import { bucketPlace, folderPlace, KINDS, type PlaceKind } from './places.ts'

vi.setConfig({ testTimeout: 150_000 })

const LINES = 240
const ids = Array.from({ length: LINES }, (_, i) => `f${i}`)

/** Gateways that share a place for files, three nodes whose answers take a while, and a batch in the hands of the first gateway: it is told of it, the others look once a second. */
const site = async (kind: PlaceKind, others = 1, env: Record<string, string> = {}) => {
  const redis = await startRedis()
  const s3 = kind === 'bucket' ? await startS3(redis.dir) : undefined
  const place = s3 ? bucketPlace(s3) : await folderPlace(redis.dir)
  const installation = new Installation(redis.url, { DROVER_DRAIN_LIMIT: '500ms', ...place.env, ...env })
  const engines = await Promise.all([0, 1, 2].map(() => spawnScriptedEngine({ slots: 2, script: { tokens: 6, first_ms: 150 } })))
  onTestFinished(async () => {
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
    await s3?.stop()
    await redis.stop()
  })
  const first = await installation.gateway({ DROVER_ID: 'first' })
  await Promise.all(engines.map(({ url }, i) => installation.worker(`n${i}`, [{ url, slots: 2 }], { gateway: first })))
  const rest = await Promise.all(Array.from({ length: others }, (_, i) => installation.gateway({ DROVER_ID: `other${i}` })))
  const { id } = await submit(clientOf(first.url), ids.map((each) => chatLine(each, { script: 'tokens=6 first_ms=150' })).join(''))
  const answered = async (gateway: Gateway) => (await clientOf(gateway.url).batches.retrieve(id).catch(() => undefined))?.request_counts?.completed ?? 0
  await until('some are answered', async () => (await answered(first)) >= 20)
  const done = async (gateway: () => Gateway) => {
    const batch = await ended(() => clientOf(gateway().url), id, 120_000)
    const results = await resultsOf(clientOf(gateway().url), batch)
    expect(batch.status).toBe('completed')
    expectOnce(batch, results, ids)
    expectAnswers(results.output, 6)
    expect(results.errors).toEqual([])
    await expectAccounted(redis, installation.prefix, place)
    const all = await Promise.all(engines.map(async (engine) => Object.values((await engine.admin.stats()).jobs)))
    return { runs: all.flat().reduce((sum, { requests }) => sum + requests, 0) }
  }
  /** Whose lease the batch is; null: nobody's. */
  const holder = async () => {
    const direct = new Redis(redis.connection)
    return direct.hget(`${installation.prefix}:batch:${id}`, 'tok').finally(() => direct.disconnect())
  }
  return { redis, s3, first, second: rest[0]!, rest, answered, done, holder }
}

describe.for(KINDS)('files in a %s', (kind) => {
  test('a gateway that is killed in mid-batch is followed by another one, and every request is answered once', async () => {
    const { first, second, answered, done } = await site(kind)
    first.signal('SIGKILL')
    await first.exited
    const before = await answered(second)
    expect(before).toBeLessThan(LINES)
    const { runs } = await done(() => second)
    // Jobs that were under way have been joined, not run again.
    expect(runs).toBe(LINES)
  })

  test('a gateway that freezes and wakes when another has taken over writes nothing that counts', async () => {
    const { first, second, answered, done } = await site(kind)
    first.signal('SIGSTOP')
    const before = await answered(second)
    await until('the other goes on', async () => (await answered(second)) > before)
    first.signal('SIGCONT')
    const { runs } = await done(() => second)
    expect(runs).toBeLessThan(LINES + 30)
  })

  test('gateways killed one after the other, as soon as each has begun, lose and repeat nothing', async () => {
    const { first, rest, answered, done } = await site(kind, 3)
    for (const [i, gateway] of [first, ...rest.slice(0, 2)].entries()) {
      gateway.signal('SIGKILL')
      const before = await answered(rest[i]!)
      await until('another goes on', async () => (await answered(rest[i]!)) > before)
    }
    await done(() => rest[2]!)
  })

  test('a gateway that is stopped hands its batch on at once', async () => {
    const { first, second, answered, done, holder } = await site(kind)
    const [before, its] = [await answered(second), await holder()]
    expect(its).not.toBe(null)
    await first.stop()
    // It has given its lease back: nobody waits until that is over.
    expect(await holder()).not.toBe(its)
    await until('the other goes on', async () => (await answered(second)) > before)
    const { runs } = await done(() => second)
    expect(runs).toBe(LINES)
  })

  test('Redis killed and started again in mid-batch loses and repeats no result, also when every script is sent twice now and then', async () => {
    const { redis, first, done } = await site(kind, 0, { DROVER_SEND_TWICE: '0.3' })
    for (let i = 0; i < 3; i += 1) {
      await sleep(300 + Math.random() * 500)
      await redis.kill()
      await sleep(Math.random() * 300)
      await redis.restart()
    }
    await done(() => first)
  })
})

test('a store that is killed in mid-batch is waited for, and then nothing is asked of an engine twice', async () => {
  const { s3, first, second, answered, done } = await site('bucket', 1)
  await s3?.kill()
  // Whoever runs the batch has found that out when nothing of it is written any more; what was written before still counts.
  await until('it is told', () => [first, second].some((gateway) => gateway.log().includes('the store of files cannot be used')))
  await sleep(1_000)
  const before = await answered(first)
  // Longer than a lease: whoever runs the batch keeps it.
  await sleep(6_000)
  expect(await answered(first)).toBe(before)
  await s3?.restart()
  const { runs } = await done(() => first)
  expect(runs).toBe(LINES)
})

import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

/** `limit`: sets Redis' memory limit to what it uses now, times so much; 0: none. `info`: one number of its INFO. */
const test = world.extend('memory', async ({ redis }, { onCleanup }) => {
  const owner = new Redis(redis.connection)
  onCleanup(async () => {
    await owner.config('SET', 'maxmemory', '0')
    owner.disconnect()
  })
  const info = async (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(await owner.info())?.[1])
  const limit = async (times: number) => void (await owner.config('SET', 'maxmemory', String(times === 0 ? 0 : Math.max(1, Math.round((await info('used_memory')) * times)))))
  return { info, limit }
})

const ready = async (url: string) => send(`${url}/readyz`, { method: 'GET' })

test('from a share of its limit on Redis takes no new work, and what is there is done; it recovers by itself', async ({ drover, memory, scripted }) => {
  const engine = await scripted({ slots: 2 })
  const gateway = await drover.gateway()
  await drover.worker('n1', [engine.url], { gateway, env: { DROVER_SLOTS: '2' } })
  const accepted = Array.from({ length: 6 }, (_, i) => ask(gateway.url, 'ollama.chat', { key: `a${i}`, script: { tokens: 30, rate: 60 } }))
  await until('all are accepted', async () => (await statusOf(gateway.url)).gateway.following === 6)
  await memory.limit(1.05)
  await until('the gateway has seen it', async () => (await ready(gateway.url)).status === 503)
  expect((await ready(gateway.url)).text).toMatch(/memory/)
  expect((await statusOf(gateway.url)).redis).toMatchObject({ memory_full: true })
  expect((await send(`${gateway.url}/metrics`, { method: 'GET' })).text).toMatch(/redis_memory_full 1/)
  for (const { dialect, stream } of BOTH_WAYS) {
    const answer = await post(gateway.url, dialect, smallest(dialect, 'job=refused', { stream }))
    expect([answer.status, Number(answer.headers['retry-after']) > 1]).toEqual([503, true])
    expect(errorTextOf(dialect, answer)).toMatch(/busy.*memory/)
  }
  for (const { told } of accepted) expect(await told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 30 } })
  await memory.limit(0)
  await until('the gateway takes requests', async () => (await ready(gateway.url)).status === 200)
  expect(await ask(gateway.url, 'openai.chat', { key: 'after', script: { tokens: 3 } }).told).toMatchObject({ status: 200, ended: true })
  expect((await engine.admin.job('refused')).requests).toBe(0)
  const log = gateway.log().match(/little memory|memory again/g)
  expect(log).toEqual(['little memory', 'memory again'])
})

test('at its limit Redis refuses new jobs only: those that run and wait end, are cancelled and come back from workers that leave', async ({ drover, memory, scripted }) => {
  const engines = [await scripted({ slots: 2 }), await scripted({ slots: 2 })] as const
  const gateway = await drover.gateway({ DROVER_TIMEOUT: '30s' })
  const [first] = [await drover.worker('n1', [engines[0].url], { gateway, env: { DROVER_SLOTS: '2', DROVER_DRAIN_LIMIT: '100ms' } })]
  const accepted = Array.from({ length: 12 }, (_, i) =>
    ask(gateway.url, i % 2 === 0 ? 'ollama.chat' : 'openai.chat', { key: `a${i}`, stream: i % 3 > 0, script: { tokens: 40, rate: 40 } }),
  )
  const leaves = ask(gateway.url, 'ollama.chat', { key: 'leaves' })
  leaves.told.catch(() => undefined)
  await until('all are accepted', async () => (await statusOf(gateway.url)).gateway.following === 13)
  await drover.worker('n2', [engines[1].url], { gateway, env: { DROVER_SLOTS: '2' } })
  await memory.limit(0.5)
  // Before the gateway has looked, it hears it from Redis itself.
  const since = performance.now()
  const refused = await Promise.all(BOTH_WAYS.map(async ({ dialect, stream }) => ({ dialect, answer: await post(gateway.url, dialect, smallest(dialect, 'job=refused', { stream })) })))
  expect(performance.now() - since).toBeLessThan(2_000)
  for (const { dialect, answer } of refused) {
    expect([answer.status, Number(answer.headers['retry-after']) > 1]).toEqual([503, true])
    expect(errorTextOf(dialect, answer)).toMatch(/busy.*memory/)
  }
  leaves.leave()
  // What this one has not finished goes back to the lane.
  await first.stop()
  for (const { told } of accepted) expect(await told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 40 } })
  expect(await memory.info('used_memory')).toBeGreaterThan(await memory.info('maxmemory'))
  expect((await statusOf(gateway.url)).nodes.map(({ id }) => id)).toEqual(['n2'])
  await memory.limit(0)
  await until('the gateway takes requests', async () => (await ready(gateway.url)).status === 200)
  expect(await ask(gateway.url, 'ollama.chat', { key: 'after', script: { tokens: 3 } }).told).toMatchObject({ status: 200, ended: true })
  await until('nothing is left in the lane', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running, bytes }) => waiting === 0 && running === 0 && bytes === 0))
  for (const { admin } of engines) expect((await admin.job('refused')).requests + (await admin.job('leaves')).requests).toBe(0)
  expect(await memory.info('evicted_keys')).toBe(0)
})

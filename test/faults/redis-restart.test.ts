import { expect, onTestFinished, test } from 'vitest'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { ask, type Told } from '../support/client.ts'
import { Installation, statusOf, until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'

const RESTARTS = 30
const STREAMS = 24
const TOKENS = 150

/** Streams go on, one after the other in each of `STREAMS` places, while `disturb` does its worst. */
const underFire = async (env: Record<string, string>, disturb: (redis: Awaited<ReturnType<typeof startRedis>>) => Promise<void>) => {
  const redis = await startRedis()
  const installation = new Installation(redis.url, env)
  const engine = await spawnScriptedEngine({ slots: STREAMS })
  onTestFinished(async () => {
    await installation.stop()
    await engine.close()
    await redis.stop()
  })
  const gateway = await installation.gateway()
  await installation.worker('n', [{ url: engine.url, slots: STREAMS }], { gateway })
  const all: Told[] = []
  const over = new AbortController()
  let n = 0
  const places = Array.from({ length: STREAMS }, async (_, place) => {
    while (!over.signal.aborted) {
      n += 1
      const format = (['ollama.chat', 'openai.chat', 'ollama.generate'] as const)[place % 3]!
      all.push(await ask(gateway.url, format, { key: `s${n}`, stream: place % 4 !== 3, script: { tokens: TOKENS, rate: 60 } }).told)
      if (all.at(-1)?.status === 503) await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })
  await disturb(redis)
  over.abort()
  await Promise.all(places)
  await until('nothing is left in any lane', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running }) => waiting === 0 && running === 0))
  const jobs = (await engine.admin.stats()).jobs
  return { all, aborted: Object.values(jobs).filter(({ aborts }) => aborts > 0).length }
}

const check = ({ all, aborted }: Awaited<ReturnType<typeof underFire>>, least: number) => {
  const accepted = all.filter(({ status }) => status === 200)
  const wrong = accepted.filter(({ ended, error, verdict }) => !ended || error !== undefined || !verdict.ok || verdict.count !== TOKENS)
  console.log(`${accepted.length} streams answered, ${all.length - accepted.length} refused, ${wrong.length} wrong, ${aborted} aborted`)
  expect(wrong.slice(0, 3).map(({ error, verdict, text }) => ({ error, verdict, length: text.length }))).toEqual([])
  // What was not accepted was refused with a status, while Redis was away.
  expect(all.filter(({ status }) => status !== 200 && status !== 503)).toEqual([])
  expect(accepted.length).toBeGreaterThan(least)
  expect(aborted).toBe(0)
}

test('Redis killed and started again 30 times in mid-stream costs no stream a token', async () => {
  const told = await underFire({}, async (redis) => {
    for (let i = 0; i < RESTARTS; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 600))
      await redis.kill()
      if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * 500))
      await redis.restart()
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  })
  check(told, 2 * STREAMS)
}, 120_000)

test('every script sent twice at random costs no stream a token', async () => {
  const told = await underFire({ DROVER_SEND_TWICE: '0.3' }, () => new Promise((resolve) => setTimeout(resolve, 8_000)))
  check(told, STREAMS)
}, 120_000)

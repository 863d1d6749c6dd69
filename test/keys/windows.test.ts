import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { test as world } from '../support/world.ts'

const LUA = readFileSync(new URL('../../libs/broker/src/lua/limit.lua', import.meta.url), 'utf8')
/** As `submit` does it, but at a time of our own. */
const ASK = `${LUA}
local limits, now = cjson.decode(ARGV[1]), tonumber(ARGV[2])
local which, ms = limiter().refused_by(limits, now)
if which then return {which, ms, limiter().standing(limits, now)} end
return {'', limiter().charge(limits, now, ARGV[3], now + 1000), limiter().standing(limits, now)}`
const SETTLE = `${LUA}
limiter().settle_use('{w}', ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]))`

interface Limits {
  rpm?: number
  tpm?: number
  tpd?: number
  open?: number
  new?: number
  tokens: number
  jobs: 0 | 1
}
type Told = [which: string, more: string | number, standing: number[]]

const test = world.extend('limits', { scope: 'file' }, async ({ redis }, { onCleanup }) => {
  const client = new Redis(redis.connection)
  onCleanup(() => client.disconnect())
  let jobs = 0
  return {
    ask: async (key: string, limits: Limits, now: number) => (await client.eval(ASK, 0, JSON.stringify({ use: `{w}:use:${key}`, ...limits }), now, `job${(jobs += 1)}`)) as Told,
    settle: (key: string, job: number, lim: string, record: object, now: number) => client.eval(SETTLE, 0, key, `job${job}`, lim, JSON.stringify(record), now),
    last: () => jobs,
    fields: (key: string) => client.hlen(`{w}:use:${key}`),
  }
})

/** Noon of some day, a little behind the full second. */
const NOON = Date.UTC(2026, 0, 1, 12) + 137

test('no minute, wherever it begins, holds more than the limit, and one who always asks gets all but a sixtieth of it', async ({ limits }) => {
  const granted: number[] = []
  for (let now = NOON; now < NOON + 610_000; now += 250) if ((await limits.ask('always', { rpm: 100, tokens: 0, jobs: 1 }, now))[0] === '') granted.push(now)
  for (const [i, at] of granted.entries()) expect((granted[i + 100] ?? Infinity) - at).toBeGreaterThanOrEqual(60_000)
  expect(granted.length).toBeGreaterThanOrEqual(0.98 * 1_000)
  expect(granted.length).toBeLessThanOrEqual(1_000 + 100)
  // What has left the window leaves Redis.
  expect(await limits.fields('always')).toBeLessThanOrEqual(63)
})

test('who is refused may come when he is told to, and no sooner', async ({ limits }) => {
  const limit = { rpm: 3, tokens: 0, jobs: 1 } as const
  for (const ms of [0, 2_000, 2_100]) expect((await limits.ask('again', limit, NOON + ms))[0]).toBe('')
  const [which, ms, used] = await limits.ask('again', limit, NOON + 5_000)
  expect([which, used[0]]).toEqual(['requests', 3])
  expect((await limits.ask('again', limit, NOON + 5_000 + Number(ms) - 1))[0]).toBe('requests')
  expect((await limits.ask('again', limit, NOON + 5_000 + Number(ms)))[0]).toBe('')
})

test('a clock that was put back neither opens a window nor closes it for ever', async ({ limits }) => {
  const limit = { rpm: 2, tokens: 0, jobs: 1 } as const
  for (const ms of [0, -30_000]) expect((await limits.ask('back', limit, NOON + ms))[0]).toBe('')
  expect((await limits.ask('back', limit, NOON - 30_000))[0]).toBe('requests')
  expect((await limits.ask('back', limit, NOON + 61_000))[0]).toBe('')
})

test('tokens are charged as expected and settled as used, in their minute and their day', async ({ limits }) => {
  const limit = { tpm: 1_000, tpd: 3_000, tokens: 600, jobs: 1 } as const
  const [, lim] = await limits.ask('tokens', limit, NOON)
  const job = limits.last()
  expect((await limits.ask('tokens', limit, NOON))[0]).toBe('tokens')
  await limits.settle('tokens', job, String(lim), { outcome: 'completed', attempt: 1, usage: { promptTokens: 40, completionTokens: 60 } }, NOON + 2_000)
  const [again, second, used] = await limits.ask('tokens', limit, NOON + 2_000)
  expect([again, used.slice(0, 3)]).toEqual(['', [0, 700, 700]])
  // More than expected counts from when it is known.
  await limits.settle('tokens', limits.last(), String(second), { outcome: 'completed', attempt: 1, usage: { promptTokens: 600, completionTokens: 1_300 } }, NOON + 62_000)
  expect((await limits.ask('tokens', limit, NOON + 63_000)).slice(0, 1)).toEqual(['tokens'])
  expect((await limits.ask('tokens', limit, NOON + 124_000))[2]?.slice(1, 3)).toEqual([600, 2_600])
  const [full, ms] = await limits.ask('tokens', limit, NOON + 200_000)
  expect([full, Number(ms)]).toEqual(['day', 12 * 3_600_000 - 137 - 200_000])
  expect((await limits.ask('tokens', limit, NOON + 200_000 + Number(ms)))[0]).toBe('')
})

test.for([
  [{ outcome: 'failed', attempt: 1, error: {} }, 0],
  [{ outcome: 'cancelled', attempt: 0 }, 0],
  [{ outcome: 'cancelled', attempt: 1 }, 500],
  [{ outcome: 'expired', attempt: 2 }, 500],
  [{ outcome: 'completed', attempt: 1 }, 500],
] as const)('of a job that ended as %j, %i of 500 tokens stay charged', async ([record, left], { limits }) => {
  const key = `e${limits.last()}`
  const limit = { tpm: 1_000, tpd: 1_000, tokens: 500, jobs: 1 } as const
  const [, lim] = await limits.ask(key, limit, NOON)
  await limits.settle(key, limits.last(), String(lim), record, NOON + 10_000)
  expect((await limits.ask(key, { ...limit, tokens: 0 }, NOON + 10_000))[2]?.slice(1, 3)).toEqual([left, left])
})

test('jobs that are open count until they end, or until their keys are gone', async ({ limits }) => {
  const limit = { open: 1, tokens: 0, jobs: 1 } as const
  const [, lim] = await limits.ask('open', limit, NOON)
  const job = limits.last()
  expect((await limits.ask('open', limit, NOON + 500))[0]).toBe('open')
  await limits.settle('open', job, String(lim), { outcome: 'completed', attempt: 1 }, NOON + 600)
  expect((await limits.ask('open', limit, NOON + 700))[0]).toBe('')
  expect((await limits.ask('open', limit, NOON + 701))[0]).toBe('open')
  expect((await limits.ask('open', limit, NOON + 1_700))[0]).toBe('')
  // What is no job by itself is not counted as one.
  expect((await limits.ask('open', { ...limit, jobs: 0 }, NOON + 1_701))[0]).toBe('')
})

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { LANES } from './commands.ts'
import { KEY_MUTATIONS, MORE_MUTATIONS } from './mutations.ts'
import { RealBroker } from './real.ts'
import { historyProperty } from './run.ts'

/** For each mutation at most; most are found among the first hundred. */
const { DROVER_MODEL_RUNS: runs } = process.env
const MOST_RUNS = Number(runs ?? 2_000)
/** Prints the smallest history that finds each mutation. */
const shrink = process.env['DROVER_MODEL_SHRINK'] !== undefined

let redis: RedisServer
let sound: RealBroker
beforeAll(async () => {
  redis = await startRedis()
  sound = await RealBroker.open(redis, LANES)
})
afterAll(async () => {
  await sound?.close()
  await redis?.stop()
})

const mutations = [...KEY_MUTATIONS, ...MORE_MUTATIONS].filter(({ seldom }) => !seldom || runs !== undefined)

test.each(mutations)('without this check the model’s test fails: $name', { timeout: 60_000 + MOST_RUNS * 100 }, async ({ name, file, from, to }) => {
  expect(readFileSync(new URL(`../../libs/broker/src/lua/${file}`, import.meta.url), 'utf8').split(from)).toHaveLength(2)
  const broker = await RealBroker.open(redis, LANES, (lua, script) => (`${script}.lua` === file ? lua.replace(from, () => to) : lua))
  try {
    const seed = 5
    const details = await fc.check(historyProperty(broker), { numRuns: MOST_RUNS, seed, endOnFailure: !shrink })
    if (shrink) console.log(`${name}: history ${details.numRuns}, ${details.numShrinks} times shrunk to ${String(details.counterexample)}\n  ${String(details.errorInstance).split('\n')[0]}`)
    expect(details.failed).toBe(true)
    // It is the missing check that was found: with it the same history is well.
    if (!shrink) await fc.assert(historyProperty(sound), { seed, path: details.counterexamplePath!, numRuns: 1, endOnFailure: true })
  } finally {
    await broker.close()
  }
})

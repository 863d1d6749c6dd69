import fc from 'fast-check'
import { afterAll, beforeAll, test } from 'vitest'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { GATEWAYS, LANES } from './commands.ts'
import { RealBroker } from './real.ts'
import { historyProperty } from './run.ts'

/** More histories, or one again: `DROVER_MODEL_RUNS=20000`, `DROVER_MODEL_SEED=…` with the path that a failure prints. */
const RUNS = Number(process.env['DROVER_MODEL_RUNS'] ?? 200)
const { DROVER_MODEL_SEED: seed, DROVER_MODEL_PATH: path } = process.env

let redis: RedisServer
let broker: RealBroker
beforeAll(async () => {
  redis = await startRedis()
  broker = await RealBroker.open(redis, LANES)
  await broker.clear(GATEWAYS)
})
afterAll(async () => {
  await broker?.close()
  await redis?.stop()
})

test('whatever happens to jobs and whoever dies, the scripts do what the model says and keep the promises', { timeout: 60_000 + RUNS * 500 }, async () => {
  await fc.assert(historyProperty(broker), { numRuns: RUNS, ...(seed && { seed: Number(seed) }), ...(path && { path }) })
})

import { setTimeout as sleep } from 'node:timers/promises'
import { openWorker } from '@drover/broker'
import type { ModelName } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { running } from '../supervised/site.ts'
import { Installation, until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'
import { rpcServerPath, skipsWithoutRpcServer } from '../support/rpc-server.ts'

/** How long a lender keeps what it has lent while Redis is away, ms. */
const AWAY_MS = 60_000

test.skipIf(skipsWithoutRpcServer())('what is lent outlives Redis by a minute, and who has borrowed hears why it is over when Redis is back', async () => {
  const redis = await startRedis()
  const drover = new Installation(redis.url)
  onTestFinished(async () => {
    await drover.stop()
    await redis.stop()
  })
  const worker = await drover.worker('l', [], { env: { DROVER_LEND: 'true', DROVER_LEND_MEMORY: '1gb', DROVER_RPC_SERVER: rpcServerPath() ?? '', LLAMA_ARG_THREADS: '1' } })
  const borrower = await openWorker('c', { url: redis.url, prefix: drover.prefix, onError: () => undefined })
  onTestFinished(() => borrower.close())
  const loan = await borrower.loans.borrow({ lender: 'l', device: 'CPU', bytes: 3e8, model: 'm:1' as ModelName, cluster: 'c', own: false })
  const state = async () => (await borrower.loans.renew([loan]).catch(() => []))[0]?.state
  await until('it is ready', async () => (await state())?.state === 'ready')
  // Redis may bring the word of it sooner than the pipe brings the worker's.
  const told = () => worker.log().split('\n').find((line) => line.includes('"memory lent"'))
  await until('its process is known', () => told() !== undefined)
  const { pid } = JSON.parse(told()!) as { pid: number }
  const lives = async () => (await running('rpc-server')).includes(pid)
  expect(await lives()).toBe(true)

  await redis.kill()
  await sleep(AWAY_MS - 10_000)
  expect(await lives()).toBe(true)
  await until('it is over', async () => !(await lives()), 30_000)
  await redis.restart()
  await until('that is heard', async () => (await state())?.state === 'failed')
  expect(await state()).toEqual({ state: 'failed', reason: 'Redis has been away for too long' })
}, 150_000)

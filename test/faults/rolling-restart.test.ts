import { expect, test } from 'vitest'
import { rollingRestart } from './rolling-restart.ts'

test('a rolling restart of all gateways and workers under load fails no request and cuts no stream', async () => {
  const result = await rollingRestart({ requests: 500, rounds: 1, gateways: 2, workers: 2, clients: 22, streams: 12, streamMs: 1_500, drainLimit: '20s' })
  console.log(`${result.requests} requests, ${result.restarts.gateways + result.restarts.workers} restarts, ${result.unconnected} connections refused, ${result.seconds.toFixed(1)} s`)
  expect(result).toMatchObject({ failed: [], cut: 0, restarts: { gateways: 2, workers: 2 } })
  // Else it shows nothing: streams were open, and connections kept, when their part was told to end.
  expect(result.spanned.gateways).toBeGreaterThan(0)
  expect(result.spanned.workers).toBeGreaterThan(0)
  expect(result.unconnected).toBeGreaterThan(0)
  expect(result.reused).toBeGreaterThan(result.requests / 2)
}, 180_000)

import { expect, test } from 'vitest'
import { deepLane } from './deep-lane.ts'

test('thousands of waiting jobs cost the next one nothing, and each is done once', async () => {
  const { accept, completed, otherwise, twice, requests, redisPerJob } = await deepLane({ jobs: 3_000, pairs: 400 })
  expect({ completed, otherwise, twice, requests }).toEqual({ completed: 3_100, otherwise: 0, twice: 0, requests: 3_100 })
  // Medians: a tail of 400 on a busy machine is chance. The program by the same name measures the 99th percentile.
  expect(accept.deep.p50).toBeLessThan(2 * accept.shallow.p50)
  expect(redisPerJob).toBeLessThan(4_000)
})

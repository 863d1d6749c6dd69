import { describe, expect, test } from 'vitest'
import { expectedWaitMs, mostAhead, nextMean, oneMoreRefused, retryAfterMs, runMs } from './admission.ts'

describe('the wait that is expected', () => {
  test.each([
    ['nothing where a slot is free', { waiting: 0, running: 3, slots: 4 }, 0],
    ['one turn of the lane where all slots are taken', { waiting: 0, running: 4, slots: 4 }, 250],
    ['one job after another where there is one slot', { waiting: 9, running: 1, slots: 1 }, 10_000],
    ['shared by all slots', { waiting: 10_000, running: 8, slots: 8 }, 1_250_125],
  ])('is %s', (_name, load, ms) => expect(expectedWaitMs(load, 1_000)).toBe(ms))

  test('and the bound in jobs say the same', () => {
    for (const slots of [1, 3, 8])
      for (const meanMs of [0.7, 40, 1_000, 31_000])
        for (const maxWaitMs of [0, 500, 12_345, 3_600_000]) {
          const most = mostAhead(maxWaitMs, slots, meanMs)
          expect(most).toBeGreaterThanOrEqual(slots)
          expect(expectedWaitMs({ waiting: Math.max(0, most - 1 - slots), running: Math.min(slots, most - 1), slots }, meanMs)).toBeLessThanOrEqual(maxWaitMs)
          expect(expectedWaitMs({ waiting: most - slots, running: slots, slots }, meanMs)).toBeGreaterThan(maxWaitMs)
        }
  })
})

test.each([
  ['one that met a free slot', 800, { waiting: 0, running: 1, slots: 2 }, 800],
  ['one behind others', 5_000, { waiting: 3, running: 1, slots: 1 }, 1_000],
  ['one behind others who ran side by side', 5_000, { waiting: 16, running: 4, slots: 4 }, (5_000 * 4) / 21],
])('how long it ran: %s', (_name, totalMs, load, ms) => expect(runMs(totalMs, load)).toBeCloseTo(ms))

test('the mean follows what is new', () => {
  let mean: number | undefined
  for (let i = 0; i < 50; i += 1) mean = nextMean(mean, 1_000)
  expect(mean).toBe(1_000)
  for (let i = 0; i < 50; i += 1) mean = nextMean(mean, 100)
  expect(mean).toBeLessThan(110)
})

test.each([
  [0, 800, 1_200],
  [20_000, 16_000, 24_000],
  [1e9, 40_000, 60_000],
])('who finds room in %i ms is told to come after %i to %i ms', (roomInMs, least, most) => {
  expect([retryAfterMs(roomInMs, 0), retryAfterMs(roomInMs, 1)]).toEqual([expect.closeTo(least), expect.closeTo(most)])
})

test('a herd is told to come one after another, and is forgotten as its places come free', () => {
  let refused = { count: 0, at: 0 }
  for (let i = 0; i < 100; i += 1) refused = oneMoreRefused(refused, 0, 50)
  expect(refused.count).toBe(100)
  expect(oneMoreRefused(refused, 2_000, 50).count).toBe(61)
  expect(oneMoreRefused(refused, 60_000, 50).count).toBe(1)
})

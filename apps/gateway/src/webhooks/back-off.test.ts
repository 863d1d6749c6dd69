import { expect, test } from 'vitest'
import { nextTryMs } from './back-off.ts'

const WAITS = [5_000, 300_000]

test('each failure waits longer, and after the last wait there is no further try', () => {
  expect([0, 1, 2, 3].map((step) => nextTryMs(step, WAITS, () => 0.5))).toEqual([5_000, 300_000, undefined, undefined])
})

test('a wait is a tenth shorter or longer at most', () => {
  expect(nextTryMs(0, WAITS, () => 0)).toBe(4_500)
  expect(nextTryMs(0, WAITS, () => 0.999_999)).toBeCloseTo(5_500, 1)
})

test('without waits nothing is tried again', () => {
  expect(nextTryMs(0, [])).toBe(undefined)
})

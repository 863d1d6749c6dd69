import { expect, test } from 'vitest'
import { Pace } from './pace.ts'

test('tokens of answers that are written at the same time count together, time in which nothing is written does not', () => {
  const pace = new Pace()
  expect(pace.perSecond(0)).toBeUndefined()
  const one = pace.begin(1_000)
  one.token(10)
  expect(pace.perSecond(2_000)).toBe(10)
  const two = pace.begin(2_000)
  two.token(20)
  one.end(3_000)
  two.end(4_000)
  two.end(9_000)
  expect(pace.perSecond(20_000)).toBe(10)
  const three = pace.begin(30_000)
  three.token(90)
  three.end(31_000)
  expect(pace.perSecond(31_000)).toBe(30)
  // A minute later only the last counts, then none.
  expect(pace.perSecond(64_500)).toBe(90)
  expect(pace.perSecond(91_001)).toBeUndefined()
})

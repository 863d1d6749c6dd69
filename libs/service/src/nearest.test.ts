import { expect, test } from 'vitest'
import { didYouMean, nearest } from './nearest.ts'

const known = ['laneLimit', 'redisUrl', 'port', 'prefix']

test.each([
  ['lane-limit', 'laneLimit'],
  ['lanelimits', 'laneLimit'],
  ['redis-ulr', 'redisUrl'],
  ['porr', 'port'],
  ['perfix', 'prefix'],
])('%s was probably meant to be %s', (typed, meant) => {
  expect(nearest(typed, known)).toBe(meant)
  expect(didYouMean(typed, known)).toBe(` (did you mean ${meant}?)`)
})

test('a name that is like no other gets no suggestion', () => {
  expect(nearest('telemetry', known)).toBeUndefined()
  expect(didYouMean('telemetry', known)).toBe('')
})

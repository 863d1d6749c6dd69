import { expect, test } from 'vitest'
import { median, medianInterval, quantile, Samples } from './samples.ts'

test('percentiles are by nearest rank', () => {
  const samples = new Samples()
  for (let i = 10_000; i >= 1; i -= 1) samples.add(i)
  expect(samples.summary()).toEqual({ count: 10_000, p50: 5_000, p99: 9_900, max: 10_000 })
  expect(quantile([], 0.5)).toBe(0)
  expect(median([4, 1, 3, 2])).toBe(2.5)
})

const to = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

test('the interval of a median is that of the sign test', () => {
  expect(medianInterval(to(5))).toEqual([1, 5])
  expect(medianInterval(to(6))).toEqual([1, 6])
  expect(medianInterval(to(10))).toEqual([2, 9])
  expect(medianInterval(to(20))).toEqual([6, 15])
})

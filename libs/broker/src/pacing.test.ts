import { expect, test } from 'vitest'
import { Pacing } from './pacing.ts'

const after = (answers: readonly number[], from = 0): Pacing => {
  const pacing = new Pacing()
  for (const [at, ms] of answers.entries()) pacing.answered(ms, from + at)
  return pacing
}

test('nothing waits before the first answer, nor while answers are as quick as they can be', () => {
  expect(new Pacing().gapMs).toBe(0)
  expect(after(Array<number>(100).fill(0.7)).gapMs).toBe(0)
  expect(after([...Array<number>(100).fill(0.5), ...Array<number>(100).fill(2.4)]).gapMs).toBe(0)
})

test('the later the answers, the further entries are apart, up to a bound', () => {
  const quick = Array<number>(100).fill(0.5)
  const late = after([...quick, ...Array<number>(100).fill(4.5)]).gapMs
  expect(late).toBeGreaterThan(15)
  expect(late).toBeLessThanOrEqual(20)
  expect(after([...quick, ...Array<number>(100).fill(500)]).gapMs).toBe(50)
})

test('one late answer is not a load', () => {
  expect(after([...Array<number>(100).fill(0.5), 30]).gapMs).toBeLessThan(2)
})

test('a network that has become slower is the new measure after a while', () => {
  const pacing = after(Array<number>(50).fill(0.5))
  for (let at = 100; at < 40_000; at += 100) pacing.answered(30, at)
  expect(pacing.gapMs).toBeLessThan(1)
})

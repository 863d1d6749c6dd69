import { expect, test } from 'vitest'
import { bytes, duration } from './units.ts'

test.each([
  ['500ms', 500],
  ['5s', 5_000],
  ['1.5s', 1_500],
  ['2m', 120_000],
  ['1 h', 3_600_000],
  ['0', 0],
  [0, 0],
])('a duration of %s is %i milliseconds', (text, expected) => {
  expect(duration().parse(text)).toBe(expected)
})

test.each(['5', 5, '', 's', '-1s', '5x', '1e3s'])('a duration of %j is refused, with an example in the reason', (text) => {
  expect(duration().safeParse(text).error?.issues[0]?.message).toContain('5s')
})

test.each([
  ['32mb', 33_554_432],
  ['64KB', 65_536],
  ['100b', 100],
  ['4096', 4_096],
  [4096, 4_096],
  ['0.5gb', 536_870_912],
])('a size of %s is %i bytes', (text, expected) => {
  expect(bytes().parse(text)).toBe(expected)
})

test('a value outside the range is refused, and at the ends it is taken', () => {
  const schema = duration({ min: 1_000, max: 60_000 })
  expect(schema.parse('1s')).toBe(1_000)
  expect(schema.parse('1m')).toBe(60_000)
  expect(schema.safeParse('999ms').error?.issues[0]?.message).toContain('out of range')
  expect(schema.safeParse('2m').success).toBe(false)
})

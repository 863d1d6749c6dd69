import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LONGEST_LINE, lineSplitter } from './line-splitter.ts'

const split = (chunks: readonly Buffer[]): string[] => {
  const lines: string[] = []
  const splitter = lineSplitter((line) => void lines.push(line))
  for (const chunk of chunks) splitter.write(chunk)
  splitter.end()
  return lines
}

test('the same lines come out however the bytes are cut', () => {
  const line = fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => text.replaceAll(/[\r\n]/g, ''))
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(200)), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''))
      const ends = [...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length].toSorted((a, b) => a - b)
      const chunks = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end))
      expect(split(chunks)).toEqual(lines)
    }),
  )
})

test('a last line without an end comes out at the end, and a carriage return is no part of a line', () => {
  expect(split([Buffer.from('a\r\nb')])).toEqual(['a', 'b'])
})

test('no line is longer than the limit, whether it ends or not', () => {
  const endless = Array.from({ length: 5 }, () => Buffer.alloc(LONGEST_LINE - 1, 'x'))
  const lines = split(endless)
  expect(Math.max(...lines.map(({ length }) => length))).toBe(LONGEST_LINE)
  expect(lines.join('')).toHaveLength(5 * (LONGEST_LINE - 1))
  expect(split([Buffer.from(`${'y'.repeat(LONGEST_LINE * 2)}\n`)])[0]).toHaveLength(LONGEST_LINE)
})

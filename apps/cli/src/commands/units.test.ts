import { expect, test } from 'vitest'
import { expiry, size, span, until } from './units.ts'

test.each([[0, '0 B'], [999, '999 B'], [1_500, '1.5 KB'], [700_000_000, '700 MB'], [4_000_000_000, '4.0 GB']])('%i bytes are %s', (bytes, text) => {
  expect(size(bytes)).toBe(text)
})

test.each([[350, '350 ms'], [12_000, '12 s'], [240_000, '4 min'], [3 * 3_600_000, '3 h'], [3 * 86_400_000, '3 d']])('%i ms are %s', (ms, text) => {
  expect(span(ms)).toBe(text)
})

test('centuries ahead is for ever, as is no time at all', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  expect(until('2026-01-01T00:04:00Z', now)).toBe('in 4 min')
  expect(until('2025-12-31T23:59:00Z', now)).toBe('now')
  expect(until('2318-01-01T00:00:00Z', now)).toBe('for ever')
  expect(expiry(undefined, now)).toBeUndefined()
})

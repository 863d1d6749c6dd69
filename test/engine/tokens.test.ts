import fc from 'fast-check'
import { expect, test } from 'vitest'
import { expectedText, nextMultibyte, readPartial, token, verifyText } from './tokens.ts'

const of = (...indices: number[]) => indices.map((i) => token('a', i)).join('')

const key = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/)

test('a text of whole tokens is verified and counted', () => {
  fc.assert(
    fc.property(key, fc.nat(60), fc.nat(20), (k, n, from) => {
      expect(verifyText(k, expectedText(k, from + n, from), from)).toEqual({ ok: true, count: n })
    }),
  )
})

test('loss, repeats, disorder, leakage, damage and cuts are each named', () => {
  expect(verifyText('a', of(0, 1, 3))).toEqual({ ok: false, at: 2, reason: 'tokens 2 to 2 are missing' })
  expect(verifyText('a', of(0, 1, 1))).toEqual({ ok: false, at: 2, reason: 'token 1 is repeated where token 2 belongs' })
  expect(verifyText('a', of(1, 0))).toEqual({ ok: false, at: 0, reason: 'tokens 0 to 0 are missing' })
  const leaked = { ok: false, at: 1, reason: 'a token of job b stands where token 1 belongs' }
  expect(verifyText('a', of(0) + token('b', 1))).toEqual(leaked)
  expect(verifyText('a', of(0, 1).slice(0, -1))).toEqual({ ok: false, at: 1, reason: 'token 1 is cut off' })
  expect(verifyText('a', `${of(0)} a.1~zzz`)).toEqual({ ok: false, at: 1, reason: 'token 1 is damaged' })
  expect(verifyText('a', `${of(0)} and so on`).ok).toBe(false)
  expect(verifyText('a', of(0, 1).replace('→', '\uFFFD')).ok).toBe(false)
})

test('a partial answer and its continuation are the whole, wherever it is cut', () => {
  fc.assert(
    fc.property(key, fc.integer({ min: 1, max: 30 }), fc.double({ min: 0, max: 1, noNaN: true }), (k, n, where) => {
      const whole = expectedText(k, n)
      const partial = whole.slice(0, Math.floor(whole.length * where))
      const read = readPartial(k, partial)
      expect(partial + read?.rest + expectedText(k, n, read?.have)).toBe(whole)
    }),
  )
})

test('a text of another job is no partial answer', () => {
  expect(readPartial('a', expectedText('b', 2))).toBeUndefined()
  expect(readPartial('a', expectedText('a', 2).trim())).toEqual({ have: 2, rest: '' })
})

test('every eighth token has a character of several bytes', () => {
  for (let i = 0; i < 40; i++) {
    const next = nextMultibyte(i)
    expect(next - i).toBeLessThan(8)
    expect(Buffer.byteLength(token('a', next))).toBeGreaterThan(token('a', next).length)
  }
})

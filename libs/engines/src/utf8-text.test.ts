import { Buffer, isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Utf8Text } from './utf8-text.ts'

/** The bytes in pieces whose lengths are taken from `lengths`, the rest as one piece. */
const pieces = (bytes: Buffer, lengths: readonly number[]): Buffer[] => {
  let at = 0
  const cut = lengths.map((length) => bytes.subarray(at, (at += length)))
  return [...cut, bytes.subarray(at)]
}

const read = (parts: readonly Buffer[]): { text: string; ok: boolean } => {
  const decoder = new Utf8Text()
  let text = ''
  for (const part of parts) {
    const whole = decoder.push(part)
    if (whole === undefined) return { text, ok: false }
    text += whole
  }
  return { text, ok: !decoder.open }
}

test('text arrives whole however its bytes are cut', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.array(fc.nat(7)), (text, lengths) => {
      expect(read(pieces(Buffer.from(text), lengths))).toEqual({ text, ok: true })
    }),
  )
})

test('no piece ends inside a character', () => {
  const decoder = new Utf8Text()
  const bytes = Buffer.from('aé€😀')
  expect([...bytes].map((byte) => decoder.push(Buffer.of(byte)))).toEqual(['a', '', 'é', '', '', '€', '', '', '', '😀'])
})

test('bytes that are not UTF-8 are found, wherever they are cut', () => {
  const bytes = fc.uint8Array({ maxLength: 12 }).map((array) => Buffer.from(array))
  const text = fc.string({ unit: 'binary', maxLength: 4 }).map((characters) => Buffer.from(characters))
  const nearly = fc.tuple(text, bytes).map((parts) => Buffer.concat(parts))
  fc.assert(
    fc.property(nearly, fc.array(fc.integer({ min: 1, max: 3 })), (broken, lengths) => {
      expect(read(pieces(broken, lengths)).ok).toBe(isUtf8(broken))
    }),
    { numRuns: 500 },
  )
})

test('a byte-order mark is part of the text', () => {
  expect(read([Buffer.from([0xef, 0xbb]), Buffer.from([0xbf, 0x61])])).toEqual({ text: '\uFEFFa', ok: true })
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Seam } from './seam.ts'

/** Where the text would have ended had nobody cut it: at the first stop sequence that spans the seam. */
const endOf = (stops: readonly string[], sent: string, rest: string): number | undefined => {
  const ends = stops.flatMap((stop) => {
    const whole = sent + rest
    const found = []
    for (let at = whole.indexOf(stop); at >= 0; at = whole.indexOf(stop, at + 1)) if (at < sent.length && at + stop.length > sent.length) found.push(at)
    return found
  })
  return ends.length === 0 ? undefined : Math.min(...ends)
}

const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 8 })

test('however the rest arrives, a stop sequence over the seam is found, and nothing else is held back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '.'), minLength: 1, maxLength: 4 }), { maxLength: 3 }), text, fc.array(text, { maxLength: 6 }), (stops, sent, pieces) => {
      const seam = new Seam(stops, sent)
      let out = ''
      for (const piece of pieces) out += seam.take(piece)
      const rest = pieces.join('')
      const end = endOf(stops, sent, rest)
      if (end === undefined) {
        expect(seam.stopped).toBe(false)
        expect(out + seam.flush()).toBe(rest)
      } else {
        expect(seam.stopped).toBe(true)
        // The rest of the sequence is not shown.
        expect(out).toBe('')
      }
    }),
    { numRuns: 2_000 },
  )
})

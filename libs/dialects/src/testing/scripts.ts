import fc from 'fast-check'
import type { Script } from './conversation.ts'

/** Answers made of such words, with thoughts and calls or without. */
export const scriptOf = (word: fc.Arbitrary<string>): fc.Arbitrary<Script> =>
  fc.record({
    pieces: fc.array(fc.oneof(fc.record({ text: word }), fc.record({ thinking: word })), { maxLength: 8 }),
    calls: fc.uniqueArray(
      fc.record({ id: fc.uuid(), name: fc.constantFrom('weather', 'time'), arguments: fc.dictionary(fc.constantFrom('city', 'a', 'b'), word) }),
      { maxLength: 2, selector: ({ id }) => id },
    ),
    finish: fc.constantFrom('stop', 'length'),
    prompt: fc.nat(9_999),
    completion: fc.nat(9_999),
  })

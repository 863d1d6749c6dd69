/** Kinds of tokens, as GGUF numbers them. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 } as const

export interface VocabularyToken {
  text: string
  score: number
  kind: number
  /** A whole word with a space before it: the only thing the model says by itself. */
  spoken: boolean
}

export const TOKEN = { unknown: 0, begin: 1, end: 2, turn: 3, turnEnd: 4 } as const

/** SentencePiece's stand-in for a space. */
const SPACE = '\u2581'
const CONTROLS = ['<s>', '</s>', '<|turn|>', '<|end|>']

/** What marks the text before a gap, the text after it, and where the gap is to be filled. */
export const INFILL = ['<|before|>', '<|after|>', '<|gap|>']

const pairs = (left: Iterable<string>, right: Iterable<string>): string[] => {
  const seconds = [...right]
  return [...left].flatMap((first) => seconds.map((second) => first + second))
}

const silent = (kind: number) => (text: string): VocabularyToken => ({ text, kind, score: 0, spoken: false })

const SYLLABLES = pairs('bdfgklmnprstvz', 'aeiou')

/**
 * A byte-level SentencePiece vocabulary, so that any text can be tokenized. Earlier pieces merge first, and every word can be
 * reached by merging pieces that are there (letters, syllable, space, more syllables): else a word would be cut differently
 * when it is read than when it was said, and an answer continued from its text would go on differently. `infill`: its last tokens
 * are `INFILL`.
 */
export const vocabulary = (size: number, infill = false): VocabularyToken[] => {
  const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))
  const words = SYLLABLES.map((syllable) => SPACE + syllable)
  const pieces = [
    SPACE,
    ...letters,
    ...SYLLABLES,
    ...words,
    ...pairs(words, 'nrs'),
    ...SYLLABLES.flatMap((second) => words.filter((word) => word !== SPACE + second).map((word) => word + second)),
  ]
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const fixed = [silent(KIND.unknown)('<unk>'), ...CONTROLS.map(silent(KIND.control)), ...bytes.map(silent(KIND.byte))]
  const last = infill ? INFILL.map(silent(KIND.control)) : []
  const merged = pieces.slice(0, size - fixed.length - last.length).map((text, i) => ({
    text,
    kind: KIND.normal,
    score: -(fixed.length + i),
    spoken: text.length > 2 && text.startsWith(SPACE),
  }))
  return [...fixed, ...merged, ...last]
}

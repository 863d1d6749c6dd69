import { BrokerError } from '@drover/core'

/** Deepest nesting of a request body. */
export const BODY_DEPTH = 64

const refusal = (message: string) => new BrokerError('bad_request', message)

/** A character as Go's decoder shows it: it looks at bytes, so of a longer character only the first byte is named. */
const quote = (text: string, at: number): string => {
  const character = String.fromCodePoint(text.codePointAt(at) ?? 0)
  if (character === "'") return String.raw`'\''`
  if (character === '"') return `'"'`
  const byte = new TextEncoder().encode(character)[0] ?? 0
  return `'${byte > 0x7e ? String.fromCodePoint(byte) : JSON.stringify(character).slice(1, -1)}'`
}

const fault = (text: string, at: number, where: string) =>
  at >= text.length ? refusal('unexpected EOF') : refusal(`invalid character ${quote(text, at)} ${where}`)

const skipSpace = (text: string, at: number): number => {
  let next = at
  while (next < text.length && ' \t\r\n'.includes(text.charAt(next))) next++
  return next
}

const isDigit = (text: string, at: number) => text.charAt(at) >= '0' && text.charAt(at) <= '9'

const endOfDigits = (text: string, at: number, where: string): number => {
  if (!isDigit(text, at)) throw fault(text, at, where)
  let next = at + 1
  while (isDigit(text, next)) next++
  return next
}

const endOfNumber = (text: string, start: number): number => {
  let at = text[start] === '-' ? start + 1 : start
  at = text[at] === '0' ? at + 1 : endOfDigits(text, at, 'in numeric literal')
  if (text[at] === '.') at = endOfDigits(text, at + 1, 'after decimal point in numeric literal')
  if (text[at] === 'e' || text[at] === 'E') {
    const sign = text[at + 1] === '+' || text[at + 1] === '-' ? 1 : 0
    at = endOfDigits(text, at + 1 + sign, 'in exponent of numeric literal')
  }
  return at
}

const endOfString = (text: string, start: number): number => {
  for (let at = start + 1; ; at++) {
    const character = text[at]
    if (character === '"') return at + 1
    if (character === undefined || character < ' ') throw fault(text, at, 'in string literal')
    if (character !== '\\') continue
    at++
    if (text[at] === 'u') {
      for (const stop = at + 4; at < stop; at++) {
        if (!/^[0-9a-fA-F]$/.test(text.charAt(at + 1))) throw fault(text, at + 1, String.raw`in \u hexadecimal character escape`)
      }
    } else if (at >= text.length || !'bfnrt\\/"'.includes(text.charAt(at))) throw fault(text, at, 'in string escape code')
  }
}

const endOfScalar = (text: string, at: number): number => {
  const character = text.charAt(at)
  if (character === '"') return endOfString(text, at)
  if (character === '-' || isDigit(text, at)) return endOfNumber(text, at)
  const word = ['true', 'false', 'null'].find((word) => word[0] === character)
  if (!word) throw fault(text, at, 'looking for beginning of value')
  for (let i = 1; i < word.length; i++) {
    if (text[at + i] !== word[i]) throw fault(text, at + i, `in literal ${word} (expecting '${word[i]}')`)
  }
  return at + word.length
}

/** From a key to where its value begins. */
const afterKey = (text: string, start: number): number => {
  if (text[start] !== '"') throw fault(text, start, 'looking for beginning of object key string')
  const at = skipSpace(text, endOfString(text, start))
  if (text[at] !== ':') throw fault(text, at, 'after object key')
  return skipSpace(text, at + 1)
}

/** Where the first JSON value of a text ends. Only for a text that `JSON.parse` refuses: it finds out why. */
const endOfFirstValue = (text: string): number => {
  const open: string[] = []
  let at = skipSpace(text, 0)
  for (;;) {
    const begin = text.charAt(at)
    if (begin === '{' || begin === '[') {
      open.push(begin)
      at = skipSpace(text, at + 1)
      if (text[at] !== (begin === '{' ? '}' : ']')) {
        if (begin === '{') at = afterKey(text, at)
        continue
      }
    } else at = endOfScalar(text, at)
    for (;;) {
      const inside = open.at(-1)
      if (!inside) return at
      at = skipSpace(text, at)
      if (text[at] === ',') {
        at = skipSpace(text, at + 1)
        if (inside === '{') at = afterKey(text, at)
        break
      }
      if (text[at] !== (inside === '{' ? '}' : ']'))
        throw fault(text, at, inside === '{' ? 'after object key:value pair' : 'after array element')
      open.pop()
      at++
      if (open.length === 0) return at
    }
  }
}

const deeperThan = (value: unknown, levels: number): boolean => {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  return Object.values(value).some((inner) => deeperThan(inner, levels - 1))
}

const parseFirst = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return JSON.parse(text.slice(0, endOfFirstValue(text)))
  }
}

/**
 * The first JSON value of a request body; what follows it is ignored, as Go's decoder does.
 * @throws BrokerError `bad_request` in the words of that decoder, or with `empty` when there is nothing at all
 */
export const readJsonBody = (text: string, empty: string): unknown => {
  if (skipSpace(text, 0) === text.length) throw refusal(empty)
  const value = parseFirst(text)
  if (deeperThan(value, BODY_DEPTH)) throw refusal('exceeded max depth')
  return value
}

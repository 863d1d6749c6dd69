/** What a job's key may consist of: nothing that JSON escapes, so that events can be written without an encoder. */
export const JOB_KEY = /^[A-Za-z0-9_-]{1,64}$/

const OFFSET = 0x811c9dc5

/** FNV-1a over UTF-16 units; goes on from `hash`. */
const fold = (text: string, hash: number): number => {
  let h = hash
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h
}

/** Every eighth token carries a character of three or four bytes, so that every reader on the way meets some. */
const mark = (i: number): string => ((i & 7) !== 1 ? '~' : (i & 8) === 0 ? '→' : '😀')

/** The first token at or after `i` that has a character of several bytes. */
export const nextMultibyte = (i: number): number => i + ((9 - (i & 7)) & 7)

/** The tokens of one job, for those who need many. */
export const tokensOf = (key: string): ((i: number) => string) => {
  const start = fold(key, OFFSET)
  return (i) => {
    const check = (fold(`.${i}`, start) >>> 0) % 46_656
    return ` ${key}.${i}${mark(i)}${check.toString(36).padStart(3, '0')}`
  }
}

/** Token `i` (from 0) of job `key`: a space, both names, a mark and a check text of three characters. */
export const token = (key: string, i: number): string => tokensOf(key)(i)

/** Tokens `from` to `n` - 1 of a job. */
export const expectedText = (key: string, n: number, from = 0): string => {
  const tokens = tokensOf(key)
  let text = ''
  for (let i = from; i < n; i++) text += tokens(i)
  return text
}

export type Verdict = { ok: true; count: number } | { ok: false; at: number; reason: string }

const TOKEN = /^ ([A-Za-z0-9_-]{1,64})\.(\d+)(?:~|→|😀)[0-9a-z]{3}/u

const complaint = (key: string, at: number, expected: string, rest: string): string => {
  if (expected.startsWith(rest)) return `token ${at} is cut off`
  const [found, owner, index] = TOKEN.exec(rest) ?? []
  if (found === undefined || owner === undefined) return `no token of any job stands where token ${at} belongs`
  if (owner !== key) return `a token of job ${owner} stands where token ${at} belongs`
  if (found !== token(key, Number(index))) return `token ${index} is damaged`
  if (Number(index) < at) return `token ${index} is repeated where token ${at} belongs`
  return `tokens ${at} to ${Number(index) - 1} are missing`
}

/** Whether a text is exactly the job's tokens from `from` on; says which token is wrong first and how. */
export const verifyText = (key: string, text: string, from = 0): Verdict => {
  const tokens = tokensOf(key)
  let place = 0
  for (let i = from; ; i++) {
    if (place === text.length) return { ok: true, count: i - from }
    const expected = tokens(i)
    if (!text.startsWith(expected, place)) return { ok: false, at: i, reason: complaint(key, i, expected, text.slice(place)) }
    place += expected.length
  }
}

/** What a partial answer holds: `have` tokens begun, and `rest`, what the last of these still lacks ('' at a token's end). */
export interface Partial {
  have: number
  rest: string
}

/** Reads a partial answer; `undefined` when it is not the beginning of that job's text. A missing first space is forgiven. */
export const readPartial = (key: string, partial: string): Partial | undefined => {
  const text = partial === '' || partial.startsWith(' ') ? partial : ` ${partial}`
  const tokens = tokensOf(key)
  let place = 0
  for (let i = 0; ; i++) {
    if (place === text.length) return { have: i, rest: '' }
    const expected = tokens(i)
    if (text.startsWith(expected, place)) place += expected.length
    else return expected.startsWith(text.slice(place)) ? { have: i + 1, rest: expected.slice(text.length - place) } : undefined
  }
}

/** The key of a prompt that names none. */
export const keyOfPrompt = (prompt: string): string => `p${(fold(prompt, OFFSET) >>> 0).toString(36)}`

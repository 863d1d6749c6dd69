import { expectedText, tokensOf } from '../../engine/tokens.ts'
import type { AnswerReader } from './connection.ts'

/** What is told of an answer as it grows. */
export interface AnswerListener {
  /** `delay`: ms from the engine's stamp to now; undefined where the answer is not streamed. */
  token(now: number, delay: number | undefined): void
  /** The answer is over; `fault` says what was wrong with it. */
  over(now: number, fault: string | undefined): void
}

const HOUR = 3_600_000

const latin1 = (text: string): string => Buffer.from(text).toString('latin1')
const digit = (text: string, at: number): number => text.charCodeAt(at) - 48
const two = (text: string, at: number): number => 10 * digit(text, at) + digit(text, at + 1)

/** ms within the hour of an RFC 3339 moment with microseconds, whose first character is at `at`. */
const withinHour = (text: string, at: number): number => {
  let micros = 0
  for (let i = at + 20; i < at + 26; i += 1) micros = 10 * micros + digit(text, i)
  return (60 * two(text, at + 14) + two(text, at + 17)) * 1000 + micros / 1000
}

/**
 * An answer of Ollama's chat that must be exactly its job's tokens. Each line is compared with the text that the scripted engine
 * writes; only a line that differs is parsed as JSON, so events that were written anew on the way are understood, too.
 */
export class Answer implements AnswerReader {
  readonly #expected: (i: number) => string
  readonly #key: string
  readonly #wanted: number
  readonly #stream: boolean
  readonly #listener: AnswerListener
  /** `{"model":"…","created_at":"`. */
  readonly #before: string
  /** Place of the token's text in a line. */
  readonly #place: number
  /** This process' `performance.now()` to the engine's epoch clock. */
  readonly #toEpoch: number
  #have = 0
  #rest = ''
  #status = 0
  #ended = false
  #fault: string | undefined

  constructor(
    { key, model, tokens, stream, toEpoch }: { key: string; model: string; tokens: number; stream: boolean; toEpoch: number },
    listener: AnswerListener,
  ) {
    this.#key = key
    this.#expected = tokensOf(key)
    this.#wanted = tokens
    this.#stream = stream
    this.#listener = listener
    this.#before = `{"model":"${model}","created_at":"`
    this.#place = this.#before.length + '2026-01-02T03:04:05.678901Z","message":{"role":"assistant","content":"'.length
    this.#toEpoch = toEpoch
  }

  get tokens(): number {
    return this.#have
  }

  head(status: number): void {
    this.#status = status
  }

  text(text: string, now: number): void {
    if (!this.#stream || this.#status !== 200) {
      this.#rest += text
      return
    }
    const all = this.#rest === '' ? text : this.#rest + text
    let from = 0
    for (let end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', from)) {
      this.#line(all.slice(from, end), now)
      from = end + 1
    }
    this.#rest = all.slice(from)
  }

  over(now: number): void {
    if (this.#status !== 200) this.#fault = `status ${this.#status}: ${this.#rest.slice(0, 200)}`
    else if (!this.#stream) this.#whole(now)
    else if (this.#rest !== '') this.#fault ??= 'the answer ends inside a line'
    if (!this.#ended) this.#fault ??= 'the answer has no end event'
    if (this.#have !== this.#wanted) this.#fault ??= `${this.#have} tokens of ${this.#wanted}`
    this.#listener.over(now, this.#fault)
  }

  broken(reason: string): void {
    this.#listener.over(performance.now(), this.#fault ?? `${reason} after ${this.#have} tokens`)
  }

  #line(line: string, now: number): void {
    const i = this.#have
    // Only every eighth token has characters of several bytes.
    const token = (i & 7) === 1 ? latin1(this.#expected(i)) : this.#expected(i)
    const asWritten = line.startsWith(token, this.#place) && line.startsWith('"},"done":false}', this.#place + token.length)
    if (asWritten && line.startsWith(this.#before)) {
      this.#have += 1
      let delay = ((now + this.#toEpoch) % HOUR) - withinHour(line, this.#before.length)
      if (delay < -HOUR / 2) delay += HOUR
      this.#listener.token(now, delay)
    } else this.#event(line, token, now)
  }

  #event(line: string, token: string, now: number): void {
    if (this.#ended) this.#fault ??= 'something behind the end event'
    const event = JSON.parse(line) as { message?: { content?: string }; done?: boolean; error?: string }
    if (event.error !== undefined) this.#fault ??= `error: ${event.error}`
    if (event.done === true) this.#ended = true
    const content = event.message?.content ?? ''
    if (content === '') return
    if (content === token) {
      this.#have += 1
      this.#listener.token(now, undefined)
    } else this.#fault ??= `token ${this.#have} is wrong: ${content}`
  }

  #whole(now: number): void {
    const event = JSON.parse(this.#rest) as { message?: { content?: string }; done?: boolean; error?: string }
    this.#ended = event.done === true
    if (event.message?.content !== latin1(expectedText(this.#key, this.#wanted))) this.#fault = `the whole answer is wrong: ${this.#rest.slice(0, 200)}`
    else for (; this.#have < this.#wanted; this.#have += 1) this.#listener.token(now, undefined)
  }
}

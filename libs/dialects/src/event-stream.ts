import { BrokerError } from '@drover/core'

/** Most characters of an event that has not ended yet. Ollama's own clients give up at 8 MB, too. */
export const EVENT_CHARS = 8 * 1024 * 1024

/** `raw` is the event as it came, its end included; `data` is the JSON text (or `[DONE]`) in it. */
export type TakeEvent = (raw: string, data: string) => void

/** Cuts text that arrives in arbitrary pieces into whole events; what carries no data is skipped. */
export interface EventCutter {
  /** @throws BrokerError `engine_protocol` when an event outgrows `EVENT_CHARS` */
  push(text: string, take: TakeEvent): void
  /** The answer has closed: an event that lacks only its end is taken, with that end. */
  close(take: TakeEvent): void
}

const bounded = (rest: string): string => {
  if (rest.length <= EVENT_CHARS) return rest
  throw new BrokerError('engine_protocol', `the engine sent an event of more than ${EVENT_CHARS} characters`)
}

const BLANK = /^[ \t\r]*\n$/
const isBlank = (line: string): boolean => line.charCodeAt(0) <= 32 && BLANK.test(line)

/** One JSON text per line. */
export class LineCutter implements EventCutter {
  #rest = ''

  push(text: string, take: TakeEvent): void {
    // Without a line's end the pieces are only chained: joining them each time would copy a long line again and again.
    if (!text.includes('\n')) {
      this.#rest = bounded(this.#rest + text)
      return
    }
    const all = this.#rest + text
    this.#rest = ''
    let from = 0
    for (let end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', from)) {
      const line = all.slice(from, end + 1)
      from = end + 1
      if (!isBlank(line)) take(line, line)
    }
    this.#rest = bounded(all.slice(from))
  }

  close(take: TakeEvent): void {
    if (this.#rest) this.push('\n', take)
  }
}

/** One of these before the stream is no part of it. */
const BYTE_ORDER_MARK = '\uFEFF'

/**
 * Server-sent events: lines up to an empty one; `data:` lines are joined, comments and other fields skipped. An event whose
 * text is exactly one `data:` line passes as it came, any other one is written anew as that. `keepTypes`: an `event:` line before
 * the data is part of the event.
 */
export class SseCutter implements EventCutter {
  #rest = ''
  #data: string | undefined
  #plain = true
  #raw = ''
  #type = ''
  #begun = false
  readonly #keepTypes: boolean

  constructor(keepTypes = false) {
    this.#keepTypes = keepTypes
  }

  push(text: string, take: TakeEvent): void {
    if (!text.includes('\n')) {
      this.#rest = bounded(this.#rest + text)
      return
    }
    const all = this.#rest + text
    this.#rest = ''
    let from = this.#begun || !all.startsWith(BYTE_ORDER_MARK) ? 0 : 1
    this.#begun = true
    for (let end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', from)) {
      this.#line(all.slice(from, end + 1), take)
      from = end + 1
    }
    this.#rest = bounded(all.slice(from))
  }

  close(take: TakeEvent): void {
    if (this.#rest) this.push('\n', take)
    this.#line('\n', take)
  }

  #line(line: string, take: TakeEvent): void {
    if (line.startsWith('data:')) {
      const data = line.slice(line.charCodeAt(5) === 32 ? 6 : 5, line.endsWith('\r\n') ? -2 : -1)
      this.#plain &&= this.#data === undefined
      this.#data = this.#data === undefined ? data : bounded(`${this.#data}\n${data}`)
      this.#raw = line
    } else if (line === '\n' || line === '\r\n') {
      const data = this.#data
      // JSON text holds no line break, so what was joined from several lines may go as one.
      if (data !== undefined) take(this.#type + (this.#plain ? this.#raw + line : `data: ${data.replaceAll('\n', ' ')}\n\n`), data)
      this.#data = undefined
      this.#type = ''
      this.#plain = true
    } else if (this.#keepTypes && this.#data === undefined && line.startsWith('event:')) this.#type = line
    else if (this.#data !== undefined) this.#plain = false
  }
}

/**
 * Stop sequences where an answer was taken up: one that begins in what was sent ends in what comes. The engine that goes on does not
 * find it, for the beginning stands in its prompt.
 */
export class Seam {
  readonly #stops: readonly string[]
  /** The end of what was sent, as much as a stop sequence can begin in. */
  readonly #tail: string
  #held = ''
  #open: boolean
  /** One was found: nothing more is to be sent. */
  stopped = false

  constructor(stops: readonly string[], sent: string) {
    const longest = Math.max(0, ...stops.map(({ length }) => length))
    this.#stops = stops.filter((stop) => stop !== '')
    this.#tail = longest > 1 ? sent.slice(1 - longest) : ''
    this.#open = this.#tail !== '' && this.#mayStop('')
  }

  /** What may be sent of the next text; what could be the rest of a stop sequence waits for more. */
  take(text: string): string {
    if (this.stopped) return ''
    if (!this.#open) return text
    this.#held += text
    const seen = this.#tail + this.#held
    for (const stop of this.#stops)
      for (let at = seen.indexOf(stop); at >= 0 && at < this.#tail.length; at = seen.indexOf(stop, at + 1))
        if (at + stop.length > this.#tail.length) {
          this.stopped = true
          return ''
        }
    if (this.#mayStop(this.#held)) return ''
    return this.flush()
  }

  /** What waits, when nothing more comes. */
  flush(): string {
    const held = this.#held
    this.#held = ''
    this.#open = false
    return held
  }

  /** Whether a stop sequence that begins in the tail could go on after `text`. */
  #mayStop(text: string): boolean {
    const seen = this.#tail + text
    return this.#stops.some((stop) => {
      for (let at = Math.max(0, seen.length - stop.length + 1); at < this.#tail.length; at += 1) if (stop.startsWith(seen.slice(at))) return true
      return false
    })
  }
}

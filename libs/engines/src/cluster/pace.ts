/** How far back answers count, ms. */
const WINDOW_MS = 60_000

/** How many tokens a model has written a second of late, all answers together; time in which it wrote nothing does not count. */
export class Pace {
  #spans: { at: number; ms: number; tokens: number }[] = []
  #running = 0
  #since = 0
  #tokens = 0

  /** An answer has begun to be written. @returns what is called for each of its events, and what ends it */
  begin(now: number): { token(count: number): void; end(now: number): void } {
    if (this.#running === 0) [this.#since, this.#tokens] = [now, 0]
    this.#running += 1
    let over = false
    return {
      token: (count) => void (this.#tokens += count),
      end: (at) => {
        if (over) return
        over = true
        this.#running -= 1
        if (this.#running > 0) return
        this.#spans = [...this.#spans.filter((span) => at - span.at < WINDOW_MS), { at, ms: at - this.#since, tokens: this.#tokens }]
      },
    }
  }

  /** `undefined`: nothing was written of late. */
  perSecond(now: number): number | undefined {
    const spans = this.#spans.filter(({ at }) => now - at < WINDOW_MS)
    if (this.#running > 0) spans.push({ at: now, ms: now - this.#since, tokens: this.#tokens })
    const ms = spans.reduce((sum, span) => sum + span.ms, 0)
    return ms > 0 ? (1_000 * spans.reduce((sum, { tokens }) => sum + tokens, 0)) / ms : undefined
  }
}

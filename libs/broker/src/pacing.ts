/** Entries of one job are this many times as far apart as an append is late. */
const TIMES = 10
/** An append is late when it takes this much longer than at its quickest, ms: with a few dozen streams none waits for another. */
const LATE_MS = 2
/** At most so far, ms. */
const FARTHEST_MS = 50
/** The quickest append is that of the last two spans, ms: a busier network is not "late" for ever. */
const SPAN_MS = 10_000
const WEIGHT = 1 / 16

/**
 * How far apart the entries of one job should be. An entry costs worker, Redis and gateway about as much with one token as with five:
 * while there is time each token goes by itself, and when appends come back late, tokens wait for each other instead of for a turn.
 */
export class Pacing {
  #average = 0
  #quickest = Infinity
  #before = Infinity
  #spanEnds = 0

  /** An append was answered after `ms`. */
  answered(ms: number, now: number): void {
    if (now >= this.#spanEnds) {
      this.#before = this.#quickest
      this.#quickest = Infinity
      this.#spanEnds = now + SPAN_MS
      if (this.#average === 0) this.#average = ms
    }
    this.#quickest = Math.min(this.#quickest, ms)
    this.#average += (ms - this.#average) * WEIGHT
  }

  get gapMs(): number {
    const late = this.#average - Math.min(this.#quickest, this.#before) - LATE_MS
    return late > 0 ? Math.min(FARTHEST_MS, late * TIMES) : 0
  }
}

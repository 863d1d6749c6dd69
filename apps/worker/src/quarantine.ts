/** Failures in a row after which jobs are kept away; one or two may be the jobs' own. */
export const FAILURES = 3
const BACKOFF_MS = { first: 500, most: 15_000 }

/** How an attempt failed. */
export interface Failure {
  /** `performance.now()` when it took its slot. */
  since: number
  /** The job's first: what fails a second time says more about the job than about the engine. */
  first: boolean
  /** Others have the model, too, so that a job which failed here is not left without. */
  shared: boolean
}

/**
 * The failures in a row of an engine, or of one model on it. After several of them jobs are kept away for a back-off that doubles; then
 * one is let through to see. What ran side by side and failed together is one failure.
 */
export class Quarantine {
  #failures = 0
  #failedAt = -Infinity
  #until = -Infinity
  #probing = false

  get failures(): number {
    return this.#failures
  }

  get active(): boolean {
    return this.#failures >= FAILURES
  }

  /** ms until a job may be let through, 0 when it may be now. */
  forMs(now: number): number {
    return this.active ? Math.max(0, this.#until - now) : 0
  }

  admits(now: number): boolean {
    return !this.active || (now >= this.#until && !this.#probing)
  }

  /** An attempt begins. True: it is the one that is let through to see, and `failed`, `worked` or `unclear` must follow. */
  begin(): boolean {
    return this.active && (this.#probing = true)
  }

  /** True when the back-off has begun anew. */
  failed({ since, first, shared }: Failure, probe: boolean, now: number): boolean {
    if (probe) {
      this.#probing = false
      // A job that failed before and has nowhere else to go: it is not to keep the others from an engine that may be well.
      if (!first && !shared) return false
    } else if (!first || this.active || since < this.#failedAt) return false
    this.#failures += 1
    this.#failedAt = now
    if (!this.active) return false
    this.#until = now + Math.min(BACKOFF_MS.first * 2 ** (this.#failures - FAILURES), BACKOFF_MS.most)
    return true
  }

  /** The one that was let through has ended in a way that says nothing. */
  unclear(): void {
    this.#probing = false
  }

  worked(): void {
    this.#failures = 0
    this.#probing = false
  }
}

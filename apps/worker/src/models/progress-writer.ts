import type { Lease } from '@drover/broker'
import { progressLine, type Progress } from '@drover/dialects'

/** Least time between two lines about the same bytes, ms: longer as the work takes longer, so that the log of a day's download stays small. */
const PACE = { least: 250, most: 5_000, share: 0.01 }

/** Writes what an engine tells into a job's log: what is new at once, more bytes of it at a pace, the last of them always. */
export class ProgressWriter {
  #lease: Pick<Lease, 'append' | 'room'>
  #startedAt = performance.now()
  /** The newest of each part that has not been written. */
  #waiting = new Map<string, Progress>()
  #seen = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #full = false

  constructor(lease: Pick<Lease, 'append' | 'room'>) {
    this.#lease = lease
  }

  take(progress: Progress): void {
    const { status, digest, total, completed } = progress
    const key = digest ?? status
    const isNew = !this.#seen.has(key)
    this.#seen.add(key)
    this.#waiting.set(key, progress)
    if (isNew || total === undefined || completed === total) return this.flush()
    this.#timer ??= setTimeout(() => this.flush(), Math.min(PACE.most, Math.max(PACE.least, (performance.now() - this.#startedAt) * PACE.share)))
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    // While Redis is away only the newest is kept.
    if (this.#full || this.#waiting.size === 0) return
    const lines = [...this.#waiting.values()].map(progressLine).join('')
    this.#waiting.clear()
    if (this.#lease.append(lines)) return
    this.#full = true
    this.#lease.room(() => {
      this.#full = false
      this.flush()
    })
  }
}

import type { JobId } from '@drover/core'
import { FORGETS_MS } from './limits.ts'

interface Sent {
  send(): Promise<unknown>
  /** It goes on without anybody. */
  background: boolean
}

/** What a gateway has submitted a moment ago, oldest first: a Redis that is killed may yet forget it. */
export class RecentJobs {
  #jobs = new Map<JobId, Sent & { at: number }>()

  keep(id: JobId, sent: Sent): void {
    this.#jobs.set(id, { ...sent, at: performance.now() })
  }

  has(id: JobId): boolean {
    return this.#jobs.has(id)
  }

  isBackground(id: JobId): boolean {
    return this.#jobs.get(id)?.background ?? false
  }

  /** It is not to be brought back. */
  drop(id: JobId): void {
    this.#jobs.delete(id)
  }

  /** Redis is there again: all of it is recent once more, and what nobody `follows`, and so asks after, is submitted again. */
  afterOutage(follows: (id: JobId) => boolean): void {
    for (const [id, recent] of this.#jobs) {
      recent.at = performance.now()
      if (!follows(id)) void recent.send().catch(() => undefined)
    }
  }

  /** Redis does not know the job: it is submitted again. `false`: it is not at hand any more. */
  async bringBack(id: JobId): Promise<boolean> {
    const recent = this.#jobs.get(id)
    await recent?.send().catch(() => undefined)
    return recent !== undefined
  }

  /** Lets go of what Redis forgets no more. Not while it is away: what it had just answered then is what it may have forgotten. */
  prune(): void {
    const old = performance.now() - FORGETS_MS
    for (const [id, { at }] of this.#jobs) {
      if (at > old) break
      this.#jobs.delete(id)
    }
  }
}

import type { MemoryShare } from '@drover/engines'

/** The machine's memory that this worker may use, shared by whoever takes some of it: its own models, and what it lends. */
export class MemoryBudget {
  readonly total: number
  #used = new Map<string, number>()

  /** @param total bytes */
  constructor(total: number) {
    this.total = total
  }

  /** Bytes that `name` uses. */
  usedBy(name: string): number {
    return this.#used.get(name) ?? 0
  }

  /** `name` uses so many bytes now, all in all. */
  use(name: string, bytes: number): void {
    this.#used.set(name, bytes)
  }

  /** Bytes that `name` may use, what it uses already among them: all that the others leave. */
  leftTo(name: string): number {
    let left = this.total
    for (const [user, bytes] of this.#used) if (user !== name) left -= bytes
    return Math.max(0, left)
  }

  /** The part of one user. `onShort` is called when it waits for what others have. */
  share(name: string, onShort?: () => void): MemoryShare {
    return {
      most: this.total,
      now: () => this.leftTo(name),
      use: (bytes) => this.use(name, bytes),
      ...(onShort && { short: onShort }),
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises'

/** Waits that keep what several senders send together to so many bytes a second. */
export class Rate {
  #perMs: number
  /** `performance.now()` at which all that was let through so far has had its time. */
  #until = 0

  constructor(bytesPerSecond: number) {
    this.#perMs = bytesPerSecond / 1_000
  }

  /** Resolves when so many bytes may go. */
  async take(bytes: number): Promise<void> {
    const now = performance.now()
    const from = Math.max(now, this.#until)
    this.#until = from + bytes / this.#perMs
    if (from > now) await sleep(from - now, undefined, { ref: false })
  }
}

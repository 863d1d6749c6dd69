import type { Keys } from './keys.ts'
import type { Lease } from './lease.ts'
import { LINGER_MS, LOG_BYTES } from './limits.ts'
import { Pacing } from './pacing.ts'
import type { Scripts } from './scripts.ts'

/**
 * Most frames and characters in one call. Small calls: one of 128 KB and more is built in memory that the system hands out anew each
 * time, page by page, and its frames all wait for the last. Measured with 500 streams of 100 tokens/s: delay down by a third.
 */
const CALL_FRAMES = 32
const CALL_BYTES = 16 * 1024
/** Calls under way at most, when more than one whole call waits behind the first: what a burst leaves must go in one round trip or two. */
const WIDEST = 16
/** Text that is worth an entry of its own at any time, characters. */
const ENTRY_CHARS = 4 * 1024
/** Held jobs are looked at this often, ms. */
const SWEEP_MS = 2
/** A call that Redis answered with an error is repeated after this, ms. */
const RETRY_MS = 200

export interface AppenderOptions {
  scripts: Scripts
  keys: Keys
  base: string
  /** Told when Redis refuses an append (out of memory, say): the frames are kept and sent again. */
  onError(error: unknown): void
}

/**
 * Sends the frames of all of a worker's jobs. One call is under way at a time; meanwhile all jobs gather, and the next call carries
 * what they have. So latency is lowest when idle, and batches form by themselves under load; when answers come late, a job's entries
 * are kept apart as well (`Pacing`). A job's first frame and its last do not wait; nor does a backlog of more than one whole call, or
 * it would never shrink again.
 */
export class Appender {
  #options: AppenderOptions
  #dirty = new Set<Lease>()
  /** Leases that have something to send, but not yet, and from when. */
  #held = new Map<Lease, number>()
  #sweep: NodeJS.Timeout | undefined
  #pacing = new Pacing()
  /** Characters that wait in dirty leases, about. */
  #waiting = 0
  #scheduled = false
  #inFlight = 0

  constructor(options: AppenderOptions) {
    this.#options = options
  }

  /** The lease has something to send, so many characters more. */
  push(lease: Lease, size: number): void {
    if (this.#dirty.has(lease)) this.#waiting += size
    else if (this.#holds(lease)) return
    else this.#ready(lease)
    if (this.#scheduled || (this.#inFlight > 0 && lease.started && !this.#overflows)) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  /** It is too early for the job's next entry: it is kept until then. */
  #holds(lease: Lease): boolean {
    if (!lease.started || lease.urgent || lease.waiting >= ENTRY_CHARS) return false
    if (this.#held.has(lease)) return true
    const from = lease.sentAt + this.#pacing.gapMs
    if (from <= performance.now()) return false
    this.#held.set(lease, from)
    this.#sweep ??= setInterval(() => this.#release(), SWEEP_MS)
    return true
  }

  #ready(lease: Lease): void {
    this.#held.delete(lease)
    this.#dirty.add(lease)
    this.#waiting += lease.waiting
  }

  #release(): void {
    const now = performance.now()
    for (const [lease, from] of this.#held) if (from <= now) this.#ready(lease)
    if (this.#held.size === 0) {
      clearInterval(this.#sweep)
      this.#sweep = undefined
    }
    if (this.#dirty.size > 0 && !this.#scheduled && (this.#inFlight === 0 || this.#overflows)) this.#flush()
  }

  /** More waits than one call takes, and another may go. */
  get #overflows(): boolean {
    return this.#inFlight < WIDEST && (this.#dirty.size >= CALL_FRAMES || this.#waiting >= CALL_BYTES)
  }

  drop(lease: Lease): void {
    this.#dirty.delete(lease)
    this.#held.delete(lease)
  }

  #flush(): void {
    const keys: string[] = []
    const args: (string | number)[] = [this.#options.base, LINGER_MS, LOG_BYTES]
    const sent: Lease[] = []
    let frames = 0
    let bytes = 0
    const now = performance.now()
    const busy = this.#inFlight > 0 && !this.#overflows
    for (const lease of this.#dirty) {
      if (frames >= CALL_FRAMES || bytes >= CALL_BYTES) break
      // Only one entry of a job is under way: its numbers then arrive in order whatever is repeated.
      if (lease.sending || (busy && lease.started)) continue
      const batch = lease.cut(CALL_BYTES)
      this.#dirty.delete(lease)
      const text = JSON.stringify(batch)
      const record = batch.at(-1)?.end
      keys.push(this.#options.keys.job(lease.job.id), this.#options.keys.log(lease.job.id), this.#options.keys.body(lease.job.id))
      args.push(lease.job.id, lease.attempt, lease.token, lease.next, batch.length, text, record ? JSON.stringify(record) : '')
      lease.sending = batch
      lease.sentAt = now
      sent.push(lease)
      frames += batch.length
      bytes += text.length
    }
    this.#waiting = this.#dirty.size === 0 ? 0 : Math.max(0, this.#waiting - bytes)
    if (sent.length === 0) return
    void this.#send(keys, args, sent, now)
    if (this.#overflows) this.#flush()
  }

  async #send(keys: string[], args: (string | number)[], sent: Lease[], at: number): Promise<void> {
    this.#inFlight += 1
    try {
      for (;;) {
        try {
          const answers = (await this.#options.scripts.append(keys, args)) as (string | number)[]
          const now = performance.now()
          this.#pacing.answered(now - at, now)
          for (const [i, lease] of sent.entries()) this.#answered(lease, answers[i]!)
          break
        } catch (error) {
          this.#options.onError(error)
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
        }
      }
    } finally {
      this.#inFlight -= 1
      if (this.#dirty.size > 0) this.#flush()
    }
  }

  #answered(lease: Lease, answer: string | number): void {
    const batch = lease.sending ?? []
    lease.sending = undefined
    if (answer !== 'ok') return lease.refused(answer, batch)
    lease.stored(batch)
    if (lease.pending) this.push(lease, 0)
  }
}

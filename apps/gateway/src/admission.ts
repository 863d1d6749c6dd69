import { LaneFull, LimitReached, MemoryFull, type Ahead, type Lane, type MemoryUse } from '@drover/broker'
import { expectedWaitMs, mostAhead, nextMean, oneMoreRefused, retryAfterMs, runMs, type BrokerError, type Refused } from '@drover/core'

export interface AdmissionOptions {
  /** Asks Redis. */
  readMemory(): Promise<MemoryUse>
  /** Share of Redis' memory limit from which on nothing new is let in. */
  memoryShare: number
  /** Whoever would wait longer is refused, ms. */
  maxWaitMs: number
  /** Redis' memory has become nearly full, or is so no longer. */
  onMemory(full: boolean, use: MemoryUse): void
  onError(error: unknown): void
}

/** What is known of a lane. */
interface Known {
  slots: number
  /** ms that a job runs, of late. */
  meanMs?: number
  /** As the last job found it. */
  ahead: Ahead
  refused: Refused
}

/** Lanes of which something is known; more are none in use. */
const MOST_LANES = 10_000
/** Redis' memory is looked at this often, ms. */
const LOOK_MS = 1_000
/** So much less than what closed the door, as a share of the limit, opens it again: it does not flap. */
const REOPENS = 0.02
/** Told to those who are refused where nothing better is known, ms. */
const GUESS_MS = 2_000
/** Ended jobs leave memory within a minute. */
const MEMORY_GUESS_MS = 10_000

/**
 * Who is let in, and when those who are not may come again. It knows how long jobs of each lane take, as this gateway has seen; how many
 * are there is counted where a job is added, so that no request asks for it.
 */
export class Admission {
  #options: AdmissionOptions
  #lanes = new Map<Lane, Known>()
  #memory: { use: MemoryUse; full: boolean } = { use: { used: 0 }, full: false }
  #timer: NodeJS.Timeout

  constructor(options: AdmissionOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.look(), LOOK_MS)
  }

  get memory(): { use: MemoryUse; full: boolean } {
    return this.#memory
  }

  /** Looks at Redis' memory. While Redis does not answer, what was seen last holds. */
  async look(): Promise<void> {
    try {
      const use = await this.#options.readMemory()
      const { full: before } = this.#memory
      const share = use.limit === undefined ? 0 : use.used / use.limit
      const full = share >= this.#options.memoryShare - (before ? REOPENS : 0)
      this.#memory = { use, full }
      if (full !== before) this.#options.onMemory(full, use)
    } catch (error) {
      this.#options.onError(error)
    }
  }

  /** @throws BrokerError `queue_full` while Redis' memory is nearly full */
  checkMemory(): void {
    if (this.#memory.full) throw new MemoryFull()
  }

  /** How many jobs may wait or run in the lane before one that is to end within `timeoutMs`; `undefined`: nothing is known that bounds it. */
  mostAhead(lane: Lane, slots: number, timeoutMs: number): number | undefined {
    const known = this.#known(lane)
    known.slots = slots
    if (slots === 0 || known.meanMs === undefined) return undefined
    return mostAhead(Math.min(this.#options.maxWaitMs, timeoutMs), slots, known.meanMs)
  }

  /** A job has been added behind those. */
  added(lane: Lane, ahead: Ahead): void {
    this.#known(lane).ahead = ahead
  }

  /** A job of this gateway has completed, so many ms after it was added. */
  completed(lane: Lane, ms: number, ahead: Ahead): void {
    const known = this.#known(lane)
    if (known.slots > 0) known.meanMs = nextMean(known.meanMs, runMs(ms, { ...ahead, slots: known.slots }))
  }

  /** When the next job of the lane would begin, ms; `undefined`: not known. */
  expectedWaitMs(lane: Lane, ahead: Ahead): number | undefined {
    const known = this.#lanes.get(lane)
    return known?.meanMs === undefined || known.slots === 0 ? undefined : expectedWaitMs({ ...ahead, slots: known.slots }, known.meanMs)
  }

  /** When somebody who got this error may come again, ms. */
  retryAfterMs(error: BrokerError, lane?: Lane): number {
    // That is known, and who comes sooner comes in vain.
    return error instanceof LimitReached ? error.retryMs : retryAfterMs(this.#roomInMs(error, lane), Math.random())
  }

  #roomInMs(error: BrokerError, lane: Lane | undefined): number {
    if (error instanceof MemoryFull) return MEMORY_GUESS_MS
    const known = lane === undefined ? undefined : this.#lanes.get(lane)
    if (lane === undefined || known?.meanMs === undefined || known.slots === 0) return GUESS_MS
    if (error instanceof LaneFull) {
      const turnMs = known.meanMs / known.slots
      known.refused = oneMoreRefused(known.refused, performance.now(), turnMs)
      const tooLong = error.bound === 'wait' ? expectedWaitMs({ ...error.ahead, slots: known.slots }, known.meanMs) - this.#options.maxWaitMs : 0
      return known.refused.count * turnMs + Math.max(0, tooLong)
    }
    return error.code === 'deadline_exceeded' ? (this.expectedWaitMs(lane, known.ahead) ?? GUESS_MS) : GUESS_MS
  }

  /** The lane is no more. */
  forget(lane: Lane): void {
    this.#lanes.delete(lane)
  }

  #known(lane: Lane): Known {
    let known = this.#lanes.get(lane)
    if (known) return known
    const [oldest] = this.#lanes.keys()
    if (oldest !== undefined && this.#lanes.size >= MOST_LANES) this.#lanes.delete(oldest)
    this.#lanes.set(lane, (known = { slots: 0, ahead: { waiting: 0, running: 0 }, refused: { count: 0, at: 0 } }))
    return known
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

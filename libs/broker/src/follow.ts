import { BrokerError, type Frame, type JobId } from '@drover/core'
import type { FrameSink, GatewayBroker } from './gateway.ts'
import type { Lane } from './keys.ts'

/** Log entries read at once. */
const READ_ENTRIES = 64

/**
 * One job as one gateway follows it. Frames pass strictly by number: a gap means "read the log", never "carry on"; while the reader
 * is paused frames are not kept but read from the log later, so a slow client costs no memory here.
 */
export class Follow {
  readonly id: JobId
  readonly lane: Lane
  /** `performance.now()` of the last news. */
  heard = performance.now()
  #sink: FrameSink
  #broker: GatewayBroker
  #expected = 1
  #paused = false
  #reading = false
  #behind = false
  #over = false

  constructor(id: JobId, lane: Lane, sink: FrameSink, broker: GatewayBroker) {
    this.id = id
    this.lane = lane
    this.#sink = sink
    this.#broker = broker
  }

  /** Frames as they were published. */
  receive(first: number, attempt: number, frames: Frame[]): void {
    this.heard = performance.now()
    if (this.#over || first + frames.length <= this.#expected) return
    if (this.#paused || this.#reading || first !== this.#expected) {
      this.#behind = true
      if (!this.#paused) void this.#readOn()
      return
    }
    this.#deliver(attempt, frames)
  }

  /** The number of the job's next frame, as Redis has it; 0 for a job that is not there. */
  known(next: number): void {
    this.heard = performance.now()
    if (this.#over) return
    if (next === 0) return this.#lose()
    if (next > this.#expected) {
      this.#behind = true
      if (!this.#paused) void this.#readOn()
    }
  }

  /** The reader cannot take more for now. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#behind) void this.#readOn()
  }

  /** The client has gone, or its answer is finished otherwise. */
  async leave(): Promise<void> {
    if (this.#over) return
    this.#over = true
    await this.#broker.leave(this)
  }

  #deliver(attempt: number, frames: Frame[]): void {
    for (const frame of frames) {
      this.#expected += 1
      if (frame.end) {
        this.#over = true
        this.#broker.done(this.id)
      }
      this.#sink.frame(frame, attempt)
      if (this.#over) return
    }
  }

  #lose(): void {
    this.#over = true
    this.#broker.done(this.id)
    this.#sink.lost(new BrokerError('internal', 'the job is no longer known to the queue'))
  }

  async #readOn(): Promise<void> {
    if (this.#reading) return
    this.#reading = true
    try {
      while (this.#behind && !this.#paused && !this.#over) {
        this.#behind = false
        const before = this.#expected
        const [there, attempt, next, , ...entries] = (await this.#broker.read(this.id, this.#expected, READ_ENTRIES)) as [number, number, number, number, ...unknown[]]
        if (there === 0) return this.#lose()
        for (let i = 0; i < entries.length && !this.#over; i += 2) {
          if (this.#paused) break
          if (entries[i] === this.#expected) this.#deliver(attempt, JSON.parse(entries[i + 1] as string) as Frame[])
        }
        if (this.#expected < next && this.#expected > before) this.#behind = true
      }
    } catch {
      // The connection repeats what it can; for the rest the poll comes back here.
    } finally {
      this.#reading = false
    }
  }
}

import { BrokerError, type Frame, type JobId } from '@drover/core'
import type { GatewayBroker } from './gateway.ts'
import type { Lane } from './keys.ts'
import type { Ahead } from './submission.ts'

/** Receives a job's frames: in order, without gap or repeat, from the first. After `end`, or after `lost`, nothing comes. */
export interface FrameSink {
  frame(frame: Frame, attempt: number): void
  /** Nothing more can be learnt of the job. */
  lost(error: BrokerError): void
}

/** Log entries read at once: one at first, for a slow reader takes no more and the rest would be read in vain, then ever more. */
const FIRST_ENTRIES = 1
const MOST_ENTRIES = 64

/**
 * One job as one gateway follows it. Frames pass strictly by number: a gap means "read the log", never "carry on"; while the reader
 * is paused frames are not kept but read from the log later, so a slow client costs no memory here.
 */
export class Follow {
  readonly id: JobId
  /** Where it waits, known to who submitted it. */
  readonly lane: Lane | undefined
  /** `performance.now()` of the last news. */
  heard = performance.now()
  /** @internal What was in its lane before it, known to who submitted it, and when that was. */
  ahead: (Ahead & { at: number }) | undefined
  /** The job was there before this request, which repeats another. */
  repeated = false
  #sink: FrameSink
  #broker: GatewayBroker
  #expected: number
  #paused = false
  #reading = false
  #behind = false
  #over = false
  /** Token of the lease whose frames have been passed on. */
  #lease: string | undefined
  #first = Promise.withResolvers<void>()

  constructor(id: JobId, lane: Lane | undefined, sink: FrameSink, broker: GatewayBroker, from = 1) {
    this.id = id
    this.lane = lane
    this.#sink = sink
    this.#broker = broker
    this.#expected = from
  }

  /** Resolves with the first frame: then the job has surely been accepted, whatever became of the answer to its submit. */
  get begun(): Promise<void> {
    return this.#first.promise
  }

  /** Frames as they were published. */
  receive(first: number, attempt: number, lease: string, frames: Frame[]): void {
    this.heard = performance.now()
    if (this.#over) return
    // Also where the reader is slow: how long a job takes is not the client's affair.
    const record = frames.at(-1)?.end
    if (record?.outcome === 'completed') this.#broker.completed(this)
    if (first < this.#expected && this.#isOther(lease)) return this.#diverge()
    if (first + frames.length <= this.#expected) return
    if (this.#paused || this.#reading || first > this.#expected) {
      this.#behind = true
      if (!this.#paused) void this.#readOn()
      return
    }
    this.#deliver(attempt, lease, first, frames)
  }

  /** The number of the job's next frame, as Redis has it. */
  known(next: number): void {
    this.heard = performance.now()
    if (this.#over) return
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

  /** A frame with a number that we have had, from another lease: Redis has forgotten an attempt, and what it said is not what comes now. */
  #isOther(lease: string): boolean {
    return lease !== '' && this.#lease !== undefined && lease !== this.#lease
  }

  #diverge(): void {
    void this.leave().catch(() => undefined)
    this.#sink.lost(new BrokerError('node_lost', 'the job queue has lost a part of the answer that was already sent'))
  }

  /** `first` is at most the expected number: what was sent again may come in other pieces. */
  #deliver(attempt: number, lease: string, first: number, frames: Frame[]): void {
    this.#lease = lease
    this.#first.resolve()
    for (const frame of first === this.#expected ? frames : frames.slice(this.#expected - first)) {
      if (this.#paused) {
        this.#behind = true
        return
      }
      this.#expected += 1
      if (frame.end) {
        this.#over = true
        this.#broker.done(this)
      }
      this.#sink.frame(frame, attempt)
      if (this.#over) return
    }
  }

  /** The job is not there any more. */
  lose(): void {
    if (this.#over) return
    this.#over = true
    this.#broker.done(this)
    this.#sink.lost(new BrokerError('internal', 'the job is no longer known to the queue'))
  }

  async #readOn(): Promise<void> {
    if (this.#reading) return
    this.#reading = true
    try {
      for (let count = FIRST_ENTRIES; this.#behind && !this.#paused && !this.#over; count = Math.min(2 * count, MOST_ENTRIES)) {
        this.#behind = false
        const before = this.#expected
        const [there, attempt, next, ...entries] = (await this.#broker.read(this.id, this.#expected, count)) as [number, number, number, ...unknown[]]
        if (there === 0) return // the poll looks into it
        for (let i = 0; i < entries.length && !this.#over && !this.#paused; i += 3) {
          const [first, lease, frames] = entries.slice(i, i + 3) as [number, string, string]
          const parsed = JSON.parse(frames) as Frame[]
          if (first > this.#expected || first + parsed.length <= this.#expected) continue
          if (this.#isOther(lease) && !parsed[0]?.reset && !parsed[0]?.resumed && !parsed[0]?.end) return this.#diverge()
          this.#deliver(attempt, lease, first, parsed)
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

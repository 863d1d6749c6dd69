import { BrokerError, toErrorInfo, type AttemptOutcome, type Frame, type Head, type Job, type Rung, type Saved, type TerminalRecord } from '@drover/core'
import type { Appender } from './appender.ts'
import { cutAt, toFrames } from './cut-text.ts'
import type { Lane } from './keys.ts'
import { FORGETS_MS } from './limits.ts'

/** Why an attempt must stop; it is the reason of the lease's signal. */
export type Abort = Extract<AttemptOutcome, { kind: 'cancelled' | 'failed' | 'returned' | 'lost' }>

/** Text that may wait in one lease before its engine is paused, characters. */
const BACKLOG = 16 * 1024
/** Most characters kept of what Redis has answered for. */
const KEPT = 64 * 1024

export interface LeaseFacts {
  job: Job
  lane: Lane
  token: string
  attempt: number
  /** Number of the first frame that this attempt writes: above 1, an earlier one has written. */
  next: number
  /** ms to the deadline when the attempt began. */
  remainingMs: number
  /** The request, JSON text. */
  body: string
  node: string
  /** No further attempt will be granted if this one fails. */
  lastStart: boolean
  /** Attempts before this one that were given back uncounted. */
  returned: number
  /** How the last attempt before this one failed, if it could say so. */
  failure?: BrokerError | undefined
}

export interface LeaseActions {
  appender: Appender
  /** BullMQ's bookkeeping for a job that somebody else has ended. */
  finish(lease: Lease): void
  /** The log from frame 1 up to this attempt. */
  history(lease: Lease): Promise<Frame[]>
  /** Redis has forgotten the attempt: have it again, or abort. */
  reclaim(lease: Lease): void
  /** Gives the job up unended. */
  release(lease: Lease, counted: boolean, error?: BrokerError): Promise<boolean>
  /** The lease is done with; `recorded`: it has ended its job. */
  over(lease: Lease, recorded: boolean): void
}

/** The right to run one attempt of a job, until its lock runs out. Its frames are numbered here and refused once another attempt has begun. */
export class Lease implements Omit<LeaseFacts, 'body'> {
  readonly job: Job
  readonly lane: Lane
  readonly token: string
  readonly attempt: number
  readonly remainingMs: number
  #body: string
  readonly node: string
  readonly lastStart: boolean
  readonly returned: number
  readonly failure: BrokerError | undefined
  next: number
  /** Frames under way to Redis. */
  sending: Frame[] | undefined
  /** A frame of this attempt has been sent. */
  started = false
  /** @internal `performance.now()` of the last frames sent. */
  sentAt = 0
  #actions: LeaseActions
  #abort = new AbortController()
  #frame: Frame = {}
  #text = ''
  #record: TerminalRecord | undefined
  #onRoom: (() => void) | undefined
  #settled: PromiseWithResolvers<boolean> | undefined
  #over = false
  /** Frames that Redis has answered for, the last ones. */
  #kept: { first: number; frame: Frame; at: number; size: number }[] = []
  #keptSize = 0
  /** Frames to be sent again before anything new. */
  #again: Frame[] = []
  /** Frames under way that are also among those to be sent again: what is answered to them counts no more. */
  #void: Frame[] | undefined

  constructor(facts: LeaseFacts, actions: LeaseActions) {
    this.job = facts.job
    this.lane = facts.lane
    this.token = facts.token
    this.attempt = facts.attempt
    this.next = facts.next
    this.remainingMs = facts.remainingMs
    this.#body = facts.body
    this.node = facts.node
    this.lastStart = facts.lastStart
    this.returned = facts.returned
    this.failure = facts.failure
    this.#actions = actions
  }

  /** The request, JSON text; given once, for a worker holds thousands of leases and needs each body for a moment. */
  takeBody(): string {
    const body = this.#body
    this.#body = ''
    return body
  }

  /** Aborted when the attempt must stop; the reason is its outcome. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  abort(outcome: Abort): void {
    if (!this.#over && !this.#abort.signal.aborted) this.#abort.abort(outcome)
  }

  /** Something waits to be sent. */
  get pending(): boolean {
    return this.#again.length > 0 || this.#record !== undefined || this.#text !== '' || Object.keys(this.#frame).length > 0
  }

  /** Text of this attempt has been handed over, so somebody may have read it. */
  get readable(): boolean {
    return this.started || this.#text !== ''
  }

  /** @internal What waits is more than text: it has ended, or frames must be sent again. */
  get urgent(): boolean {
    return this.#record !== undefined || this.#again.length > 0
  }

  /** @internal Text that waits, characters. */
  get waiting(): number {
    return this.#text.length
  }

  /** What earlier attempts have written, from the last time that readers were told to forget what was before. */
  async history(): Promise<Frame[]> {
    const frames = await this.#actions.history(this)
    return frames.slice(Math.max(0, frames.findLastIndex(({ reset }) => reset)))
  }

  /** Readers forget what earlier attempts wrote. */
  reset(): void {
    this.#frame.reset = true
  }

  /** What follows goes on with what earlier attempts wrote. */
  resumed(rung: Rung): void {
    this.#frame.resumed = rung
  }

  /** Keeps for a later attempt what nobody reads before the end. */
  save(saved: Saved): void {
    if (this.#over || this.#record) return
    this.#frame.saved = saved
    this.#actions.appender.push(this, 0)
  }

  /** A check-point is under way, or waits to be. */
  get saving(): boolean {
    return this.#frame.saved !== undefined || this.sending !== undefined
  }

  /** What is known before the first byte; goes with it. */
  head(head: Omit<Head, 'node'>): void {
    this.#frame.head = { ...head, node: this.node }
  }

  /** Takes whole events. False: there is no room for more, wait for `room`. */
  append(text: string): boolean {
    if (text === '' || this.#over) return true
    this.#text += text
    this.#actions.appender.push(this, text.length)
    return this.#text.length < BACKLOG
  }

  /** Called once, when there is room again. */
  room(then: () => void): void {
    this.#onRoom = then
  }

  /** Ends the attempt. Resolves when Redis has answered: false when it was no longer this attempt's to end; after `lost` nothing is written. */
  async settle(outcome: AttemptOutcome): Promise<boolean> {
    switch (outcome.kind) {
      case 'completed':
        return this.#end({ outcome: 'completed', ...(outcome.usage && { usage: outcome.usage }) })
      case 'failed':
        return this.#end({ outcome: 'failed', error: toErrorInfo(outcome.error) })
      case 'cancelled':
        return this.#end({ outcome: 'cancelled' })
      case 'retry':
      case 'returned': {
        if (this.#over) return false
        this.#drop(false)
        return this.#actions.release(this, outcome.kind === 'retry', outcome.kind === 'retry' ? outcome.error : undefined)
      }
      case 'lost':
        this.#drop(false)
        return false
      default:
        return outcome satisfies never
    }
  }

  #end(record: Omit<TerminalRecord, 'attempt' | 'node'>): Promise<boolean> {
    if (this.#over) return Promise.resolve(false)
    this.#record = { ...record, attempt: this.attempt, node: this.node }
    this.#settled = Promise.withResolvers()
    this.#actions.appender.push(this, 0)
    return this.#settled.promise
  }

  #drop(written: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#text = ''
    this.#frame = {}
    this.#again = []
    this.#actions.appender.drop(this)
    this.#actions.over(this, written)
    this.#settled?.resolve(written)
  }

  /** @internal for `Appender`: takes what waits, about `most` characters of it, as frames. */
  cut(most: number): Frame[] {
    if (this.#again.length > 0) {
      let size = 0
      let count = 0
      while (count < this.#again.length && (count === 0 || size < most)) size += this.#again[count++]!.text?.length ?? 0
      return this.#again.splice(0, count)
    }
    const to = cutAt(this.#text, most)
    const whole = to === this.#text.length
    const frames = toFrames(this.#text.slice(0, to), this.#frame)
    this.#text = this.#text.slice(to)
    this.#frame = {}
    if (whole && this.#record) {
      frames.at(-1)!.end = this.#record
      this.#record = undefined
    }
    this.started = true
    return frames
  }

  /** @internal for `Appender`: what was sent is stored. */
  stored(batch: Frame[]): void {
    if (this.#isVoid(batch)) return
    const at = performance.now()
    for (const frame of batch) {
      const size = frame.text?.length ?? 0
      this.#kept.push({ first: this.next, frame, at, size })
      this.#keptSize += size
      this.next += 1
    }
    this.prune(at)
    if (!this.pending && this.#settled) return this.#drop(true)
    if (this.#text.length >= BACKLOG || !this.#onRoom) return
    const then = this.#onRoom
    this.#onRoom = undefined
    then()
  }

  /** @internal What Redis cannot forget any more need not be kept. */
  prune(now: number): void {
    while (this.#kept[0] && (now - this.#kept[0].at > FORGETS_MS || (this.#keptSize > KEPT && this.#kept.length > 1))) this.#keptSize -= this.#kept.shift()!.size
  }

  /** @internal Redis was away: what it had answered for until then may have been forgotten just now. */
  keepLonger(now: number): void {
    for (const kept of this.#kept) kept.at = now
  }

  /** @internal Redis wants frames from `number` on. False: they are no longer kept. */
  rewind(number: number): boolean {
    const kept = this.#kept.filter(({ first }) => first >= number)
    if (number > this.next || kept.length !== this.next - number) return false
    const underWay = this.sending === this.#void ? [] : (this.sending ?? [])
    this.#void = this.sending
    this.#again = [...kept.map(({ frame }) => frame), ...underWay, ...this.#again]
    this.#kept = this.#kept.filter(({ first }) => first < number)
    this.#keptSize = this.#kept.reduce((sum, { size }) => sum + size, 0)
    this.next = number
    this.#over = false
    if (this.pending) this.#actions.appender.push(this, 0)
    return true
  }

  /** @internal for `Appender`: another attempt has the job, it has ended, its log is full, or Redis has forgotten something. */
  refused(answer: string | number, batch: Frame[]): void {
    const isVoid = this.#isVoid(batch)
    // Redis has forgotten what came before these, and that is being sent already.
    if (isVoid && (answer === 'behind' || answer === 'gone' || typeof answer === 'number')) {
      if (this.pending) this.#actions.appender.push(this, 0)
      return
    }
    if (answer === 'full' && !this.#settled) {
      this.#text = ''
      return this.abort({ kind: 'failed', error: new BrokerError('answer_too_large', 'the answer has outgrown what is kept of one job') })
    }
    if (answer === 'behind' || answer === 'gone' || typeof answer === 'number') this.#again = [...batch, ...this.#again]
    if (answer === 'behind' || answer === 'gone') return this.#actions.reclaim(this)
    if (typeof answer === 'number' && this.rewind(answer)) return
    if (answer === 'ended') this.#actions.finish(this)
    this.lose(typeof answer === 'number' ? `frame ${this.next} was sent, ${answer} expected` : answer)
  }

  #isVoid(batch: Frame[]): boolean {
    if (batch !== this.#void) return false
    this.#void = undefined
    return true
  }

  /** @internal The attempt is no longer this lease's. */
  lose(why: string): void {
    this.abort({ kind: 'lost', why })
    this.#drop(false)
  }
}

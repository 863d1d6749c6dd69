import { BrokerError, FRAME_BYTES, toErrorInfo, type AttemptOutcome, type Frame, type Head, type Job, type TerminalRecord } from '@drover/core'
import { toFrames, type Appender } from './appender.ts'
import type { Lane } from './keys.ts'

/** Why an attempt must stop; it is the reason of the lease's signal. */
export type Abort = Extract<AttemptOutcome, { kind: 'cancelled' | 'failed' | 'returned' | 'lost' }>

/** Text that may wait in one lease before its engine is paused, characters. */
const BACKLOG = 16 * 1024

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
}

export interface LeaseActions {
  appender: Appender
  /** BullMQ's bookkeeping for a job whose record stands. */
  finish(lease: Lease): void
  /** Gives the job up unended. */
  release(lease: Lease, counted: boolean, error?: BrokerError): Promise<boolean>
  over(lease: Lease): void
}

/** The right to run one attempt of a job, until its lock runs out. Its frames are numbered here and refused once another attempt has begun. */
export class Lease implements LeaseFacts {
  readonly job: Job
  readonly lane: Lane
  readonly token: string
  readonly attempt: number
  readonly remainingMs: number
  readonly body: string
  readonly node: string
  readonly lastStart: boolean
  next: number
  /** Frames under way to Redis. */
  sending: Frame[] | undefined
  /** A frame of this attempt has been sent. */
  started = false
  #actions: LeaseActions
  #abort = new AbortController()
  #frame: Frame = {}
  #text = ''
  #record: TerminalRecord | undefined
  #onRoom: (() => void) | undefined
  #settled: PromiseWithResolvers<boolean> | undefined
  #over = false

  constructor(facts: LeaseFacts, actions: LeaseActions) {
    this.job = facts.job
    this.lane = facts.lane
    this.token = facts.token
    this.attempt = facts.attempt
    this.next = facts.next
    this.remainingMs = facts.remainingMs
    this.body = facts.body
    this.node = facts.node
    this.lastStart = facts.lastStart
    this.#actions = actions
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
    return this.#record !== undefined || this.#text !== '' || this.#frame.head !== undefined || this.#frame.reset !== undefined
  }

  /** Text of this attempt has been handed over, so somebody may have read it. */
  get readable(): boolean {
    return this.started || this.#text !== ''
  }

  /** Readers forget what earlier attempts wrote. */
  reset(): void {
    this.#frame.reset = true
  }

  /** What is known before the first byte; goes with it. */
  head(head: Omit<Head, 'node'>): void {
    this.#frame.head = { ...head, node: this.node }
  }

  /** Takes whole events. False: there is no room for more, wait for `room`. */
  append(text: string): boolean {
    if (text === '' || this.#over) return true
    this.#text += text
    this.#actions.appender.push(this)
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
    this.#actions.appender.push(this)
    return this.#settled.promise
  }

  #drop(written: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#text = ''
    this.#frame = {}
    this.#actions.appender.drop(this)
    this.#actions.over(this)
    this.#settled?.resolve(written)
  }

  /** @internal for `Appender`: takes what waits, about `most` characters of it, as frames. */
  cut(most: number): Frame[] {
    const whole = this.#text.length <= most
    let to = this.#text.length
    if (!whole) {
      to = most - (most % FRAME_BYTES)
      const last = this.#text.charCodeAt(to - 1)
      if (last >= 0xd800 && last < 0xdc00) to -= 1
    }
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

  /** @internal for `Appender`: the record is on its way. */
  recorded(): void {
    this.#actions.finish(this)
  }

  /** @internal for `Appender`: what was cut is stored. */
  stored(): void {
    if (!this.pending && this.#settled) return this.#drop(true)
    if (this.#text.length >= BACKLOG || !this.#onRoom) return
    const then = this.#onRoom
    this.#onRoom = undefined
    then()
  }

  /** @internal for `Appender`: another attempt has the job, it has ended, or its log is full. */
  refused(answer: string | number): void {
    if (answer === 'full' && !this.#settled) {
      this.#text = ''
      return this.abort({ kind: 'failed', error: new BrokerError('answer_too_large', 'the answer has outgrown what is kept of one job') })
    }
    if (answer === 'ended') this.#actions.finish(this)
    this.abort({ kind: 'lost', why: typeof answer === 'number' ? `frame ${this.next} was sent, ${answer} expected` : answer })
    this.#drop(false)
  }
}

import type { FrameSink } from '@drover/broker'
import { BrokerError, type Frame } from '@drover/core'
import { dialects, eventsBefore, failedEvent, numberOf, TOLD_BEFORE } from '@drover/dialects'
import type { Reply, ReplyForm } from '../reply.ts'

export interface ResponseEventsOptions {
  /** The response as it waited: its first events say so. */
  queued: Record<string, unknown>
  /** Number of the last event that the reader has; -1: none. */
  after: number
  /** The job has ended: the response as that is kept, JSON text; `undefined` if it cannot be read just now. */
  ended(): Promise<string | undefined>
}

const { 'openai.responses': dialect } = dialects

/**
 * The events of a background response, on any gateway, from behind the reader's last one on: those before its job, those of the job, and
 * where the job has not completed one that says so. Each has its number for ever.
 */
export class ResponseEvents implements FrameSink {
  #options: ResponseEventsOptions
  #reply: Reply | undefined
  #lost: BrokerError | undefined
  #begun = false
  /** Number of the job's last event so far. */
  #last = TOLD_BEFORE - 1
  /** Events are still left out. */
  #skips: boolean
  /** The beginning of an event that goes on in the next frame. */
  #rest = ''
  #broken = false

  constructor(options: ResponseEventsOptions) {
    this.#options = options
    this.#skips = options.after >= TOLD_BEFORE
  }

  /** This is the form of the reply that it writes to. */
  get form(): ReplyForm {
    // The last event has said it.
    return { ...dialect, errorEvent: (error, requestId) => (this.#broken ? '' : dialect.errorEvent(error, requestId)) }
  }

  /** Where the events go. */
  to(reply: Reply): void {
    this.#reply = reply
    if (this.#lost) reply.lost(this.#lost)
  }

  /** The job is there: what comes before its events. */
  begin(): void {
    if (this.#begun) return
    this.#begun = true
    const text = eventsBefore(this.#options.queued).slice(this.#options.after + 1).join('')
    this.#reply?.open()
    if (text !== '') this.#reply?.frame({ text }, 0)
  }

  frame({ text = '', reset, end, ...rest }: Frame, attempt: number): void {
    this.begin()
    if (reset) {
      this.#rest = ''
      if (this.#last >= TOLD_BEFORE || this.#options.after >= TOLD_BEFORE) return this.lost(new BrokerError('node_lost', 'the answer had to start again after it was half sent'))
    }
    const told = this.#cut(text)
    if (end?.outcome === 'completed') void this.#options.ended()
    if (end === undefined || end.outcome === 'completed') {
      this.#reply?.frame({ ...rest, ...(told !== '' && { text: told }), ...(end && { end }) }, attempt)
      return
    }
    void this.#breakOff(told, { ...rest, end }, attempt)
  }

  /** The job has ended, and its response says how. */
  async #breakOff(told: string, frame: Frame, attempt: number): Promise<void> {
    const ended = await this.#options.ended()
    const number = this.#last + 1
    let text = told
    if (ended !== undefined) {
      this.#broken = true
      if (number > this.#options.after) text += failedEvent(JSON.parse(ended) as Record<string, unknown>, number)
    }
    this.#reply?.frame({ ...frame, ...(text !== '' && { text }) }, attempt)
  }

  lost(error: BrokerError): void {
    if (this.#reply) this.#reply.lost(error)
    else this.#lost = error
  }

  /** The events that end in this text and that the reader has not had. */
  #cut(text: string): string {
    const all = this.#rest + text
    const to = all.lastIndexOf('\n\n') + 2
    if (to < 2) {
      this.#rest = all
      return ''
    }
    this.#rest = all.slice(to)
    const whole = all.slice(0, to)
    const from = whole.lastIndexOf('\n\n', to - 3)
    this.#last = numberOf(whole.slice(from < 0 ? 0 : from + 2)) ?? this.#last
    if (!this.#skips) return whole
    if (this.#last <= this.#options.after) return ''
    this.#skips = false
    const events = whole.split(/(?<=\n\n)/)
    return events.slice(events.findIndex((event) => (numberOf(event) ?? 0) > this.#options.after)).join('')
  }
}

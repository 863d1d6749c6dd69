import type { Follow, FrameSink } from '@drover/broker'
import type { BrokerError, Frame, JobId, TerminalRecord } from '@drover/core'

/** What all answers that are being gathered have together. */
export interface Gathered {
  chars: number
  answers: Set<LineAnswer>
}

/** Above this only the answer that was begun first is read on: the others wait in Redis. Characters. */
const MOST_CHARS = 24 * 1024 * 1024

export interface LineAnswerOptions {
  gathered: Gathered
  onEnd(answer: LineAnswer, record: TerminalRecord): void
  /** Nothing more can be learnt of its job. */
  onLost(answer: LineAnswer, error: BrokerError): void
}

/** The answer to one request of a batch, gathered until it is whole. */
export class LineAnswer implements FrameSink {
  readonly line: number
  readonly customId: string
  readonly bytes: number
  readonly job: JobId
  status = 200
  #options: LineAnswerOptions
  #texts: string[] = []
  #chars = 0
  #follow: Follow | undefined
  #over = false

  constructor(facts: { line: number; customId: string; bytes: number; job: JobId }, options: LineAnswerOptions) {
    this.line = facts.line
    this.customId = facts.customId
    this.bytes = facts.bytes
    this.job = facts.job
    this.#options = options
  }

  /** All of it, once: it still counts as held, until `release`. */
  take(): string {
    const text = this.#texts.join('')
    this.#texts = []
    return text
  }

  attach(follow: Follow): void {
    this.#follow = follow
    if (this.#over) this.leave()
  }

  frame({ reset, head, text, end }: Frame): void {
    if (this.#over) return
    const { gathered } = this.#options
    if (reset) this.#empty()
    if (head) this.status = head.status
    if (text !== undefined) {
      this.#texts.push(text)
      this.#chars += text.length
      gathered.chars += text.length
      gathered.answers.add(this)
    }
    if (end) {
      this.#over = true
      this.#options.onEnd(this, end)
    } else if (gathered.chars > MOST_CHARS && gathered.answers.values().next().value !== this) this.#follow?.pause()
  }

  lost(error: BrokerError): void {
    if (this.#over) return
    this.#over = true
    this.#options.onLost(this, error)
  }

  resume(): void {
    this.#follow?.resume()
  }

  #empty(): void {
    this.#options.gathered.chars -= this.#chars
    this.#chars = 0
    this.#texts = []
  }

  /** Its text is needed no more: others may go on. */
  release(): void {
    const { gathered } = this.#options
    this.#empty()
    gathered.answers.delete(this)
    for (const other of gathered.answers) other.resume()
  }

  /** Stops listening; the job goes on. */
  leave(): void {
    this.#over = true
    this.release()
    void this.#follow?.leave().catch(() => undefined)
  }
}

import type { ServerResponse } from 'node:http'
import type { Follow, FrameSink } from '@drover/broker'
import { BrokerError, fromErrorInfo, retryAfterMs, type Frame, type Head, type Rung, type TerminalRecord } from '@drover/core'
import type { Dialect } from '@drover/dialects'

/** What an answer needs to know of its format. */
export type ReplyForm = Pick<Dialect, 'streamType' | 'bodyType' | 'refuse' | 'errorEvent' | 'keepAlive'>

export interface ReplyOptions {
  outgoing: ServerResponse
  dialect: ReplyForm
  /** The client reads while the answer grows. */
  stream: boolean
  /** The model as the client wrote it. */
  asked: string
  /** Sent with whatever the answer will be. */
  headers: Record<string, string>
  /** When a client that got this error may come again, ms; absent: in a moment. */
  retryAfterMs?(error: BrokerError): number
  /** Called once, when the answer is over for this gateway, with its record if it has one. */
  onOver(facts: ReplyFacts): void
}

/** What a reply needs of whatever its frames come from: one job, or several. */
export type Followed = Pick<Follow, 'pause' | 'resume' | 'leave'>

/** An answer under way, as those see it who look after all of them. */
export interface OpenAnswer {
  /** Nothing more can be learnt of what it answers. */
  lost(error: BrokerError): void
  keepAlive(silentMs: number, graceMs: number): void
}

export interface ReplyFacts {
  record: TerminalRecord | undefined
  /** ms from the request to the first text sent, and to the end. */
  firstTextMs: number | undefined
  totalMs: number
  clientLeft: boolean
  /** How later attempts took it up, one after the other. */
  resumed: readonly Rung[]
}

/** Longer text is likely to wait for its client, characters. */
const AT_ONCE_CHARS = 4 * 1024

/**
 * Text that may have to wait for its client. Node keeps a string, and three times its length beside it, until the system has taken it all;
 * and of a buffer from the pool, the whole pool.
 */
const toBytes = (text: string): Buffer => {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text))
  bytes.write(text)
  return bytes
}

/**
 * Frames to an HTTP body. Head and first text go in one write, the last text with the end; a client that reads slowly pauses the
 * follow, which then reads on from the log. Writing goes to Node's response itself: a web stream in between costs a third more.
 */
export class Reply implements FrameSink, OpenAnswer {
  #options: ReplyOptions
  #follow: Followed | undefined
  #head: Head | undefined
  #attempt = 0
  #resumed: Rung[] = []
  #gathered: string[] = []
  #sentText = false
  #over = false
  #receivedAt = performance.now()
  #spokeAt = performance.now()
  #firstTextMs: number | undefined

  constructor(options: ReplyOptions) {
    this.#options = options
    options.outgoing.once('close', () => this.#gone())
  }

  /** The job is on its lane. A client that has left meanwhile leaves it now. */
  attach(follow: Followed): void {
    this.#follow = follow
    if (this.#over) void follow.leave().catch(() => undefined)
    // It may have left before anybody listened.
    else if (this.#options.outgoing.destroyed) this.#gone()
  }

  #gone(): void {
    if (this.#over) return
    this.#finish(undefined, true)
    void this.#follow?.leave().catch(() => undefined)
  }

  get over(): boolean {
    return this.#over
  }

  frame(frame: Frame, attempt: number): void {
    if (this.#over) return
    this.#attempt = attempt
    if (frame.reset) {
      this.#gathered = []
      this.#head = undefined
      if (this.#sentText) return this.#break(new BrokerError('node_lost', 'the answer had to start again after it was half sent'))
    }
    if (frame.resumed) this.#resumed.push(frame.resumed)
    if (frame.head) this.#head = frame.head
    if (frame.end) return this.#end(frame.end, frame.text ?? '')
    if (frame.text === undefined) return
    if (!this.#options.stream) {
      this.#gathered.push(frame.text)
      return
    }
    this.#open()
    this.#sentText = true
    this.#firstTextMs ??= performance.now() - this.#receivedAt
    this.#write(frame.text)
  }

  /** Sends the header of a stream before there is anything to tell of its job. */
  open(): void {
    if (this.#over) return
    this.#open({})
    this.#options.outgoing.flushHeaders()
  }

  lost(error: BrokerError): void {
    if (!this.#over) this.#break(error)
  }

  /** Says something to a client that waits, so that nothing on the way gives the connection up. Commits to a 200. */
  keepAlive(silentMs: number, graceMs: number): void {
    const { stream, dialect, asked, outgoing } = this.#options
    const now = performance.now()
    // Who has yet to read what was sent knows that we are here.
    if (!stream || this.#over || outgoing.writableNeedDrain || now - this.#spokeAt < (outgoing.headersSent ? silentMs : graceMs)) return
    this.#open()
    this.#write(dialect.keepAlive({ model: asked, createdAt: Date.now() }))
  }

  /** Ends the answer with an error, in whatever form is still possible. */
  #break(error: BrokerError): void {
    const { outgoing, dialect } = this.#options
    if (outgoing.headersSent) outgoing.end(dialect.errorEvent(error, this.#options.headers['x-request-id']))
    else this.refuse(error)
    this.#finish(undefined, false)
    void this.#follow?.leave().catch(() => undefined)
  }

  /** An error as the whole answer. */
  refuse(error: BrokerError): void {
    const { outgoing, dialect, headers } = this.#options
    sendRefusal(outgoing, dialect, error, { ...headers, ...this.#facts() }, this.#options.retryAfterMs?.(error))
  }

  #end(record: TerminalRecord, text: string): void {
    const { outgoing, dialect, stream, headers } = this.#options
    if (record.outcome === 'completed') {
      this.#firstTextMs ??= performance.now() - this.#receivedAt
      if (stream) {
        this.#open()
        outgoing.end(text)
      } else {
        const body = this.#gathered.length === 0 ? text : this.#gathered.join('') + text
        const head = this.#head ?? { status: 200, contentType: dialect.bodyType }
        outgoing.writeHead(head.status, {
          ...headers,
          ...this.#facts(),
          'content-type': head.contentType,
          'content-length': Buffer.byteLength(body),
        })
        outgoing.end(body)
      }
    } else {
      const error = errorOf(record)
      if (outgoing.headersSent) outgoing.end(text + dialect.errorEvent(error, headers['x-request-id']))
      else this.refuse(error)
    }
    this.#finish(record, false)
  }

  #facts(): Record<string, string> {
    return {
      ...(this.#head && { 'x-drover-node': this.#head.node }),
      'x-drover-attempts': String(this.#attempt),
      ...(this.#resumed.length > 0 && { 'x-drover-resumed': this.#resumed.join(', ') }),
    }
  }

  #open(facts = this.#facts()): void {
    const { outgoing, headers, dialect } = this.#options
    if (outgoing.headersSent) return
    outgoing.writeHead(this.#head?.status ?? 200, {
      ...headers,
      ...facts,
      'content-type': this.#head?.contentType ?? dialect.streamType,
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
  }

  #write(text: string): void {
    const { outgoing } = this.#options
    this.#spokeAt = performance.now()
    if (outgoing.write(text.length > AT_ONCE_CHARS ? toBytes(text) : text)) return
    this.#follow?.pause()
    outgoing.once('drain', () => this.#follow?.resume())
  }

  #finish(record: TerminalRecord | undefined, clientLeft: boolean): void {
    this.#over = true
    this.#gathered = []
    this.#options.onOver({ record, firstTextMs: this.#firstTextMs, totalMs: performance.now() - this.#receivedAt, clientLeft, resumed: this.#resumed })
  }
}

/** Why a job did not complete. */
export const errorOf = ({ outcome, error }: TerminalRecord): BrokerError =>
  error
    ? fromErrorInfo(error)
    : outcome === 'cancelled'
      ? new BrokerError('cancelled', 'request canceled')
      : outcome === 'expired'
        ? new BrokerError('deadline_exceeded', 'the job was not finished before its deadline')
        : new BrokerError('internal', 'the job failed')

/** Who may come again and is not told better does so after this, ms. */
const AGAIN_MS = 2_000

/** When to come again, in whole seconds and in milliseconds: both say the same. */
export const retryHeaders = (retryMs: number) => {
  const ms = Math.round(retryMs)
  return { 'retry-after': String(Math.ceil(ms / 1_000)), 'retry-after-ms': String(ms) }
}

/**
 * An error as a whole answer in the route's own dialect; where the caller may try again `Retry-After` (s) and, for the clients of OpenAI
 * and Anthropic, `retry-after-ms`.
 */
export const sendRefusal = (
  outgoing: ServerResponse,
  dialect: Pick<Dialect, 'refuse'>,
  error: BrokerError,
  headers: Record<string, string>,
  retryMs = retryAfterMs(AGAIN_MS, Math.random()),
): void => {
  if (outgoing.headersSent || outgoing.destroyed) return
  const { status, contentType, body } = dialect.refuse(error, headers['x-request-id'])
  outgoing.writeHead(status, {
    ...headers,
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    ...(error.retry === 'caller' && retryHeaders(retryMs)),
  })
  outgoing.end(body)
}

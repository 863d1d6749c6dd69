import type { FrameSink } from '@drover/broker'
import { BrokerError, type Frame } from '@drover/core'
import { dialects, type Dialect } from '@drover/dialects'
import type { ReplyForm } from '../reply.ts'

const EVENT_STREAM = 'text/event-stream'

/** Where a reader is in a job's log. */
export interface Place {
  /** The first frame that it has not read to its end. */
  frame: number
  /** Characters of that frame that it has read. */
  chars: number
}

/**
 * The id of an event: `N` says that frame N has been read, `N-C` that C characters of it have. Frames are stored once and never cut
 * anew, so either means the same on every gateway. `undefined` for a text that is no id.
 */
export const readPlace = (id: string): Place | undefined => {
  const [, frame, chars] = /^(0|[1-9]\d{0,8})(?:-(\d{1,7}))?$/.exec(id) ?? []
  if (frame === undefined || (frame === '0' && chars !== undefined)) return undefined
  return chars === undefined ? { frame: Number(frame) + 1, chars: 0 } : { frame: Number(frame), chars: Number(chars) }
}

/** Text as the data of one event. */
const asData = (text: string): string => `${text.replace(/\r?\n$/, '').split(/\r?\n/).map((line) => `data: ${line}`).join('\n')}\n\n`

export interface JobEventsOptions {
  dialect: Dialect
  /** The job's answer is a stream; else one body, which is one event. */
  stream: boolean
  /** Where the reader is. */
  from: Place
}

/**
 * A job's frames as server-sent events with ids: those of its dialect where it has such, else each line, or the body, as one. This is
 * the form of the reply that it writes to.
 */
export class JobEvents implements FrameSink {
  #options: JobEventsOptions
  #sink: (FrameSink & { open(): void }) | undefined
  /** Number of the next frame. */
  #number: number
  /** Characters of the next frame that the reader has. */
  #skip: number
  /** The beginning of an event that goes on in the next frame; the body so far. */
  #rest = ''
  /** The job has ended with an error, which has this id. */
  #errorId: number | undefined
  /** An event has been read, here or before. */
  #read: boolean

  constructor(options: JobEventsOptions) {
    this.#options = options
    this.#number = options.from.frame
    this.#skip = options.from.chars
    this.#read = options.from.frame > 1 || options.from.chars > 0
  }

  get form(): ReplyForm {
    const { dialect } = this.#options
    return {
      streamType: EVENT_STREAM,
      bodyType: EVENT_STREAM,
      refuse: dialects['ollama.chat'].refuse,
      keepAlive: () => ': waiting\n\n',
      errorEvent: (error, requestId) => {
        // The job goes on: a reader that comes again finds it.
        if (error.code === 'draining') return `: ${error.message}\n\n`
        const event = dialect.errorEvent(error, requestId)
        return (this.#errorId === undefined ? '' : `id: ${this.#errorId}\n`) + (this.#isEvents ? event : asData(event))
      },
    }
  }

  /** Where the events go. */
  to(sink: FrameSink & { open(): void }): void {
    this.#sink = sink
  }

  frame(frame: Frame, attempt: number): void {
    const { end, head, resumed } = frame
    const number = this.#number
    this.#number += 1
    if (frame.reset) {
      this.#rest = ''
      if (this.#read) return this.lost(new BrokerError('node_lost', 'the answer had to start again after it was half sent'))
    }
    const completed = end?.outcome === 'completed'
    if (end && !completed) this.#errorId = number
    let text = this.#cut(frame.text ?? '', number, end !== undefined && !completed)
    if (completed && this.#rest !== '') {
      text += `id: ${number}\n${asData(this.#rest)}`
      this.#rest = ''
    }
    if (text !== '') this.#read = true
    // A reader that had all of it already is told so, and does not come again.
    const status = completed && text === '' ? 204 : 200
    if (end && !completed) this.#sink?.open()
    this.#sink?.frame(
      {
        ...(resumed && { resumed }),
        ...((head ?? status === 204) && { head: { node: '', ...head, status, contentType: EVENT_STREAM } }),
        ...(text !== '' && { text }),
        ...(end && { end }),
      },
      attempt,
    )
  }

  lost(error: BrokerError): void {
    this.#sink?.lost(error)
  }

  get #isEvents(): boolean {
    return this.#options.dialect.streamType === EVENT_STREAM
  }

  /** The events that end in this text, which is that of frame `number`; `more`: another event comes behind them. */
  #cut(text: string, number: number, more: boolean): string {
    if (!this.#options.stream) {
      this.#rest += text
      return ''
    }
    const skip = this.#skip
    this.#skip = 0
    const before = this.#rest.length
    const all = this.#rest + text.slice(skip)
    const boundary = this.#isEvents ? /\n\r?\n/g : /\n/g
    // What is left of earlier frames holds no whole boundary, but may end within one.
    boundary.lastIndex = Math.max(0, before - 2)
    let out = ''
    let from = 0
    while (boundary.test(all)) {
      const to = boundary.lastIndex
      const event = all.slice(from, to)
      from = to
      const id = to === all.length && !more ? String(number) : `${number}-${to - before + skip}`
      out += `id: ${id}\n${this.#isEvents ? event : asData(event)}`
    }
    this.#rest = all.slice(from)
    return out
  }
}

import type { ServerResponse } from 'node:http'
import { toBrokerError, type BrokerError } from '@drover/core'
import { dialects, progressLine, type Progress } from '@drover/dialects'
import { sendRefusal, type OpenAnswer } from '../reply.ts'

export interface LinesReplyOptions {
  outgoing: ServerResponse
  /** Sent with whatever the answer will be. */
  headers: Record<string, string>
  /** The client reads how it goes on; else only how it ended. */
  stream: boolean
}

const form = dialects['ollama.generate']

/** The answer to work on models, as Ollama gives it: a line for each thing that is told, or one body at the end. */
export class LinesReply implements OpenAnswer {
  /** Aborted when the client has left, or this gateway goes: nobody reads on. */
  readonly left: AbortSignal
  #options: LinesReplyOptions
  #leave = new AbortController()
  #over = false
  #last: Progress | undefined
  #spokeAt = performance.now()

  constructor(options: LinesReplyOptions) {
    this.#options = options
    this.left = this.#leave.signal
    const { outgoing } = options
    outgoing.once('close', () => this.#gone())
    if (outgoing.destroyed) this.#gone()
  }

  get over(): boolean {
    return this.#over
  }

  line(progress: Progress): void {
    this.#last = progress
    const { stream, outgoing } = this.#options
    // A slow reader is told what is new when it reads on.
    if (this.#over || !stream || (outgoing.writableNeedDrain && progress.total !== undefined)) return
    this.#write(progress)
  }

  /** It is done. */
  success(): void {
    if (this.#over) return
    const { stream, outgoing, headers } = this.#options
    if (stream) this.#write({ status: 'success' })
    else outgoing.writeHead(200, { ...headers, 'content-type': 'application/json; charset=utf-8' }).write(JSON.stringify({ status: 'success' }))
    this.#end()
  }

  fail(thrown: unknown): void {
    if (this.#over) return
    const { outgoing, headers } = this.#options
    const error = toBrokerError(thrown)
    if (outgoing.headersSent) outgoing.write(form.errorEvent(error))
    else sendRefusal(outgoing, form, error, headers)
    this.#end()
  }

  lost(error: BrokerError): void {
    this.fail(error)
    this.#leave.abort()
  }

  /** Says the last thing once more to a client that waits, so that nothing on the way gives the connection up. */
  keepAlive(silentMs: number, graceMs: number): void {
    const { stream, outgoing } = this.#options
    if (!stream || this.#over || outgoing.writableNeedDrain || performance.now() - this.#spokeAt < (outgoing.headersSent ? silentMs : graceMs)) return
    this.#write(this.#last ?? { status: 'waiting for a node' })
  }

  #write(progress: Progress): void {
    const { outgoing, headers } = this.#options
    if (!outgoing.headersSent) outgoing.writeHead(200, { ...headers, 'content-type': form.streamType, 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
    this.#spokeAt = performance.now()
    outgoing.write(progressLine(progress))
  }

  #end(): void {
    this.#over = true
    this.#options.outgoing.end()
  }

  #gone(): void {
    if (this.#over) return
    this.#over = true
    this.#leave.abort()
  }
}

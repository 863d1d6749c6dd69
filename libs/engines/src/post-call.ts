import type { Buffer } from 'node:buffer'
import type { Dispatcher } from 'undici'
import { BrokerError } from '@drover/core'
import type { AnswerSink, EngineCall } from './engine.ts'
import { engineFailure, GATEWAY_HEADER, GatewayLoop } from './failure.ts'
import { Utf8Text } from './utf8-text.ts'

type Controller = Dispatcher.DispatchController
type Headers = NonNullable<Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseStart']>>[2]>

/** One POST to an engine: undici's handler on one side, the worker's hold on the call on the other. */
export class PostCall implements EngineCall, Dispatcher.DispatchHandler {
  readonly #engine: string
  readonly #sink: AnswerSink
  readonly #decoder = new Utf8Text()
  /** Absent while the request waits for its connection. */
  #controller: Controller | undefined
  #paused = false
  /** undici delivers one more chunk after a `pause` made outside of a read, and the rest of a body whose sender has left. */
  #held = ''
  #ended = false
  #done = false

  constructor(engine: string, sink: AnswerSink) {
    this.#engine = engine
    this.#sink = sink
  }

  pause(): void {
    if (this.#done) return
    this.#paused = true
    this.#controller?.pause()
  }

  resume(): void {
    if (this.#done || !this.#paused) return
    this.#paused = false
    // Not here: undici has one parser for all its sockets and refuses to wake one of them from inside another one's read.
    queueMicrotask(() => this.#flow())
  }

  abort(reason: unknown): void {
    if (this.#done) return
    this.#done = true
    this.#held = ''
    // A request that has no connection yet is dropped when it gets one, before a byte of it is written.
    this.#controller?.abort(new Error('aborted'))
    this.#sink.fail(reason)
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    if (this.#done) controller.abort(new Error('aborted'))
    else if (this.#paused) controller.pause()
  }

  onResponseStart(_controller: Controller, status: number, headers: Headers): void {
    if (this.#done || status < 200) return
    if (headers[GATEWAY_HEADER] !== undefined) return this.abort(new GatewayLoop(this.#engine))
    const type = headers['content-type']
    try {
      this.#sink.head(status, (Array.isArray(type) ? type[0] : type) ?? '')
    } catch (error) {
      this.abort(error)
    }
  }

  onResponseData(_controller: Controller, chunk: Buffer): void {
    if (this.#done) return
    const text = this.#decoder.push(chunk)
    if (text === undefined) return this.abort(this.#notUtf8())
    if (this.#paused || this.#held !== '') this.#held += text
    else this.#give(text)
  }

  onResponseEnd(): void {
    if (this.#done) return
    if (this.#decoder.open) return this.abort(this.#notUtf8())
    this.#ended = true
    if (!this.#paused && this.#held === '') this.#finish()
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    if (this.#done) return
    this.#done = true
    this.#held = ''
    // A closed agent refuses inside `dispatch`, before the caller has its call in hand.
    queueMicrotask(() => this.#sink.fail(engineFailure(this.#engine, error)))
  }

  #flow(): void {
    if (this.#done || this.#paused) return
    const held = this.#held
    this.#held = ''
    this.#give(held)
    if (this.#done || this.#paused) return
    // After the end the connection may already carry another call: it is no longer ours to wake.
    if (this.#ended) this.#finish()
    else this.#controller?.resume()
  }

  #give(text: string): void {
    if (text === '') return
    try {
      this.#sink.text(text)
    } catch (error) {
      this.abort(error)
    }
  }

  #finish(): void {
    this.#done = true
    try {
      this.#sink.end()
    } catch (error) {
      // undici would swallow it, and the job would hang.
      this.#sink.fail(error)
    }
  }

  #notUtf8(): BrokerError {
    return new BrokerError('engine_protocol', `engine ${this.#engine} answered text that is not UTF-8`)
  }
}

import { BrokerError } from '@drover/core'
import type { AnswerSink, EngineCall } from '../engine.ts'
import type { RunningServer } from './server-process.ts'

/** How long the end of a process may come after the end of its connections, ms. */
const END_MS = 500

/** A process that dies takes its connections along a moment before we hear of it, and its end is the better reason. */
export const betterReason = async ({ exited }: RunningServer, error: unknown): Promise<unknown> => {
  if (!(error instanceof BrokerError) || error.code !== 'engine_failed') return error
  const moment = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => moment.resolve(undefined), END_MS)
  const reason = await Promise.race([exited, moment.promise])
  clearTimeout(timer)
  return reason ?? error
}

/** A call whose server may still have to be started. */
export class SupervisedCall implements EngineCall {
  readonly #sink: AnswerSink
  readonly #leave: () => void
  #inner: EngineCall | undefined
  #paused = false
  #done = false

  constructor(sink: AnswerSink, ask: (call: SupervisedCall, fail: (error: unknown) => void) => () => void) {
    this.#sink = sink
    queueMicrotask(() => this.#inner === undefined && !this.#done && sink.loading?.())
    this.#leave = ask(this, (error) => this.#fail(error))
  }

  /** Its model is in memory. `onAnswer` is called when it has begun to answer. */
  begin(server: RunningServer, request: { path: string; body: string }, onAnswer: () => void): void {
    if (this.#done) return
    const sink = this.#sink
    sink.loaded?.()
    this.#inner = server.engine.post(request, {
      head: (status, contentType) => {
        if (this.#done) return
        if (status === 200) onAnswer()
        sink.head(status, contentType)
      },
      text: (chunk) => this.#done || sink.text(chunk),
      end: () => {
        if (this.#done) return
        try {
          sink.end()
        } catch (error) {
          return this.#fail(error)
        }
        this.#over()
      },
      fail: (error) => void this.#explain(server, error),
    })
    if (this.#paused) this.#inner.pause()
  }

  pause(): void {
    this.#paused = true
    this.#inner?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#inner?.resume()
  }

  abort(reason: unknown): void {
    if (this.#done) return
    this.#fail(reason)
    this.#inner?.abort(reason)
  }

  async #explain(server: RunningServer, error: unknown): Promise<void> {
    if (!this.#done) this.#fail(await betterReason(server, error))
  }

  #fail(error: unknown): void {
    if (this.#done) return
    this.#over()
    this.#sink.fail(error)
  }

  #over(): void {
    this.#done = true
    this.#leave()
  }
}

import type { FrameSink } from '@drover/broker'
import type { BrokerError } from '@drover/core'

/** Stands where the frames will go until it is known what the job is: meanwhile no frame comes, but the job may be lost. */
export class Early implements FrameSink {
  #sink: FrameSink | undefined
  #lost: BrokerError | undefined

  pass(sink: FrameSink): void {
    this.#sink = sink
    if (this.#lost) sink.lost(this.#lost)
  }

  frame(...told: Parameters<FrameSink['frame']>): void {
    this.#sink?.frame(...told)
  }

  lost(error: BrokerError): void {
    if (this.#sink) this.#sink.lost(error)
    else this.#lost = error
  }
}

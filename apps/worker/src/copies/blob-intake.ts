import { canBring, type ModelName } from '@drover/core'
import type { EngineBlobs, SentBlob } from '@drover/engines'
import type { EngineSeat } from './engine-seat.ts'

/** Hands files that a gateway sends to the engine of this node that is to make a model of them. */
export class BlobIntake {
  #seats: () => Iterable<EngineSeat>

  constructor(seats: () => Iterable<EngineSeat>) {
    this.#seats = seats
  }

  /** Whether it has one already. @throws BrokerError `engine_failed` */
  async has(model: ModelName, digest: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#engineFor(model)?.has(digest, signal)) ?? false
  }

  /** @returns why it was not taken; `undefined`: it was @throws BrokerError `engine_failed` */
  async take(model: ModelName, blob: SentBlob, signal: AbortSignal): Promise<string | undefined> {
    const engine = this.#engineFor(model)
    return engine ? engine.put(blob, signal) : 'no Ollama answers on this node that may hold it'
  }

  /** The one that will make the model: one that holds it before all others. */
  #engineFor(model: ModelName): EngineBlobs | undefined {
    const able = [...this.#seats()].filter(({ engine }) => engine.blobs && canBring(engine, model))
    const seat = able.find(({ view }) => view.held.some((held) => held.model === model)) ?? able[0]
    return seat?.engine.blobs
  }
}

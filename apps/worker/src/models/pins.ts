import type { ModelName } from '@drover/core'
import type { Engine, LoadWish } from '@drover/engines'
import type { EnginePolicy } from '../attempt.ts'
import { keepAliveMs } from '../own-models.ts'

type At = Pick<Engine, 'id'>

/** A time to keep a model as Ollama takes it: a number alone is seconds, which it does not read in a text. */
export const keepAliveOf = (text: string): string | number => (/^-?\d+$/.test(text) ? Number(text) : text)

/**
 * How models are kept that were loaded by order: as long as they were ordered to, until they are unloaded or this worker ends. Every job says
 * it again, for an engine forgets it with the next request that says otherwise, and loads a model anew that is asked for with another context.
 */
export class Pins {
  #policy: EnginePolicy
  #pins = new Map<string, EnginePolicy>()

  /** `policy`: what holds for all others. */
  constructor(policy: EnginePolicy) {
    this.#policy = policy
  }

  /** @returns what takes it back */
  set({ id }: At, model: ModelName, { keepAlive, numCtx }: { keepAlive?: string | undefined; numCtx?: number | undefined }): () => void {
    const key = `${id} ${model}`
    const before = this.#pins.get(key)
    this.#pins.set(key, { ...(keepAlive !== undefined && { keepAlive: keepAliveOf(keepAlive) }), ...(numCtx !== undefined && { numCtx }) })
    return () => void (before ? this.#pins.set(key, before) : this.#pins.delete(key))
  }

  clear({ id }: At, model: ModelName): void {
    this.#pins.delete(`${id} ${model}`)
  }

  policyFor({ id }: At, model: ModelName): EnginePolicy {
    const pin = this.#pins.get(`${id} ${model}`)
    return pin ? { ...this.#policy, ...pin } : this.#policy
  }

  /** The same for an engine that is to load it. */
  wishFor(engine: At, model: ModelName): LoadWish {
    const { keepAlive, numCtx } = this.policyFor(engine, model)
    return { keepAliveMs: keepAlive === undefined ? undefined : keepAliveMs(String(keepAlive)), numCtx }
  }
}

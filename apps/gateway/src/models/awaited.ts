import { BrokerError, type ModelName } from '@drover/core'

/** Most models that nobody holds for which jobs may wait at once: whoever may ask could make up any number of names. */
const MOST_AWAITED = 64
/** A job has been let in and is on its way to its lane for at most so long, ms. */
const ENTERING_MS = 5_000
/** A registry that has just said that it has no such model is not asked again, ms: a client may come back at once, and a batch has many lines. */
const UNKNOWN_MS = 60_000
const MOST_UNKNOWN = 1_000

export interface AwaitedOptions {
  /** ms of a clock that never goes back; `performance.now` by default. */
  now?: () => number
}

/** Which models that nobody holds jobs wait for, and which were asked for in vain. */
export class AwaitedModels {
  #now: () => number
  /** Until when a job of it may be on its way to its lane. */
  #awaited = new Map<ModelName, number>()
  #unknown = new Map<ModelName, { error: BrokerError; at: number }>()

  constructor({ now = () => performance.now() }: AwaitedOptions = {}) {
    this.#now = now
  }

  /** A job for a model that nobody holds is let in. @throws BrokerError `queue_full` when jobs wait for too many others already */
  enter(model: ModelName): void {
    if (!this.#awaited.has(model) && this.#awaited.size >= MOST_AWAITED) throw new BrokerError('queue_full', `server busy, please try again.  ${MOST_AWAITED} other models that no node holds are waited for`)
    this.#awaited.set(model, this.#now() + ENTERING_MS)
  }

  /** Those that jobs wait for now; others only if a job may be on its way. */
  found(waiting: Iterable<ModelName>): void {
    const now = this.#now()
    for (const [model, until] of this.#awaited) if (now > until) this.#awaited.delete(model)
    for (const model of waiting) if (!this.#awaited.has(model)) this.#awaited.set(model, now)
    for (const [model, { at }] of this.#unknown) if (now - at > UNKNOWN_MS) this.#unknown.delete(model)
  }

  /** No registry has it. */
  isUnknown(model: ModelName, error: BrokerError): void {
    this.#unknown.delete(model)
    this.#unknown.set(model, { error, at: this.#now() })
    const [oldest] = this.#unknown.keys()
    if (oldest !== undefined && this.#unknown.size > MOST_UNKNOWN) this.#unknown.delete(oldest)
  }

  /** What a registry has said of a model that it does not have. */
  refusal(model: ModelName): BrokerError | undefined {
    return this.#unknown.get(model)?.error
  }
}

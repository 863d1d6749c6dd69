import type { JobId, ModelName } from '@drover/core'
import { newJobId } from './ids.ts'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** A node that is to pull a model, and the job that does. */
export interface ClaimedPull {
  node: string
  id: JobId
  /** Nobody was pulling it there. */
  fresh: boolean
}

export interface PullClaim {
  model: ModelName
  insecure: boolean
  /** Nodes that may pull it, the best first. */
  nodes: readonly string[]
  /** Nodes that are wanted at most: those that are pulling it already come first. */
  most: number
  /** Longest that a pull may take, ms. */
  timeoutMs: number
}

/** One pull of a model on a node at a time, whoever asks for it and through whichever gateway. */
export class SharedPulls {
  #options: { base: string; keys: Keys; scripts: Scripts }

  constructor(options: { base: string; keys: Keys; scripts: Scripts }) {
    this.#options = options
  }

  /** @returns fewer than are wanted where there are fewer nodes @throws BrokerError `queue_full`, `broker_unavailable` */
  async claim({ model, insecure, nodes, most, timeoutMs }: PullClaim): Promise<ClaimedPull[]> {
    const { base, keys, scripts } = this.#options
    const answer = (await soon(scripts.pulls([keys.pulls(model, insecure)], [base, timeoutMs, most, ...nodes.flatMap((node) => [node, newJobId()])]))) as (string | number)[]
    return Array.from({ length: answer.length / 3 }, (_, i) => ({ node: String(answer[3 * i]), id: answer[3 * i + 1] as JobId, fresh: answer[3 * i + 2] === 1 }))
  }
}

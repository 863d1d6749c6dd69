import type { JobId } from '@drover/core'
import type { Redis } from 'ioredis'
import type { Keys, Lane } from './keys.ts'
import type { Lanes } from './lanes.ts'
import { LINGER_MS } from './limits.ts'
import { Recent } from './recent.ts'
import type { Scripts } from './scripts.ts'

export interface JobEndsOptions {
  redis: Redis
  keys: Keys
  base: string
  lanes: Lanes
  scripts: Scripts
}

/** Ends jobs from outside any attempt. What has ended stays as it is. */
export class JobEnds {
  #options: JobEndsOptions
  #recent: Recent

  constructor(options: JobEndsOptions) {
    this.#options = options
    this.#recent = new Recent(options.redis)
  }

  /** Whoever follows it. `false`: it has ended before, or is not there. */
  end(id: JobId, outcome: 'cancelled' | 'expired'): Promise<boolean> {
    return this.#recent.send(() => this.#settle(id, outcome, ''), (ended) => ended)
  }

  /** A gateway follows it no longer: if it was the last that did, the job ends as cancelled. */
  async leave(id: JobId, gateway: string): Promise<void> {
    await this.#settle(id, 'cancelled', gateway)
  }

  async #settle(id: JobId, outcome: 'cancelled' | 'expired', follower: string): Promise<boolean> {
    const { keys, scripts, lanes, base } = this.#options
    const [answer, attempts, lane] = (await scripts.settle([keys.job(id)], [base, LINGER_MS, id, outcome, '', follower])) as ['settled', number, Lane] | [string]
    if (answer !== 'settled') return false
    if (attempts === 0) await lanes.remove(lane!, id)
    return true
  }
}

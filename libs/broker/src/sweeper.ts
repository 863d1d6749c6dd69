import type { JobId } from '@drover/core'
import type { Redis } from 'ioredis'
import { upFor } from './connection.ts'
import type { Keys, Lane } from './keys.ts'
import type { Lanes } from './lanes.ts'
import { LINGER_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'
import { deadlineError } from './worker.ts'

/** One process of all takes each turn, ms. */
const TURN_MS = 950
/** Every process looks whether the turn is free, ms. */
const LOOK_MS = 500
/** After an outage holders of leases renew first, ms. */
const SETTLE_MS = 3_000
const EXPIRED_BATCH = 500

export interface SweeperOptions {
  /** Who sweeps, for somebody who looks at the key. */
  id: string
  redis: Redis
  keys: Keys
  base: string
  lanes: Lanes
  scripts: Scripts
  onError(error: unknown): void
  onRecovered?(lane: Lane, jobs: string[]): void
}

/**
 * Once a second, in one process of all: jobs whose lease ran out go back to their lanes, jobs whose deadline has passed are ended.
 * Gateways and workers run it, so any of them alone suffices.
 */
export const sweeper = ({ id, redis, keys, base, lanes, scripts, onError, onRecovered }: SweeperOptions): { stop(): void } => {
  const up = upFor(redis)
  let sweeping = false
  const sweep = async () => {
    if (sweeping || up() < SETTLE_MS) return
    sweeping = true
    try {
      const [mine, ...ended] = (await scripts.sweep([keys.sweep, keys.deadlines, keys.jobsUntil], [base, LINGER_MS, id, TURN_MS, deadlineError, EXPIRED_BATCH])) as [number, ...string[]]
      if (mine === 0) return
      for (let i = 0; i < ended.length; i += 2) await lanes.remove(ended[i + 1] as Lane, ended[i] as JobId)
      const known = (await redis.smembers(keys.lanes)) as Lane[]
      lanes.keepOnly(new Set(known))
      for (const lane of known) {
        const recovered = await lanes.recoverStalled(lane)
        if (recovered.length > 0) onRecovered?.(lane, recovered)
      }
    } catch (error) {
      onError(error)
    } finally {
      sweeping = false
    }
  }
  const timer = setInterval(() => void sweep(), LOOK_MS)
  return { stop: () => clearInterval(timer) }
}

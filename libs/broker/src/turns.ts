import type { JobId } from '@drover/core'
import type { Redis } from 'ioredis'
import { newJobId } from './ids.ts'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import { keyReused, tooManyTurns, type Once, type Submission } from './submission.ts'

/** Times that a request with a key may be made anew after its job was cancelled or deleted, while the mark of each is kept. */
const MOST_TURNS = 32

/**
 * Tries one id of a request after the other until one is not over (`undefined`): of a request without a key, the only one.
 * @throws BrokerError `rate_limited` when all are
 */
export const inTurns = async <T extends object>({ id, once }: Pick<Submission, 'id' | 'once'>, attempt: (id: JobId) => Promise<T | undefined>): Promise<T> => {
  const only = id ?? (once ? undefined : newJobId())
  for (let turn = 0; turn < (only === undefined ? MOST_TURNS : 1); turn += 1) {
    const done = await attempt(only ?? once!.id(turn))
    if (done) return done
  }
  throw tooManyTurns()
}

/**
 * The id that a request with a key has, or will have, for what must be told before its job is submitted (with this `id`, too).
 * @throws BrokerError `key_reused`, `rate_limited`, `broker_unavailable`
 */
export const idInTurn = async ({ redis, keys }: { redis: Redis; keys: Keys }, { id, fingerprint }: Once): Promise<JobId> => {
  for (let turn = 0; turn < MOST_TURNS; turn += 1) {
    const [whose, lives, record] = await soon(redis.hmget(keys.job(id(turn)), 'fp', 'dl', 'rec'))
    if (typeof whose === 'string' && whose !== fingerprint) throw keyReused()
    if (typeof whose !== 'string' || (typeof lives === 'string' && !record?.includes('"outcome":"cancelled"'))) return id(turn)
  }
  throw tooManyTurns()
}

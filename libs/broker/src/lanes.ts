import { createRedisBackend, type IQueueBackend, type MinimalJob } from 'bullmq'
import type { Redis } from 'ioredis'
import type { JobId } from '@drover/core'
import type { Keys, Lane } from './keys.ts'

/** A lock lives this long without renewal, ms. Whoever is frozen and wakes is fenced, so short is safe. */
export const LOCK_MS = 2_500
/** Least time between two looks for stalled jobs of one lane, ms. */
const STALLED_INTERVAL_MS = 900

/**
 * BullMQ in manual mode: one connection for any number of lanes, no processor, no `Job` objects. Built on the backend interface that
 * BullMQ 6 makes public. What happens to every job (add, lease, finish) is done by `scripts.ts` together with our own part of it.
 */
export class Lanes {
  #redis: Redis
  #keys: Keys
  #root: IQueueBackend
  #lanes = new Map<Lane, IQueueBackend>()

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
    const options = {
      connection: redis,
      prefix: keys.lanePrefix,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_INTERVAL_MS,
      // `take` counts starts; BullMQ's own limit would end a job without our record.
      maxStalledCount: 1_000_000,
    }
    this.#root = createRedisBackend('root', options, { withBlockingConnection: false })
    this.#root.on('error', () => undefined) // the connection's owner reports it
  }

  async ready(): Promise<void> {
    await this.#root.waitUntilReady()
  }

  #lane(lane: Lane): IQueueBackend {
    let backend = this.#lanes.get(lane)
    if (!backend) {
      backend = this.#root.forQueue(lane)
      this.#lanes.set(lane, backend)
    }
    return backend
  }

  /** Of lanes that are not there any more nothing is kept. */
  keepOnly(there: ReadonlySet<Lane>): void {
    for (const lane of this.#lanes.keys()) if (!there.has(lane)) this.#lanes.delete(lane)
  }

  /** BullMQ's bookkeeping after our record stands. Answers false when the lease was lost meanwhile, which is harmless. */
  async finish(lane: Lane, id: JobId, token: string): Promise<boolean> {
    return this.#lane(lane)
      .moveToCompleted({ id, opts: {} } as unknown as MinimalJob, null, true, token, false)
      .then(() => true, lostLease)
  }

  /** Puts a leased job back at the head of its lane. BullMQ sets no marker for prioritized jobs here, so we do. */
  async giveBack(lane: Lane, id: JobId, token: string): Promise<boolean> {
    const moved = this.#lane(lane).moveJobFromActiveToWait(id, token).then(() => true, lostLease)
    // Only saves waiting; a Redis without memory refuses it.
    await Promise.allSettled([moved, this.mark(lane)])
    return moved
  }

  /** Wakes one worker that waits for this lane. */
  async mark(lane: Lane): Promise<void> {
    await this.#redis.zadd(this.#keys.ofLane(lane, 'marker'), 0, '0')
  }

  /** Removes a job that nobody has leased; one that is leased stays. */
  async remove(lane: Lane, id: JobId): Promise<void> {
    await this.#lane(lane).remove(id, false)
  }

  /** Puts jobs whose lock ran out back into their lane. Two looks are needed: the first only marks. Answers their ids. */
  async recoverStalled(lane: Lane): Promise<string[]> {
    return this.#lane(lane).moveStalledJobsToWait()
  }

  async close(): Promise<void> {
    await this.#root.close()
  }
}

/** BullMQ's answers to someone who holds no lock, or whose job is gone. */
const lostLease = (error: unknown): false => {
  if (error instanceof Error && /lock|Missing key|not in the active|is not in/i.test(error.message)) return false
  throw error
}

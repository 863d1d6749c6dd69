import { BrokerError } from '@drover/core'
import { isOutOfMemory } from './connection.ts'
import { MemoryFull } from './submission.ts'

/** A request to Redis that is not answered by then has failed, ms. */
const TIMEOUT_MS = 2_000

export const unavailable = (cause?: unknown) =>
  new BrokerError('broker_unavailable', 'the job queue cannot be reached, please try again', { cause })

/** What Redis, or the way to it, has failed with, as it is told: `queue_full` when it has no memory left, else `broker_unavailable`. */
export const refusalOf = (error: unknown): BrokerError =>
  error instanceof BrokerError ? error : isOutOfMemory(error) ? new MemoryFull({ cause: error }) : unavailable(error)

/** @throws BrokerError `queue_full`, `broker_unavailable` */
export const refused = (error: unknown): never => {
  throw refusalOf(error)
}

/** @throws BrokerError `broker_unavailable` when Redis takes too long */
export const inTime = async <T>(work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  // What has come while this process was not run is read before it is found late.
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => setImmediate(() => reject(unavailable())), TIMEOUT_MS)))
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** What somebody waits for. @throws BrokerError `queue_full`, `broker_unavailable` */
export const soon = <T>(work: Promise<T>): Promise<T> => inTime(work).catch(refused)

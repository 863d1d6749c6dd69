import type { BrokerError } from '@drover/core'
import type { StoreOptions } from './content-store.ts'

/** One success among failures does not make a store usable again: none must have failed for so long, ms. */
const CALM_MS = 5_000

export interface StoreHealthOptions extends Pick<StoreOptions, 'onDown' | 'onUp'> {
  /** What a client is told of what went wrong. */
  explain(error: unknown): Promise<BrokerError>
}

/** Does what is asked of a store, and tells once that it cannot be used, and once that it can be again. */
export const storeHealth = ({ explain, onDown, onUp }: StoreHealthOptions) => {
  let failedAt: number | undefined
  return async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      const made = await work()
      if (failedAt !== undefined && performance.now() - failedAt >= CALM_MS) {
        failedAt = undefined
        onUp()
      }
      return made
    } catch (thrown) {
      const error = await explain(thrown)
      if (error.code === 'store_unavailable') {
        if (failedAt === undefined) onDown(error.cause)
        failedAt = performance.now()
      }
      throw error
    }
  }
}

import { createHash } from 'node:crypto'
import type { DesiredModelStore } from '@drover/broker'
import { toBrokerError, writtenOf, type DesiredState } from '@drover/core'
import type { DesiredDeps } from './routes.ts'

export interface ConfiguredOptions {
  store: Pick<DesiredModelStore, 'put'>
  /** What the configuration describes, if it does. */
  state: DesiredState | undefined
  onDesired: DesiredDeps['onDesired']
  /** Redis does not take it for now. */
  onPutOff(fields: { reason: string }): void
}

/**
 * Describes what the configuration says, once: the function that is returned does so, or has done so, or leaves it to its next call while Redis
 * is away or has no memory left. That is no reason not to serve.
 */
export const configured = ({ store, state, onDesired, onPutOff }: ConfiguredOptions): (() => Promise<void>) => {
  const written = state && writtenOf(state)
  let isTold = written === undefined
  let isPutOff = false
  return async () => {
    if (isTold || !state || !written) return
    try {
      const { version, changed } = await store.put(written, createHash('sha256').update(JSON.stringify(written)).digest('hex'))
      isTold = true
      if (changed) onDesired({ version, models: state.models.size, by: 'configuration' })
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.retry !== 'caller') throw thrown
      if (!isPutOff) onPutOff({ reason: error.message })
      isPutOff = true
    }
  }
}

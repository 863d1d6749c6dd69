import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@drover/core'
import type { FleetDeps } from './fleet-work.ts'

const LOOK_MS = 250
/** A node that has not been in the registry for this long is gone: its record outlives its last word by four seconds already. ms */
const GONE_MS = 1_000
/** One that has begun to drain takes what it has not begun no more. */
const DRAINS_MS = 1_000

export interface Watched {
  node: string
  /** The node has taken the work up. */
  begun(): boolean
  /** How long a node that has gone is waited for, ms; by default it is taken for gone at once. */
  patienceMs?: number | undefined
  signal: AbortSignal
}

/** Resolves when a node will not do what it was given; never, when the signal ends the watch. */
export const untilGone = async ({ broker, view }: Pick<FleetDeps, 'broker' | 'view'>, { node, begun, patienceMs = GONE_MS, signal }: Watched): Promise<BrokerError> => {
  let since: number | undefined
  for (;;) {
    await sleep(LOOK_MS, undefined, { ref: false })
    if (signal.aborted) return new Promise(() => undefined)
    const record = view.nodes.find(({ id }) => id === node)
    const isOut = !record || (record.draining && !begun())
    // Who has just been cut off from Redis judges nobody by silence.
    if (!isOut || !broker.mayJudge) since = undefined
    else since ??= performance.now()
    if (since !== undefined && performance.now() - since > (record ? DRAINS_MS : patienceMs))
      return new BrokerError('node_lost', record ? 'it takes no more work' : 'it is gone')
  }
}

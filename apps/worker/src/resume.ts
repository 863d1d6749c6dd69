import type { Lease } from '@drover/broker'
import { BrokerError } from '@drover/core'

/** What a later attempt does with what an earlier one has written. */
export type Resumption = { kind: 'first' } | { kind: 'afresh' } | { kind: 'impossible'; error: BrokerError }

/** Nobody can have read an answer that is not streamed before its end, so it starts again; text that was read is not continued yet. */
export const resumption = (lease: Pick<Lease, 'next' | 'job'>): Resumption => {
  if (lease.next === 1) return { kind: 'first' }
  if (!lease.job.stream) return { kind: 'afresh' }
  return { kind: 'impossible', error: new BrokerError('node_lost', 'the node that was answering has gone, and the answer was already half sent') }
}

import type { BrokerError } from './errors.ts'
import type { Usage } from './frame.ts'

/** How one attempt ended. */
export type AttemptOutcome =
  | { kind: 'completed'; usage?: Usage }
  | { kind: 'failed'; error: BrokerError }
  | { kind: 'cancelled' }
  /** Counted: the engine failed before anything was readable; another attempt may succeed, after `delayMs`. */
  | { kind: 'retry'; error: BrokerError }
  /** Uncounted: the job goes back to its lane (drain, no memory, preempted). `why` is for the log. */
  | { kind: 'returned'; why?: string }
  /** Someone else owns the job now, or it has ended: write nothing. `why` is for the log. */
  | { kind: 'lost'; why: string }

import { z } from 'zod'
import { ErrorInfo } from './errors.ts'

/** Tokens, as the engine counted them. */
export const Usage = z.object({ promptTokens: z.int(), completionTokens: z.int() })
export type Usage = z.infer<typeof Usage>

/** How a job ended: written once, by whoever comes first, and never changed. */
export const TerminalRecord = z.object({
  outcome: z.enum(['completed', 'failed', 'cancelled', 'expired']),
  error: ErrorInfo.optional(),
  usage: Usage.optional(),
  /** The attempt that ended it; 0 when none had begun. */
  attempt: z.int(),
  node: z.string().optional(),
})
export type TerminalRecord = z.infer<typeof TerminalRecord>

/** First facts of an answer: what the gateway needs before it can send its own header. */
export interface Head {
  status: number
  contentType: string
  node: string
}

/**
 * One numbered piece of a job's stream, at most `FRAME_BYTES` of text, cut between whole events of the client's dialect.
 * Numbers start at 1 and go on over attempts. The parts of one frame happen in this order: reset, head, text, end.
 */
export interface Frame {
  /** A new attempt starts from nothing: readers forget all text before. */
  reset?: true
  head?: Head
  text?: string
  end?: TerminalRecord
}

/** Most characters of text in one frame. */
export const FRAME_BYTES = 64 * 1024

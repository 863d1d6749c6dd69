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
  /** Of the model that answers (`HeldModel.digest`): only the same one may go on with its text. */
  digest?: string
}

/**
 * How a later attempt took up what an earlier one had begun: `restart`: nothing of it could be read; `continue`: its text went on where
 * it had ended; `replay`: the same text was made once more, compared, and only the rest was sent.
 */
export type Rung = 'restart' | 'continue' | 'replay'

/** What an answer says that nobody reads before its end: kept so that it need not be made again. Each adds to those before. */
export interface Saved {
  text?: string
  thinking?: string
  /** Tokens that these are. */
  tokens: number
}

/**
 * One numbered piece of a job's stream, at most `FRAME_BYTES` of text, cut between events of the client's dialect where none is longer.
 * Numbers start at 1 and go on over attempts. The parts of one frame happen in this order: reset, resumed, head, text, end.
 */
export interface Frame {
  /** A new attempt starts from nothing: readers forget all text before. */
  reset?: true
  /** Another attempt goes on with the answer from here. */
  resumed?: Rung
  head?: Head
  text?: string
  saved?: Saved
  end?: TerminalRecord
}

/** Most characters of text in one frame: for a client that does not read, a gateway holds one or two. */
export const FRAME_BYTES = 16 * 1024

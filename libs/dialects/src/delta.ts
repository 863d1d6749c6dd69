import type { Usage } from '@drover/core'

export type JsonObject = Record<string, unknown>

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A list with something in it. */
export const isFilled = (value: unknown): value is unknown[] => Array.isArray(value) && value.length > 0

/** One token's log probability, as both APIs write it. */
export interface TokenLogprob {
  token: string
  logprob: number
  bytes?: number[]
  top_logprobs?: TokenLogprob[]
}

/** A piece of a tool call: pieces with the same index belong to one call, their `arguments` are JSON text to be joined. */
export interface ToolPiece {
  index: number
  id?: string
  name?: string
  arguments?: string
}

export type Finish = 'stop' | 'length' | 'tool_calls' | 'content_filter'

/** What the engine measured, in milliseconds; what it does not tell is 0. */
export interface Timings {
  loadMs: number
  promptMs: number
  completionMs: number
}

/** What one event says, in no API's words. Collecting and translating know only this. */
export interface Delta {
  /** Which of the `n` answers it belongs to. */
  choice: number
  text?: string
  thinking?: string
  tools?: ToolPiece[]
  logprobs?: TokenLogprob[]
  finish?: Finish
  usage?: Usage
  /** How many of the prompt's tokens the engine had in its cache, where it tells. */
  cachedTokens?: number
  timings?: Timings
}

/** Follows one engine answer in one wire format. */
export interface EventReader {
  /** The end event was seen, and it was an honest one. */
  readonly ended: boolean
  readonly usage: Usage | undefined
  /**
   * Looks at the text of one event; `undefined` for an event that has no JSON (`[DONE]`).
   * @throws BrokerError `engine_failed` for an error event, `engine_protocol` for anything that is not the format
   */
  see(data: string): JsonObject | undefined
  /** What an event that `see` let through says. */
  read(event: JsonObject): Delta[]
  /** One body instead of events, for formats that some engine answers so. */
  seeBody?(text: string): JsonObject
}

/** Writes one answer as a stream of whole events. */
export interface EventWriter {
  /** Takes over what an event of the engine's, in the client's own dialect, says of who answers. */
  identify?(event: JsonObject): void
  write(delta: Delta): string
  /** Takes over that this was written before, by whoever began the answer. */
  written(delta: Delta): void
  /** Everything that only a well-ended answer has, the end event included. */
  end(): string
}

/** Writes one answer as one body. */
export interface BodyWriter {
  /** `event` is what the deltas were read from, where the engine speaks the client's dialect. */
  take(deltas: Delta[], event: JsonObject | undefined): void
  /** The engine has ended well. */
  end(): string
}

import type { DialectId, EngineKind, HeldModel, LoadedModel } from '@drover/core'

/** What an engine says of itself at one moment. */
export interface EngineView {
  version?: string
  held: HeldModel[]
  loaded: LoadedModel[]
  /** Concurrent generations per loaded model. */
  slotsPerModel: number
  /** Models that it may have in memory at once. */
  maxLoaded: number
}

/** Receives one engine answer. `text` comes decoded (UTF-8, cut anywhere between characters); after `end` or `fail`, nothing comes. */
export interface AnswerSink {
  head(status: number, contentType: string): void
  text(chunk: string): void
  end(): void
  /** `engine_failed` (not reachable, reset), or the reason given to `abort`. */
  fail(error: unknown): void
}

/** A call under way. The engine's body flows until `pause`. */
export interface EngineCall {
  pause(): void
  resume(): void
  /** Closes the connection, which is what stops an engine. */
  abort(reason: unknown): void
}

/** An inference engine of this node: where its endpoints are and what it can do. It knows no dialect's content. */
export interface Engine {
  /** Unique on the node and the same after a restart. */
  readonly id: string
  readonly kind: EngineKind
  readonly url: string
  /** Dialects whose endpoints it has itself. */
  readonly speaks: readonly DialectId[]
  /** @throws BrokerError `engine_failed` when it cannot be reached or does not make sense */
  look(signal: AbortSignal): Promise<EngineView>
  post(call: { path: string; body: string }, sink: AnswerSink): EngineCall
  close(): Promise<void>
}

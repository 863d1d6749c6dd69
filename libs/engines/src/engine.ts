import type { DialectId, EngineKind, HeldModel, Layout, LoadedModel, ModelDescription, ModelName } from '@drover/core'

/** A small answer of an engine, read whole. */
export interface JsonAnswer {
  status: number
  /** `undefined` when the body is not JSON. */
  json: unknown
}

/** What an engine says of itself at one moment. */
export interface EngineView {
  version?: string
  held: HeldModel[]
  loaded: LoadedModel[]
  /** Concurrent generations per loaded model. */
  slotsPerModel: number
  /** Models with a number of their own (Ollama runs embedding models one at a time). Read it through `slotsFor`. */
  slotsByModel?: Readonly<Record<ModelName, number>>
  /** Models that it may have in memory at once. */
  maxLoaded: number
}

/**
 * Receives one engine answer: `head`, `text` any number of times, then `end` or `fail`, after which nothing comes. `text` comes
 * decoded (UTF-8, cut anywhere between characters), and neither it nor `end` comes while the call is paused. Nothing is called
 * before `post` has returned. What a sink throws ends the call: `fail` gets it.
 */
export interface AnswerSink {
  /** The model must be brought into memory first, which is no silence of the engine; `loaded` follows when the call has been sent. */
  loading?(): void
  loaded?(): void
  head(status: number, contentType: string): void
  text(chunk: string): void
  end(): void
  /**
   * `engine_failed` (not reachable, reset), `engine_protocol` (not HTTP, not UTF-8), or the reason given to `abort`. It comes
   * also while the call is paused; text that was held back is then dropped. It must not throw.
   */
  fail(error: unknown): void
}

/** How a model is to be in memory; what is absent is as the engine does it by itself. */
export interface LoadWish {
  /** How long it stays without use, ms; `Infinity`: for good. */
  keepAliveMs?: number | undefined
  /** Tokens per slot. */
  numCtx?: number | undefined
}

/** A call under way. The engine's body flows until `pause`. All three may be called at any time, also from inside a sink. */
export interface EngineCall {
  /** Stops reading from the socket, so that the engine itself is slowed down. */
  pause(): void
  /** What comes next comes after the caller has returned. */
  resume(): void
  /** Closes the connection, which is what stops an engine, and calls `fail` with the reason before it returns. */
  abort(reason: unknown): void
}

/** An inference engine of this node: where its endpoints are and what it can do. It knows no dialect's content. */
export interface Engine {
  /** Unique on the node and the same after a restart. */
  readonly id: string
  readonly kind: EngineKind
  /** How it runs its models; absent: on this node. */
  readonly layout?: Layout
  readonly url: string
  /** The only models that are used of it; absent: all. */
  readonly only?: readonly ModelName[]
  /** Dialects whose endpoints it has itself. */
  readonly speaks: readonly DialectId[]
  /**
   * Takes at most a few seconds.
   * @throws BrokerError `engine_failed` when it cannot be reached or does not make sense; the signal's reason when that ends it
   */
  look(signal: AbortSignal): Promise<EngineView>
  /**
   * What else it says of a model that it holds; `undefined` where it has nothing to say now. It loads no model for that.
   * @throws BrokerError `engine_failed`; the signal's reason when that ends it
   */
  describe(held: HeldModel, signal: AbortSignal): Promise<ModelDescription | undefined>
  /** `model` is the engine's own name for it, for an engine that must know it before it reads the body. `method`: POST by default. */
  post(call: { method?: 'POST' | 'DELETE'; path: string; body: string; model?: string }, sink: AnswerSink): EngineCall
  /**
   * A small question that is asked by POST and answered with one JSON document of at most 16 MB. It has no time limit but the signal,
   * and may bring the model into memory.
   * @throws BrokerError `engine_failed` (or `engine_protocol`: not HTTP); the signal's reason when that ends it
   */
  ask(call: { path: string; body: string; model?: string }, signal: AbortSignal): Promise<JsonAnswer>
  /**
   * Brings a model into memory. One that is there with another context is loaded anew when what runs on it has ended. Absent: it has its
   * models in memory as it likes.
   * @throws BrokerError `engine_refused` with the engine's words, `engine_failed`; the signal's reason when that ends the wait
   */
  load?(held: HeldModel, wish: LoadWish, signal: AbortSignal): Promise<void>
  /** Takes a model out of memory when what runs on it has ended; one that is not there is no error. */
  unload?(held: HeldModel, signal: AbortSignal): Promise<void>
  /**
   * Asked before a slot is taken: whether a call for this model would be of use now beside those under way. Without it the number of
   * slots and `maxLoaded` decide alone.
   */
  admits?(model: ModelName): boolean
  /** Closes every connection; calls under way fail. */
  close(): Promise<void>
}

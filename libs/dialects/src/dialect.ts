import type { BrokerError, DialectId, EngineKind, Layout, Saved, Usage } from '@drover/core'
import type { Schema } from './fields.ts'
import type { StoredWish } from './responses-stored.ts'

/** A client's request, checked and cut down to what the dialect knows. */
export interface ParsedRequest {
  /** The model as the client wrote it. */
  model: string
  stream: boolean
  /** Only known fields, in the client's own spelling and dialect. This is what a job carries, as JSON text. */
  body: Record<string, unknown>
  /** Top-level (or dotted) names of fields that were dropped. */
  ignored: string[]
  /** Slots that the request takes at once: `n`. */
  slots: number
  /** The only kind of engine that can answer this request, where the dialect leaves it open. */
  engine?: EngineKind
  /** How the model is to be run, where the request says so. */
  layout?: Layout
  /** What the request asks of a server that keeps answers; absent: its API has nothing of the kind. */
  stored?: StoredWish
  /** Inputs that can be answered apart from each other; absent: the request is one. */
  inputs?: Inputs
}

/** A request over many inputs, which several requests over some of them each can answer together. */
export interface Inputs {
  /** What each input costs an engine, roughly, in characters. */
  weights: readonly number[]
  /** The body of a request over the inputs from `from` to before `to`. */
  part(from: number, to: number): Record<string, unknown>
  /** The answers to parts, in the order of their inputs, as one; `totalMs` is how long all took together. */
  join(parts: readonly string[], totalMs: number): string
}

/** A finished HTTP answer. */
export interface Answer {
  status: number
  contentType: string
  body: string
}

/**
 * Everything that Drover knows about one API format, without I/O and without a clock. What the gateway needs is here;
 * what the worker needs is in `exchange.ts`.
 */
export interface Dialect {
  id: DialectId
  /** The route on the gateway, and the endpoint of an engine that speaks this dialect. */
  path: string
  /** Further routes on the gateway. */
  aliases?: readonly string[]
  /** The only kind of engine that can answer it; absent: any. */
  engine?: EngineKind
  /** What its servers say of a model that is not there, if not `model '<asked>' not found`. */
  notFound?(asked: string): string
  /** JSON Schema of a request body: whatever it lets through is read, but for what one field says of another. */
  schema: Schema
  /** Content type of a streamed answer. */
  streamType: string
  /** Content type of an answer that is one body. */
  bodyType: string
  /**
   * Reads a request body (already valid UTF-8 text).
   * @throws BrokerError `bad_request`, worded and with the status that this API's own servers use; `model_not_found` likewise.
   */
  parse(text: string): ParsedRequest
  /**
   * An error as the whole answer, before anything was sent. Uses `error.body` where the engine gave one in this dialect. An API that
   * names the request in its errors does so by `requestId`.
   */
  refuse(error: BrokerError, requestId?: string): Answer
  /** An error as the last event of a stream that has begun. Never an end event. */
  errorEvent(error: BrokerError, requestId?: string): string
  /** An event that real clients accept and that says nothing, sent while a job waits. `createdAt` is epoch ms. */
  keepAlive(context: { model: string; createdAt: number }): string
}

/** What one engine call is made from. */
export interface ExchangeRequest {
  dialect: DialectId
  /** `ParsedRequest.body`. */
  body: Record<string, unknown>
  /** What the client asked for: events as they come, or one body at the end. */
  stream: boolean
  /** The model's name as the client wrote it: every answer echoes it. */
  asked: string
  engine: {
    kind: EngineKind
    speaks: readonly DialectId[]
    /** The model's name on this engine. */
    model: string
  }
  /** The node's policy for load-time options: what a client sends for these is replaced (or dropped where absent). */
  policy: { keepAlive?: string | number; numCtx?: number }
  /** Identity of the answer where the dialect writes one itself: the job's id, and epoch ms of the attempt's start. */
  id: string
  createdAt: number
}

/**
 * One engine call seen from both sides: what to post to the engine, and what its answer means in the client's dialect.
 * Untouched where the engine speaks the client's dialect, translated where not. The caller feeds text as it arrives, in
 * order, cut anywhere between characters; whole events come out.
 */
export interface Exchange {
  /** Endpoint and JSON body for the engine; `undefined` when the answer needs no engine (`push` is then never called). */
  readonly call: { path: string; body: string } | undefined
  /** Content type of the client's answer. */
  readonly contentType: string
  /** Engine usage as far as known; complete once `ended`. */
  readonly usage: Usage | undefined
  /** The engine's own end event was seen: only then was the answer complete. */
  readonly ended: boolean
  /**
   * Text of a 200 answer from the engine, in; whole events for a streaming client, out ('' while there is none, and always for
   * a client that wants one body).
   * What came before a bad event in the same text is handed out first: the failure is then thrown by the next call.
   * @throws BrokerError `engine_failed` for an error event, `engine_protocol` for text that is not the protocol
   */
  push(text: string): string
  /**
   * The engine closed its answer: what is still to be sent, the whole body for a client that wants one.
   * @throws BrokerError `engine_protocol` unless `ended`
   */
  finish(): string
  /** The answer is complete although the engine would say more: it is to be stopped, and `finish` called. */
  readonly satisfied?: boolean
  /** What of an answer that is one body was not returned by an earlier call; `undefined`: nothing, or nothing that could be gone on with. */
  unsaved?(): Saved | undefined
  /** A non-200 answer of the engine as an error: `engine_refused` for 4xx, `engine_failed` for 5xx, with its own text. */
  refusal(status: number, body: string): BrokerError
}

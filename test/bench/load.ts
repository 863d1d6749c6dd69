/**
 * What the load client is to do in one turn. Every slot asks for one answer after another, over connections that are kept.
 *
 * Starts are spread: slot `i` of `n` begins at `i / n` of `spreadMs`, and a slot's next request follows its last one's start by
 * `cycleMs` plus a random part of `jitterMs` (or at once when that answer took longer), so that slots neither start together nor
 * fall into step. The measured window begins `rampMs` after the turn and lasts `windowMs`; then nothing new is begun, and the turn
 * is over when every answer has ended by itself: nothing is abandoned for the next turn to pay for.
 */
export interface Load {
  streams: number
  /** Each answer's length. */
  tokens: number
  /** Tokens a second of each answer; 0: all at once. */
  rate: number
  /** Whether answers are streamed. */
  stream: boolean
  /** From a slot's start to its next; 0: as soon as its answer has ended. */
  cycleMs: number | 'once'
  jitterMs: number
  spreadMs: number
  rampMs: number
  windowMs: number
  /** Answers go to `bench-0` to `bench-(models - 1)` in turn. */
  models: number
}

/** Milliseconds; 0 for a share of nothing. */
export interface Summary {
  count: number
  p50: number
  p99: number
  max: number
}

export interface TurnResult {
  /** Of the requests begun in the window: from the request's write to the first token's arrival. */
  firstToken: Summary
  /** Of the tokens that arrived in the window: from the engine's writing of it to its arrival here, by one clock. */
  delay: Summary
  /** Tokens that arrived in the window, and in the whole turn. */
  tokens: number
  allTokens: number
  /** Answers that ended in the window, and in the whole turn. */
  answers: number
  allAnswers: number
  windowMs: number
  /** Answers that were not exactly their job's tokens and a proper end. */
  wrong: number
  /** What was wrong with the first few. */
  faults: string[]
}

/** Where the load client asks. */
export interface Aim {
  url: string
  /** Epoch minus monotonic clock of the engine, ms: `created_at` in its events is by that. */
  engineEpoch: number
}

export const MODELS = 6
export const modelName = (i: number): string => `bench-${i}:latest`

/** What the load client is told over IPC, and what it says. */
export type ClientOrder = { turn: Load; aim: Aim } | { hold: Load; aim: Aim } | { drop: true }
export type ClientWord = { window: 'begin' | 'end' } | { done: TurnResult } | { failed: string }

import type { Load } from './load.ts'

export type LoadName = 'first1' | 'rested1' | 'first32' | 'first256' | 'relay100' | 'relay200' | 'short'

/** How long things take. */
export interface Pace {
  rounds: number
  /** Not measured, of each way before its first round. */
  warmMs: number
  windowMs: number
}

export const PACE: Pace = { rounds: 5, warmMs: 3_000, windowMs: 4_000 }
export const QUICK: Pace = { rounds: 1, warmMs: 300, windowMs: 700 }

/** 32 tokens at 50 a second last 620 ms, and a slot begins anew every 650 to 670: at 256 slots 390 starts and 12,500 tokens a second. */
const chat = (streams: number, windowMs: number): Load => ({
  streams, tokens: 32, rate: 50, stream: true, cycleMs: 650, jitterMs: 20, spreadMs: 650, rampMs: 700, windowMs, models: 1,
})

/** Streams that all run through the whole window, begun over 0.8 s before it. */
const relay = (rate: number, windowMs: number): Load => ({
  streams: 500, tokens: Math.ceil((rate * (1_000 + windowMs)) / 1000), rate, stream: true, cycleMs: 'once', jitterMs: 0, spreadMs: 800, rampMs: 1_000,
  windowMs, models: 1,
})

export const loads: Record<LoadName, (windowMs: number) => Load> = {
  /** One client that asks again as soon as it is answered: eight tokens, at once. What the way itself takes, with every process awake. */
  first1: (windowMs) => ({
    streams: 1, tokens: 8, rate: 0, stream: true, cycleMs: 0, jitterMs: 0, spreadMs: 0, rampMs: 200, windowMs, models: 1,
  }),
  /** One client, 8 tokens in 18 ms, then 5 to 15 ms of rest: 35 starts a second, and every process is asleep when they come. */
  rested1: (windowMs) => ({
    streams: 1, tokens: 8, rate: 400, stream: true, cycleMs: 23, jitterMs: 10, spreadMs: 0, rampMs: 200, windowMs: 2 * windowMs, models: 1,
  }),
  first32: (windowMs) => chat(32, windowMs),
  first256: (windowMs) => chat(256, windowMs),
  relay100: (windowMs) => relay(100, windowMs),
  relay200: (windowMs) => relay(200, windowMs),
  /** 64 clients that each ask again as soon as they are answered: four tokens, in one piece. */
  short: (windowMs) => ({
    streams: 64, tokens: 4, rate: 0, stream: false, cycleMs: 0, jitterMs: 0, spreadMs: 20, rampMs: 300, windowMs, models: 1,
  }),
}

/** What a second's relay is meant to be: tokens that the load offers in its window. */
export const offered = ({ streams, rate, windowMs }: Load): number => (streams * rate * windowMs) / 1000

/** A lane as the next job would find it. */
export interface LaneLoad {
  waiting: number
  running: number
  /** Concurrent generations of its model on all nodes that take jobs. */
  slots: number
}

/** How long one job took once it ran, ms, from the time since it was added and what was in its lane then: those before it ran `slots` at a time. */
export const runMs = (totalMs: number, { waiting, running, slots }: LaneLoad): number => (totalMs * slots) / Math.max(slots, waiting + running + 1)

/** Weight of the latest job in the mean. */
const LATEST = 0.1

/** Mean that follows what is new; `undefined`: nothing is known yet. */
export const nextMean = (mean: number | undefined, value: number): number => (mean === undefined ? value : mean + LATEST * (value - mean))

/** How long the next job of a lane will wait until it runs, ms. */
export const expectedWaitMs = ({ waiting, running, slots }: LaneLoad, meanMs: number): number => (Math.max(0, waiting + running + 1 - slots) * meanMs) / slots

/** So many jobs may wait or run, all together, before one that is to wait no longer than `maxWaitMs`. */
export const mostAhead = (maxWaitMs: number, slots: number, meanMs: number): number => slots + Math.floor((maxWaitMs * slots) / Math.max(meanMs, 1e-3))

/** OpenAI's client heeds nothing above 60 s: it then comes back after half a second. With its share of chance this stays below. */
const MOST_RETRY_MS = 50_000
const LEAST_RETRY_MS = 1_000
const SPREAD = 0.2

/**
 * When somebody who was refused may come again, ms: by then there should be room, and not all come at once.
 * @param chance 0 to 1
 */
export const retryAfterMs = (roomInMs: number, chance: number): number =>
  Math.min(MOST_RETRY_MS, Math.max(LEAST_RETRY_MS, roomInMs)) * (1 - SPREAD + 2 * SPREAD * chance)

/** Those who were told to come again: each takes a place, and places are used up as jobs end. */
export interface Refused {
  count: number
  /** ms, by any clock that only goes on. */
  at: number
}

/** One more was refused, when jobs end every `turnMs`. */
export const oneMoreRefused = ({ count, at }: Refused, now: number, turnMs: number): Refused => ({ count: Math.max(0, count - (now - at) / turnMs) + 1, at: now })

/** An ended job's record and log stay this long for a plain request, ms: a reader that lost its connection finds the end. */
export const LINGER_MS = 60_000
/** Most bytes of one job's log; a longer answer ends with an honest error. */
export const LOG_BYTES = 16 * 1024 * 1024
/** Most bytes of requests that may wait or run in one lane, unless it is set otherwise. */
export const LANE_BYTES = 1024 ** 3
/** Counted starts of one job. */
export const MAX_STARTS = 3
/**
 * A Redis that is killed may forget what it has answered for this long, ms: with `appendfsync everysec` it holds writes back, for two
 * seconds at most, while an fsync is under way. Whoever has sent something keeps it until then.
 */
export const FORGETS_MS = 2_500

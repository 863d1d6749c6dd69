/** Something that is due at a moment. */
export interface Due {
  due(now: number): void
}

export interface Pacer {
  now(): number
  /** Calls `item.due` once, within about a millisecond after `time` (of `now()`). */
  at(time: number, item: Due): void
  /** Calls `item.due` once, after other I/O had its turn. */
  soon(item: Due): void
  close(): void
}

const SPAN = 1024

/**
 * One timer for all streams: a wheel of 1 ms buckets. A timer per stream would cost more than the tokens do.
 * The timer runs only while something is due.
 */
export const startPacer = (): Pacer => {
  const wheel: { time: number; item: Due }[][] = Array.from({ length: SPAN }, () => [])
  let hand = Math.floor(performance.now())
  let held = 0
  let timer: NodeJS.Timeout | undefined
  let queue: Due[] = []

  const place = (time: number, item: Due) => {
    // Never in the bucket being emptied, never more than one turn ahead: what is later goes round again.
    const bucket = Math.min(Math.max(Math.ceil(time), hand + 1), hand + SPAN - 1)
    wheel[bucket % SPAN]?.push({ time, item })
    held++
  }
  const turn = () => {
    const now = performance.now()
    while (hand < Math.floor(now)) {
      hand++
      const bucket = wheel[hand % SPAN]
      if (!bucket || bucket.length === 0) continue
      wheel[hand % SPAN] = []
      held -= bucket.length
      for (const entry of bucket) {
        if (entry.time > hand) place(entry.time, entry.item)
        else entry.item.due(now)
      }
    }
    if (held > 0) timer = setTimeout(turn, 1)
    else timer = undefined
  }
  const drainQueue = () => {
    const items = queue
    queue = []
    const now = performance.now()
    for (const item of items) item.due(now)
  }

  return {
    now: () => performance.now(),
    at(time, item) {
      if (held === 0 && !timer) hand = Math.floor(performance.now())
      place(time, item)
      timer ??= setTimeout(turn, 1)
    },
    soon(item) {
      if (queue.push(item) === 1) setImmediate(drainQueue)
    },
    close() {
      clearTimeout(timer)
      for (const bucket of wheel) bucket.length = 0
      queue = []
      held = 0
    },
  }
}

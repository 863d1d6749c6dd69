import type { Lease } from '@drover/broker'

export interface ModelLoop {
  take(): Promise<Lease | 'empty' | 'again'>
  /** Tells when there may be something to take; it only saves waiting. */
  onHeard(then: () => void): void
  /** Models that a job changes. */
  subjects(lease: Lease): readonly string[]
  run(lease: Lease): Promise<void>
  /** It ends before its turn has come. */
  giveUp(lease: Lease): Promise<void>
  paused(): boolean
  draining: AbortSignal
  onError(error: unknown): void
  pollMs?: number
}

/** Jobs that run at once, and those that are held besides because their model is in work. */
const MOST_RUNNING = 4
const MOST_HELD = 32
const POLL_MS = 2_000

/**
 * Takes work on this node's models, beside the loop that takes requests: it needs no slot and keeps none. At most four run at once, and
 * never two that change one model: those run in the order in which they were asked for.
 */
export async function modelLoop({ take, onHeard, subjects, run, giveUp, paused, draining, onError, pollMs = POLL_MS }: ModelLoop): Promise<void> {
  let heard = false
  let wake: (() => void) | undefined
  const hear = () => {
    heard = true
    wake?.()
  }
  onHeard(hear)
  draining.addEventListener('abort', hear)
  /** By model, the end of what was taken for it last. */
  const turns = new Map<string, Promise<unknown>>()
  const places: (() => void)[] = []
  let running = 0
  let held = 0

  const inPlace = async (work: () => Promise<void>): Promise<void> => {
    if (running >= MOST_RUNNING) await new Promise<void>((resolve) => places.push(resolve))
    else running += 1
    try {
      await work()
    } finally {
      const next = places.shift()
      if (next) next()
      else running -= 1
    }
  }

  const inTurn = (lease: Lease): Promise<void> => {
    const names = subjects(lease)
    const before = Promise.all(names.map((name) => turns.get(name)))
    const aborted = new Promise<'aborted'>((resolve) => lease.signal.addEventListener('abort', () => resolve('aborted'), { once: true }))
    const mine = Promise.race([before, aborted]).then((first) => (first === 'aborted' || lease.signal.aborted ? giveUp(lease) : inPlace(() => run(lease))))
    // Whoever comes behind one that gave up still waits for those before it.
    const end = Promise.all([before, mine.catch(onError)])
    for (const name of names) turns.set(name, end)
    return end.then(() => {
      for (const name of names) if (turns.get(name) === end) turns.delete(name)
    })
  }

  while (!draining.aborted) {
    heard = false
    if (!paused() && held < MOST_HELD) {
      const lease = await take().catch((error: unknown) => (onError(error), 'empty' as const))
      if (typeof lease === 'object') {
        held += 1
        void inTurn(lease).finally(() => {
          held -= 1
          hear()
        })
      }
      if (lease !== 'empty') continue
    }
    if (heard || draining.aborted) continue
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pollMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

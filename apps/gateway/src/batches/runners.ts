import { randomBytes } from 'node:crypto'
import { BatchRun, type RunDeps } from './batch-run.ts'

export interface Runners {
  /** There may be something new for a batch: a new one, or one that is to be cancelled. */
  poke(batch?: string): void
  /** Gives all batches to other gateways. */
  stop(): Promise<void>
}

/** Batches that one gateway runs at once. */
const MOST_RUNS = 16
/** How often a gateway looks for batches that nobody runs, ms. */
const LOOK_MS = 1_000

/** The batches that this gateway runs: whichever nobody else does. */
export const batchRunners = (deps: RunDeps): Runners => {
  const running = new Map<string, BatchRun>()
  const stopping = new AbortController()
  let looking = false
  let again = false

  const begin = async (run: BatchRun) => {
    running.set(run.lease.id, run)
    try {
      await run.run()
    } catch (error) {
      // Its lease runs out, and somebody tries again.
      deps.onError(error)
    } finally {
      running.delete(run.lease.id)
      void look()
    }
  }

  const look = async () => {
    again = true
    if (looking) return
    looking = true
    try {
      while (again && !stopping.signal.aborted && running.size < MOST_RUNS) {
        again = false
        const lease = await deps.broker.batches.claim(randomBytes(12).toString('base64url'), deps.store.id)
        if (!lease || running.has(lease.id)) continue
        again = true
        void begin(new BatchRun(lease, deps))
      }
    } catch (error) {
      deps.onError(error)
    } finally {
      looking = false
    }
  }
  const timer = setInterval(() => void look(), LOOK_MS)

  return {
    poke(batch) {
      const run = batch === undefined ? undefined : running.get(batch)
      if (run) void run.look().catch(deps.onError)
      else void look()
    },
    async stop() {
      stopping.abort()
      clearInterval(timer)
      await Promise.allSettled([...running.values()].map((run) => run.stop()))
    },
  }
}

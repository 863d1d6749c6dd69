import type { Engine, EngineView } from '@drover/engines'
import type { Slots } from './slots.ts'

export interface InventoryOptions {
  slots: Slots
  /** An engine came, went, or holds other models than before. */
  onChange(engine: Engine, view: EngineView | undefined, reason?: unknown): void
  /** What is made of what an engine says of itself; absent: nothing. */
  adjusted?(engine: Engine, view: EngineView): EngineView
  intervalMs?: number
}

const LOOK_TIMEOUT_MS = 4_000
/** An engine that has gone is often back soon: how often it is looked at meanwhile, and for how long so often, ms. */
const AWAY = { every: 500, for: 10_000 }

interface Watched {
  engine: Engine
  /** What was said of it last. */
  summary: string | undefined
  /** `performance.now()` of the first look in vain since it was there. */
  awaySince: number | undefined
  /** Times that somebody wanted a look at once: what a look found that had begun before counts for nothing. */
  wanted: number
  wake(): void
}

/** What this node holds and has loaded: every engine is asked every two seconds, each in its own time. */
export const inventory = ({ slots, onChange, adjusted = (_engine, view) => view, intervalMs = 2_000 }: InventoryOptions) => {
  const stopped = new AbortController()
  const watched = new Map<string, Watched>()

  const look = async (watch: Watched): Promise<void> => {
    const { engine, wanted } = watch
    let view: EngineView | undefined
    let reason: unknown
    try {
      view = adjusted(engine, await engine.look(AbortSignal.any([stopped.signal, AbortSignal.timeout(LOOK_TIMEOUT_MS)])))
    } catch (error) {
      reason = error
    }
    if (stopped.signal.aborted) return
    if (watch.wanted !== wanted) return look(watch)
    watch.awaySince = view ? undefined : (watch.awaySince ?? performance.now())
    slots.update(engine, view)
    const summary = view ? JSON.stringify([view.held.map(({ model, digest, onlyAsked }) => [model, digest, onlyAsked]), view.slotsPerModel, view.slotsByModel, view.maxLoaded]) : 'gone'
    if (watch.summary === summary) return
    watch.summary = summary
    onChange(engine, view, reason)
  }

  const pause = async (watch: Watched): Promise<void> => {
    const isNew = watch.awaySince !== undefined && performance.now() - watch.awaySince < AWAY.for
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, isNew ? Math.min(AWAY.every, intervalMs) : intervalMs).unref()
      watch.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  const keepLooking = async (watch: Watched): Promise<void> => {
    while (!stopped.signal.aborted) {
      await pause(watch)
      await look(watch)
    }
  }

  return {
    /** Resolves when the engine has been asked once; the asking goes on. */
    async add(engine: Engine): Promise<void> {
      const watch: Watched = { engine, summary: undefined, awaySince: undefined, wanted: 0, wake: () => undefined }
      watched.set(engine.id, watch)
      await look(watch)
      void keepLooking(watch)
    },
    /** Something speaks for a change: the engine is asked now. */
    lookNow(engine: Engine): void {
      const watch = watched.get(engine.id)
      if (!watch) return
      watch.wanted += 1
      watch.wake()
    },
    /** The same, and resolves when it has answered, or not. */
    async look(engine: Engine): Promise<void> {
      const watch = watched.get(engine.id)
      if (!watch) return
      watch.wanted += 1
      await look(watch)
    },
    stop: () => stopped.abort(),
  }
}

import type { Engine, EngineView } from '@drover/engines'
import type { Slots } from './slots.ts'

export interface InventoryOptions {
  slots: Slots
  /** An engine came, went, or holds other models than before. */
  onChange(engine: Engine, view: EngineView | undefined, reason?: unknown): void
  intervalMs?: number
}

const LOOK_TIMEOUT_MS = 4_000

/** What this node holds and has loaded: every engine is asked every two seconds, each in its own time. */
export const inventory = ({ slots, onChange, intervalMs = 2_000 }: InventoryOptions) => {
  const stopped = new AbortController()
  const known = new Map<string, string>()

  const look = async (engine: Engine) => {
    let view: EngineView | undefined
    let reason: unknown
    try {
      view = await engine.look(AbortSignal.any([stopped.signal, AbortSignal.timeout(LOOK_TIMEOUT_MS)]))
    } catch (error) {
      reason = error
    }
    if (stopped.signal.aborted) return
    slots.update(engine, view)
    const summary = view ? JSON.stringify([view.held.map(({ model, digest }) => [model, digest]), view.slotsPerModel, view.slotsByModel, view.maxLoaded]) : 'gone'
    if (known.get(engine.id) === summary) return
    known.set(engine.id, summary)
    onChange(engine, view, reason)
  }

  const keepLooking = async (engine: Engine) => {
    while (!stopped.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, intervalMs).unref())
      await look(engine)
    }
  }

  return {
    /** Resolves when the engine has been asked once; the asking goes on. */
    async add(engine: Engine): Promise<void> {
      await look(engine)
      void keepLooking(engine)
    },
    stop: () => stopped.abort(),
  }
}

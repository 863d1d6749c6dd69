import { BrokerError } from '@drover/core'
import type { Slot } from './slots.ts'

/** When an engine counts as stuck, ms. */
export interface Patience {
  /** From the call to the first text: a prompt is being read. */
  first: number
  /** On top of it when the model was not in memory: a load is not a hang. */
  load: number
  /** Between two texts. */
  gap: number
}

export interface Watch {
  /** The engine said something. */
  alive(): void
  /** It is we who do not listen. */
  pause(): void
  resume(): void
  stop(): void
}

export interface Watchdog {
  watch(slot: Slot, onStuck: (error: BrokerError) => void): Watch
  close(): void
}

/** One timer for all attempts: a timer per token would cost more than the token. */
export const watchdog = (patience: Patience, tickMs = 250): Watchdog => {
  const watched = new Set<{ due: number; limit: number; tell: () => void }>()
  const timer = setInterval(() => {
    const now = performance.now()
    for (const each of watched)
      if (now > each.due) {
        watched.delete(each)
        each.tell()
      }
  }, tickMs)
  return {
    watch: (slot, onStuck) => {
      const limit = patience.first + (slot.loaded ? 0 : patience.load)
      const entry = { due: performance.now() + limit, limit, tell: () => onStuck(stalled(slot, entry.limit)) }
      watched.add(entry)
      return {
        alive: () => {
          entry.limit = patience.gap
          entry.due = performance.now() + patience.gap
        },
        pause: () => void (entry.due = Infinity),
        resume: () => void (entry.due = performance.now() + entry.limit),
        stop: () => void watched.delete(entry),
      }
    },
    close: () => clearInterval(timer),
  }
}

const stalled = (slot: Slot, limit: number) =>
  new BrokerError('engine_stalled', `engine ${slot.engine.id} has said nothing for ${Math.round(limit / 1000)} s while answering with ${slot.held.model}`)

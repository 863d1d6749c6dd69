import type { Continuation, HeldModel, ModelName } from '@drover/core'
import { probeContinuation, type Engine, type EngineView } from '@drover/engines'
import type { Slots } from './slots.ts'

export interface ContinuationsOptions {
  slots: Pick<Slots, 'seats'>
  /** There is something new to tell the others. */
  onFound(): void
  /** An engine could not say it of a model: told once until it can. */
  onFailure(engine: Engine, held: HeldModel, error: unknown): void
}

const LOOK_MS = 1_000
const PROBE_MS = 10_000
/** Asking counts as a use of the model, so in the end it is asked more seldom than engines keep an idle one (5 minutes). */
const RETRY_MS = { first: 15_000, most: 15 * 60_000 }
/** A model about to leave memory is not asked for: it might have gone before, and asking would bring it back. */
const LEAVING_MS = 5_000

/**
 * Whether a model is in memory, will be for a while, and can be asked for as it is: an Ollama that does not tell the context would load it
 * anew with another one.
 */
const isAtHand = ({ kind }: Pick<Engine, 'kind'>, { loaded }: EngineView, model: ModelName): boolean => {
  const found = loaded.find((each) => each.model === model)
  if (!found || (kind === 'ollama' && found.contextLength === undefined)) return false
  return found.expiresAt === undefined || Date.parse(found.expiresAt) - Date.now() >= LEAVING_MS
}

/**
 * How the engines of this node go on with a half answer: each is asked once for each model, when it has it in memory, and again when it
 * has become another version or has been away, for a server may come back with another template for the same weights.
 */
export const continuations = ({ slots, onFound, onFailure }: ContinuationsOptions) => {
  const stopped = new AbortController()
  const known = new Map<string, Continuation>()
  const failed = new Map<string, { failures: number; until: number }>()
  const asking = new Set<string>()

  const viewOf = ({ id }: Pick<Engine, 'id'>): EngineView | undefined => {
    for (const { engine, view } of slots.seats()) if (engine.id === id) return view
    return undefined
  }
  const keyOf = ({ id }: Pick<Engine, 'id'>, { digest }: Pick<HeldModel, 'digest'>, view = viewOf({ id })): string => [id, view?.version, digest].join(' ')

  const probe = async (engine: Engine, held: HeldModel, signal: AbortSignal, contextLength?: number): Promise<Continuation> => {
    const view = viewOf(engine)
    const key = keyOf(engine, held, view)
    const before = known.get(key)
    if (before) return before
    const loaded = view?.loaded.find(({ model }) => model === held.model)
    const found = await probeContinuation(engine, held, signal, contextLength ?? loaded?.contextLength)
    known.set(key, found)
    failed.delete(key)
    return found
  }

  const ask = async (key: string, engine: Engine, held: HeldModel): Promise<void> => {
    asking.add(key)
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(PROBE_MS)])
    try {
      // What the last look saw may be seconds old.
      if (!isAtHand(engine, await engine.look(signal), held.model)) return
      await probe(engine, held, signal)
      onFound()
    } catch (error) {
      if (stopped.signal.aborted) return
      const failures = (failed.get(key)?.failures ?? 0) + 1
      failed.set(key, { failures, until: performance.now() + Math.min(RETRY_MS.first * 2 ** (failures - 1), RETRY_MS.most) })
      if (failures === 1) onFailure(engine, held, error)
    } finally {
      asking.delete(key)
    }
  }

  /** What is not held any more is forgotten with it. */
  const look = (): void => {
    const now = performance.now()
    const held = new Set<string>()
    for (const { engine, view } of slots.seats()) {
      for (const each of view.held) {
        const key = keyOf(engine, each, view)
        held.add(key)
        if (known.has(key) || asking.has(key) || (failed.get(key)?.until ?? 0) > now) continue
        if (isAtHand(engine, view, each.model)) void ask(key, engine, each)
      }
    }
    for (const key of known.keys()) if (!held.has(key)) known.delete(key)
    for (const key of failed.keys()) if (!held.has(key)) failed.delete(key)
  }
  const timer = setInterval(look, LOOK_MS)

  return {
    /** Asks now for what is not known of models in memory; it looks by itself every second, too. */
    look,
    /** What is known; `undefined`: nothing yet. */
    continues: (engine: Pick<Engine, 'id'>, held: Pick<HeldModel, 'digest'>): Continuation | undefined => known.get(keyOf(engine, held)),
    /**
     * What is known, or else asks now; the engine loads the model for that where it must, with `contextLength` where it can be told.
     * @throws BrokerError `engine_failed`; the signal's reason when that ends it
     */
    probe,
    stop(): void {
      clearInterval(timer)
      stopped.abort()
    },
  }
}
export type Continuations = ReturnType<typeof continuations>

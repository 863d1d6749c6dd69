import { BrokerError, canonicalName, type HeldModel, type ModelName, type ModelWork } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import type { Pins } from './pins.ts'

export type LoadWork = Extract<ModelWork, { call: 'load' | 'unload' }>

interface Place {
  engine: Engine
  held: HeldModel
  loaded: boolean
}

const placesOf = (model: ModelName, seats: Iterable<{ engine: Engine; view: EngineView }>): Place[] =>
  [...seats].flatMap(({ engine, view }) => {
    const held = engine.layout === 'cluster' ? undefined : view.held.find((each) => each.model === model)
    return held ? [{ engine, held, loaded: view.loaded.some((each) => each.model === model) }] : []
  })

const ownWay = ({ id }: Engine, model: ModelName, loaded: boolean) =>
  new BrokerError('engine_refused', `engine ${id} ${loaded ? 'keeps' : 'loads'} ${model} as it likes: that is to be changed there`, { status: 501 })

/** Has one engine load the model: one that has it in memory before all others. @returns the engines whose memory has changed */
const load = async (work: LoadWork & { call: 'load' }, model: ModelName, places: readonly Place[], pins: Pins, signal: AbortSignal): Promise<Engine[]> => {
  const [place] = places.toSorted((a, b) => Number(b.loaded) - Number(a.loaded))
  if (!place) throw new BrokerError('engine_refused', `model '${model}' is no longer there`, { status: 404 })
  const { engine, held, loaded } = place
  if (!engine.load) {
    if (loaded) return []
    throw ownWay(engine, model, loaded)
  }
  // Before it is loaded: a job that comes behind it is to find it so.
  const takeBack = pins.set(engine, model, work)
  try {
    const wish = pins.wishFor(engine, model)
    if (wish.keepAliveMs === 0) throw new BrokerError('engine_refused', 'this node keeps no model that is not used: it is to be told for how long')
    await engine.load(held, wish, signal)
  } catch (error) {
    takeBack()
    throw error
  }
  return [engine]
}

/** Has all engines that hold the model let it go. */
const unload = async (model: ModelName, places: readonly Place[], pins: Pins, signal: AbortSignal): Promise<Engine[]> => {
  const stays = places.find(({ engine, loaded }) => loaded && !engine.unload)
  if (stays) throw ownWay(stays.engine, model, true)
  for (const { engine, held } of places) {
    pins.clear(engine, model)
    await engine.unload?.(held, signal)
  }
  return places.map(({ engine }) => engine)
}

/**
 * Brings a model into the memory of this node, or takes it out.
 * @returns the engines whose memory has changed
 * @throws BrokerError; the signal's reason when that ends it
 */
export const changeMemory = async (work: LoadWork, seats: Iterable<{ engine: Engine; view: EngineView }>, pins: Pins, signal: AbortSignal): Promise<Engine[]> => {
  const model = canonicalName(work.model) ?? (work.model as ModelName)
  const all = [...seats]
  const places = placesOf(model, all)
  // An engine that is away just now has no slots; it may be back for the next attempt.
  if (places.length === 0 && all.some(({ view }) => view.slotsPerModel === 0)) throw new BrokerError('engine_failed', `no engine answers on this node that holds '${model}'`)
  return work.call === 'load' ? load(work, model, places, pins, signal) : unload(model, places, pins, signal)
}

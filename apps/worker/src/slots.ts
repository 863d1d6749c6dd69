import { laneOf, type Lane } from '@drover/broker'
import { slotsFor, type EngineKind, type HeldModel, type JobClass, type ModelName } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'

/** A right to one concurrent generation (more for `n` > 1) of a model on an engine. Released exactly once. */
export interface Slot {
  engine: Engine
  held: HeldModel
  /** Whether the engine had the model in memory when the slot was taken. */
  loaded: boolean
  /** The job turned out to take more: the engine counts as fuller, and takes nothing new until it has room again. */
  widen(by: number): void
  release(): void
}

interface Seat {
  engine: Engine
  view: EngineView
  busy: Map<ModelName, number>
  /** Models left alone after failures: until when (`performance.now()`), and how often in a row. */
  left: Map<ModelName, { until: number; failures: number }>
}

const CLASSES: JobClass[] = ['interactive', 'batch']
/** Kinds of engine that answer what no other can: their jobs of that sort have lanes of their own. */
const ONLY_THERE: ReadonlySet<EngineKind> = new Set(['llama-server'])
/** An engine leaves a lane when jobs fail one after the other; a single failure may be the job's own. No longer than this: others wait. */
const BACKOFF_MS = { first: 500, most: 2_000 }

/**
 * The node's concurrency budget: a slot belongs to (engine, model). An engine is given no job that it would have to queue: as many per
 * model as it has slots, and no more models at once than it can hold in memory.
 */
export class Slots {
  #seats = new Map<string, Seat>()
  #freed = new Set<(model: ModelName) => void>()
  #lanes = new Map<string, readonly Lane[]>()

  /** What an engine has said of itself; `undefined`: it is not there, and nothing new goes to it. */
  update(engine: Engine, view: EngineView | undefined): void {
    const seat = this.#seats.get(engine.id)
    const next = view ?? { held: [], loaded: [], slotsPerModel: 0, maxLoaded: 0 }
    if (seat) seat.view = next
    else this.#seats.set(engine.id, { engine, view: next, busy: new Map(), left: new Map() })
  }

  /** Engines and what runs on them. */
  *seats(): Iterable<{ engine: Engine; view: EngineView; busy: ReadonlyMap<ModelName, number> }> {
    yield* this.#seats.values()
  }

  /** Called with a model for which a slot may have become free. */
  onFreed(listener: (model: ModelName) => void): void {
    this.#freed.add(listener)
  }

  isLoaded(model: ModelName): boolean {
    for (const { view } of this.#seats.values()) if (view.loaded.some((loaded) => loaded.model === model)) return true
    return false
  }

  /** Lanes of all models that an engine holds and has a free slot for. */
  freeLanes(): Lane[] {
    const lanes = new Set<Lane>()
    for (const seat of this.#seats.values())
      for (const { model } of seat.view.held) if (room(seat, model)) for (const lane of this.#lanesOf(model, seat.engine.kind)) lanes.add(lane)
    return [...lanes]
  }

  /** Lanes that an engine of this kind serves for a model: asked for with every job, and always the same. */
  #lanesOf(model: ModelName, kind: EngineKind): readonly Lane[] {
    const key = `${kind} ${model}`
    let lanes = this.#lanes.get(key)
    if (!lanes) {
      const kinds = ONLY_THERE.has(kind) ? [undefined, kind] : [undefined]
      this.#lanes.set(key, (lanes = CLASSES.flatMap((jobClass) => kinds.map((only) => laneOf(model, jobClass, only)))))
    }
    return lanes
  }

  /** Whether an engine (of this kind, if one is named) has a free slot. */
  isFree(model: ModelName, kind?: EngineKind): boolean {
    for (const seat of this.#seats.values()) if (is(seat, kind) && room(seat, model)) return true
    return false
  }

  /** Takes a slot for a model on the engine that suits best: the model is loaded there, then most free slots. */
  acquire(model: ModelName, kind?: EngineKind): Slot | undefined {
    let best: Seat | undefined
    let bestScore = -1
    for (const seat of this.#seats.values()) {
      if (!is(seat, kind) || !room(seat, model)) continue
      const score = (has(seat.view.loaded, model) ? 1e6 : 0) + slotsFor(seat.view, model) - (seat.busy.get(model) ?? 0)
      if (score > bestScore) [best, bestScore] = [seat, score]
    }
    const held = best?.view.held.find((each) => each.model === model)
    if (!best || !held) return undefined
    return this.#take(best, held)
  }

  #take(seat: Seat, held: HeldModel): Slot {
    const { model } = held
    let width = 1
    let released = false
    seat.busy.set(model, (seat.busy.get(model) ?? 0) + 1)
    return {
      engine: seat.engine,
      held,
      loaded: has(seat.view.loaded, model),
      widen: (by) => {
        if (released) return
        width += by
        seat.busy.set(model, (seat.busy.get(model) ?? 0) + by)
      },
      release: () => {
        if (released) return
        released = true
        const left = (seat.busy.get(model) ?? 0) - width
        if (left > 0) seat.busy.set(model, left)
        else seat.busy.delete(model)
        for (const listener of this.#freed) listener(model)
      },
    }
  }

  /** The engine failed at another job of this model: from the second in a row on it leaves its lanes for a while, longer each time. */
  failed(engine: Engine, model: ModelName): void {
    const seat = this.#seats.get(engine.id)
    if (!seat) return
    const now = performance.now()
    const before = seat.left.get(model)
    // Attempts that ran side by side fail together: that is one failure of the engine.
    if (before && now < before.until) return
    const failures = (before?.failures ?? 0) + 1
    const pause = failures === 1 ? 0 : Math.min(BACKOFF_MS.first * 2 ** (failures - 2), BACKOFF_MS.most)
    seat.left.set(model, { until: now + pause, failures })
    // A timer may come a moment early, and the lane would then be looked at again only by the next poll.
    setTimeout(() => {
      for (const listener of this.#freed) listener(model)
    }, pause + 5).unref()
  }

  /** The engine answered: its failures are forgotten. */
  worked(engine: Engine, model: ModelName): void {
    this.#seats.get(engine.id)?.left.delete(model)
  }
}

const has = (models: readonly { model: ModelName }[], model: ModelName) => models.some((each) => each.model === model)

const is = ({ engine }: Seat, kind: EngineKind | undefined) => kind === undefined || engine.kind === kind

/** Whether an engine could start a generation of this model now without queueing it. */
const room = ({ engine, view, busy, left }: Seat, model: ModelName): boolean => {
  if (!has(view.held, model) || engine.admits?.(model) === false) return false
  const away = left.get(model)
  if (away && performance.now() < away.until) return false
  const running = busy.get(model) ?? 0
  const slots = slotsFor(view, model)
  return running > 0 ? running < slots : slots > 0 && busy.size < view.maxLoaded
}

import { laneOf, type Lane } from '@drover/broker'
import { slotsFor, type EngineKind, type HeldModel, type JobClass, type ModelName, type QuarantineRecord } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import { Quarantine, type Failure } from './quarantine.ts'

/** A right to one concurrent generation (more for `n` > 1) of a model on an engine. Released exactly once. */
export interface Slot {
  engine: Engine
  held: HeldModel
  /** Whether the engine had the model in memory when the slot was taken. */
  loaded: boolean
  /** The job turned out to take more: the engine counts as fuller, and takes nothing new until it has room again. */
  widen(by: number): void
  /** The engine answered: its failures are forgotten. */
  worked(): void
  /** The engine failed at the job. `unreachable`: without an answer, so that this speaks against all its models. */
  failed(failure: Omit<Failure, 'since'> & { unreachable: boolean }): void
  release(): void
}

interface Seat {
  engine: Engine
  view: EngineView
  busy: Map<ModelName, number>
  /** It could not be reached, and has not been looked at since. */
  lost: boolean
  /** It was really gone when it was looked at. */
  fell: boolean
  /** Until then (`performance.now()`) it is given one job at a time, so that the one it fell over is alone when that happens again. */
  carefulUntil: number
  /** Models left to others, and how many jobs that is for. */
  left: Map<ModelName, number>
  /** Of the engine as a whole: it could not be reached, or fell over. */
  whole: Quarantine
  /** Of models at which it failed while it could be reached. */
  models: Map<ModelName, Quarantine>
}

/** `model` is absent where the whole engine is meant. */
export interface QuarantineEvent extends QuarantineRecord {
  engine: Engine
  ended: boolean
}

const CLASSES: JobClass[] = ['interactive', 'batch']
/** Kinds of engine that answer what no other can: their jobs of that sort have lanes of their own. */
const ONLY_THERE: ReadonlySet<EngineKind> = new Set(['llama-server'])
/** A timer may come a moment early, and a lane would then be looked at again only by the next poll. */
const LATER_MS = 5
/** How long an engine that fell over and is back gets one job at a time, if none completes before. */
const CAREFUL_MS = 3_000

/**
 * The node's concurrency budget: a slot belongs to (engine, model). An engine is given no job that it would have to queue: as many per
 * model as it has slots, and no more models at once than it can hold in memory.
 */
export class Slots {
  #seats = new Map<string, Seat>()
  #freed = new Set<(model: ModelName) => void>()
  #lanes = new Map<string, readonly Lane[]>()
  #onQuarantine: (event: QuarantineEvent) => void

  /** `onQuarantine`: an engine, or a model on it, is given no more jobs for now; or is used again. */
  constructor(onQuarantine: (event: QuarantineEvent) => void = () => undefined) {
    this.#onQuarantine = onQuarantine
  }

  /** What an engine has said of itself; `undefined`: it is not there, and nothing new goes to it. */
  update(engine: Engine, view: EngineView | undefined): void {
    const seat = this.#seats.get(engine.id)
    const next = view ?? { held: [], loaded: [], slotsPerModel: 0, maxLoaded: 0 }
    if (!seat) return void this.#seats.set(engine.id, { engine, view: next, busy: new Map(), lost: false, fell: false, carefulUntil: 0, left: new Map(), whole: new Quarantine(), models: new Map() })
    seat.view = next
    if (!seat.lost) return
    if (!view) return void (seat.fell = true)
    seat.lost = false
    if (seat.fell) {
      seat.fell = false
      seat.carefulUntil = performance.now() + CAREFUL_MS
      this.#openIn(seat, CAREFUL_MS)
    }
    this.#open(seat)
  }

  /** Engines and what runs on them. */
  *seats(): Iterable<{ engine: Engine; view: EngineView; busy: ReadonlyMap<ModelName, number> }> {
    yield* this.#seats.values()
  }

  /** What is kept from jobs just now. */
  quarantined(engine: Engine): QuarantineRecord[] {
    const seat = this.#seats.get(engine.id)
    if (!seat) return []
    const now = performance.now()
    return [[undefined, seat.whole] as const, ...seat.models].flatMap(([model, state]) =>
      state.active && (model === undefined || has(seat.view.held, model)) ? [recordOf(state, model, now)] : [],
    )
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
    const now = performance.now()
    for (const seat of this.#seats.values())
      for (const { model } of seat.view.held) if (room(seat, model, now)) for (const lane of this.#lanesOf(model, seat.engine.kind)) lanes.add(lane)
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
  isFree(model: ModelName, kind?: EngineKind, except?: Engine): boolean {
    const now = performance.now()
    for (const seat of this.#seats.values()) if (seat.engine.id !== except?.id && is(seat, kind) && room(seat, model, now)) return true
    return false
  }

  /** Takes a slot for a model on the engine that suits best: the model is loaded there, then most free slots. */
  acquire(model: ModelName, kind?: EngineKind): Slot | undefined {
    let best: Seat | undefined
    let bestScore = -1
    const now = performance.now()
    for (const seat of this.#seats.values()) {
      if (!is(seat, kind) || !room(seat, model, now)) continue
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
    const since = performance.now()
    /** What it is let through to see. */
    const probes = new Set<'whole' | 'model'>()
    if (seat.whole.begin()) probes.add('whole')
    if (seat.models.get(model)?.begin()) probes.add('model')
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
      worked: () => {
        probes.clear()
        seat.carefulUntil = 0
        this.#worked(seat)
        this.#worked(seat, model)
      },
      failed: ({ unreachable, ...failure }) => {
        // Whoever answers can be reached.
        if (!unreachable) this.#worked(seat)
        const which = unreachable ? 'whole' : 'model'
        const probe = probes.delete(which)
        this.#failed(seat, unreachable ? undefined : model, { since, ...failure }, probe)
      },
      release: () => {
        if (released) return
        released = true
        if (probes.has('whole')) seat.whole.unclear()
        if (probes.has('model')) seat.models.get(model)?.unclear()
        const left = (seat.busy.get(model) ?? 0) - width
        if (left > 0) seat.busy.set(model, left)
        else seat.busy.delete(model)
        for (const listener of this.#freed) listener(model)
      },
    }
  }

  /** The engine could not be reached: it takes nothing more until it has said something of itself again. */
  lost(engine: Engine): void {
    const seat = this.#seats.get(engine.id)
    if (seat) seat.lost = true
  }

  /** Keeps a model from an engine, so that others take what it gives back, until what this returns is called. */
  leave(engine: Engine, model: ModelName): () => void {
    const seat = this.#seats.get(engine.id)
    if (!seat) return () => undefined
    const add = (jobs: number) => seat.left.set(model, (seat.left.get(model) ?? 0) + jobs)
    add(1)
    return () => {
      add(-1)
      this.#open(seat, model)
    }
  }

  #failed(seat: Seat, model: ModelName | undefined, failure: Failure, probe: boolean): void {
    let state = model === undefined ? seat.whole : seat.models.get(model)
    if (!state) seat.models.set(model!, (state = new Quarantine()))
    const now = performance.now()
    const before = state.active
    if (!state.failed(failure, probe, now)) return
    this.#openIn(seat, state.forMs(now), model)
    if (!before) this.#onQuarantine({ engine: seat.engine, ended: false, ...recordOf(state, model, now) })
  }

  #worked(seat: Seat, model?: ModelName): void {
    const state = model === undefined ? seat.whole : seat.models.get(model)
    if (!state) return
    const event = state.active ? { engine: seat.engine, ended: true, ...recordOf(state, model, performance.now()) } : undefined
    state.worked()
    if (!event) return
    this.#open(seat, model)
    this.#onQuarantine(event)
  }

  #openIn(seat: Seat, ms: number, model?: ModelName): void {
    setTimeout(() => this.#open(seat, model), ms + LATER_MS).unref()
  }

  /** A model, or all that the engine holds, may be taken again. */
  #open(seat: Seat, model?: ModelName): void {
    for (const each of model === undefined ? seat.view.held.map((held) => held.model) : [model]) for (const listener of this.#freed) listener(each)
  }
}

const recordOf = (state: Quarantine, model: ModelName | undefined, now: number): QuarantineRecord => ({
  ...(model !== undefined && { model }),
  forMs: Math.round(state.forMs(now)),
  failures: state.failures,
})

const has = (models: readonly { model: ModelName }[], model: ModelName) => models.some((each) => each.model === model)

const is = ({ engine }: Seat, kind: EngineKind | undefined) => kind === undefined || engine.kind === kind

/** Whether an engine could start a generation of this model now without queueing it. */
const room = ({ engine, view, busy, lost, carefulUntil, left, whole, models }: Seat, model: ModelName, now: number): boolean => {
  if (lost || !has(view.held, model) || engine.admits?.(model) === false) return false
  if ((left.get(model) ?? 0) > 0 || !whole.admits(now) || models.get(model)?.admits(now) === false) return false
  if (busy.size > 0 && now < carefulUntil) return false
  const running = busy.get(model) ?? 0
  const slots = slotsFor(view, model)
  return running > 0 ? running < slots : slots > 0 && busy.size < view.maxLoaded
}

import { laneOf, type Lane } from '@drover/broker'
import { meets, slotsFor, type EngineKind, type HeldModel, type JobClass, type ModelName, type QuarantineRecord, type Requirements } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import { Quarantine, type Failure } from './quarantine.ts'
import { whoYields, type Running } from './yielding.ts'

/** A right to one concurrent generation (more for `n` > 1) of a model on an engine. Released exactly once. */
export interface Slot {
  engine: Engine
  held: HeldModel
  /** Whether the engine had the model in memory when the slot was taken. */
  loaded: boolean
  /** Has others make it free, and resolves when they have; absent: it is. Until this is called they go on. */
  claim?(): Promise<void>
  /** `give` has the attempt end soon, so that interactive work can have its slots. */
  mayYield(give: () => void): void
  /** The job turned out to take more: the engine counts as fuller, and takes nothing new until it has room again. */
  widen(by: number): void
  /** The engine answered: its failures are forgotten. */
  worked(): void
  /** The engine failed at the job. `unreachable`: without an answer, so that this speaks against all its models. */
  failed(failure: Omit<Failure, 'since'> & { unreachable: boolean }): void
  release(): void
}

/** A model that an engine holds, and the lanes that it serves for it. */
interface Offer {
  held: HeldModel
  lanes: Readonly<Record<JobClass, readonly Lane[]>>
}

interface Seat {
  engine: Engine
  view: EngineView
  /** What of the view is asked for with every job. */
  offers: ReadonlyMap<ModelName, Offer>
  busy: Map<ModelName, number>
  /** The attempts that this is made of, those that began last at the end. */
  running: Set<Running>
  /** Slots that batch attempts among them hold. */
  batch: number
  /** Models that jobs were begun of since the engine was last looked at, or that it may still be loading; the last one first. */
  begun: ModelName[]
  /** It takes nothing but this model until a job of it has begun, or the time (`performance.now()`) has come: it has waited for too long. */
  keptFor: { model: ModelName; until: number } | undefined
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

export interface SlotsOptions {
  /** Part of an engine's slots that batch jobs may hold at once, 0 to 1; of any more than none at least one. */
  batchShare?: number
  /** Part of an engine's slots, rounded down, that batch jobs leave free, 0 to 1: an interactive job then finds one without waiting for a batch attempt to end. */
  batchSpare?: number
  /** Batch attempts make room for interactive jobs. */
  preempt?: boolean
}

const CLASSES: JobClass[] = ['interactive', 'batch']
/** Kinds of engine that answer what no other can: their jobs of that sort have lanes of their own. */
const ONLY_THERE: ReadonlySet<EngineKind> = new Set(['llama-server'])
const ANY: Requirements = {}
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
  #onQuarantine: (event: QuarantineEvent) => void
  #options: Required<SlotsOptions>
  /** Batch attempts that had to make room, since the start. */
  preempted = 0

  /** `onQuarantine`: an engine, or a model on it, is given no more jobs for now; or is used again. */
  constructor(onQuarantine: (event: QuarantineEvent) => void = () => undefined, { batchShare = 1, batchSpare = 0, preempt = true }: SlotsOptions = {}) {
    this.#onQuarantine = onQuarantine
    this.#options = { batchShare, batchSpare, preempt }
  }

  /** What an engine has said of itself; `undefined`: it is not there, and nothing new goes to it. */
  update(engine: Engine, view: EngineView | undefined): void {
    const seat = this.#seats.get(engine.id)
    const next = view ?? { held: [], loaded: [], slotsPerModel: 0, maxLoaded: 0 }
    const offers = offersOf(engine, next)
    if (!seat) return void this.#seats.set(engine.id, { engine, view: next, offers, busy: new Map(), running: new Set(), batch: 0, begun: [], keptFor: undefined, lost: false, fell: false, carefulUntil: 0, left: new Map(), whole: new Quarantine(), models: new Map() })
    seat.view = next
    seat.offers = offers
    seat.begun = seat.begun.filter((model) => seat.busy.has(model))
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
      state.active && (model === undefined || seat.offers.has(model)) ? [recordOf(state, model, now)] : [],
    )
  }

  /** Called with a model for which a slot may have become free. */
  onFreed(listener: (model: ModelName) => void): void {
    this.#freed.add(listener)
  }

  /** Whether an engine that a job requires has the model in memory, or will when what was begun there is: then another may have had to go. */
  isLoaded(model: ModelName, required = ANY): boolean {
    for (const seat of this.#seats.values()) {
      if (!answers(seat, model, required)) continue
      const { view, begun } = seat
      const inMemory = new Set([...begun, ...view.loaded.map((loaded) => loaded.model)])
      if ([...inMemory].slice(0, view.maxLoaded).includes(model)) return true
    }
    return false
  }

  /** Lanes of all models that an engine holds and has a free slot for. */
  freeLanes(): Lane[] {
    return this.#lanesWhere((seat, model, jobClass, now) => this.#room(seat, model, jobClass, now))
  }

  /** Lanes of interactive jobs for which a batch attempt would have to make room. */
  yieldingLanes(): Lane[] {
    if (!this.#options.preempt || ![...this.#seats.values()].some(({ batch }) => batch > 0)) return []
    return this.#lanesWhere((seat, model, jobClass, now) => jobClass === 'interactive' && !room(seat, model, now) && this.#whoYields(seat, model, now) !== undefined)
  }

  /** Lanes of models for which no engine has room only because others are in memory and in use. */
  blockedLanes(): Lane[] {
    const free = new Set(this.freeLanes())
    return this.#lanesWhere((seat, model, jobClass, now) => isBlocked(seat, model, now) && (jobClass === 'interactive' || this.#batchRoom(seat, model))).filter((lane) => !free.has(lane))
  }

  /** An engine that holds such a model, and is one that is required, lets what runs there end and begins nothing else meanwhile, for so long at most. */
  keepFor(model: ModelName, required: Requirements, ms: number): void {
    const now = performance.now()
    const blocked = [...this.#seats.values()].filter((seat) => answers(seat, model, required) && isBlocked(seat, model, now))
    const seat = blocked.find(({ keptFor }) => keptFor?.model === model) ?? blocked.toSorted((a, b) => a.running.size - b.running.size)[0]
    if (seat) seat.keptFor = { model, until: now + ms }
  }

  #lanesWhere(which: (seat: Seat, model: ModelName, jobClass: JobClass, now: number) => boolean): Lane[] {
    const lanes = new Set<Lane>()
    const now = performance.now()
    for (const seat of this.#seats.values())
      for (const [model, offer] of seat.offers)
        for (const jobClass of CLASSES) if (which(seat, model, jobClass, now)) for (const lane of offer.lanes[jobClass]) lanes.add(lane)
    return [...lanes]
  }

  #room(seat: Seat, model: ModelName, jobClass: JobClass, now: number): boolean {
    return room(seat, model, now) && (jobClass === 'interactive' || this.#batchRoom(seat, model))
  }

  #batchRoom(seat: Seat, model: ModelName): boolean {
    const { batchShare: share, batchSpare } = this.#options
    const slots = slotsFor(seat.view, model)
    const spare = Math.floor(batchSpare * slots)
    if (spare > 0 && slots - (seat.busy.get(model) ?? 0) <= spare) return false
    return share >= 1 || (share > 0 && seat.batch < Math.max(1, Math.floor(share * slots)))
  }

  #whoYields(seat: Seat, model: ModelName, now: number): Running[] | undefined {
    if (seat.batch === 0 || !usable(seat, model, now)) return undefined
    return whoYields(model, { running: seat.running, busy: seat.busy, slots: slotsFor(seat.view, model), maxLoaded: seat.view.maxLoaded })
  }

  /** Whether an engine that a job of a class requires has a free slot for it. */
  isFree(model: ModelName, required = ANY, except?: Engine, jobClass: JobClass = 'interactive'): boolean {
    const now = performance.now()
    for (const seat of this.#seats.values()) if (seat.engine.id !== except?.id && answers(seat, model, required) && this.#room(seat, model, jobClass, now)) return true
    return false
  }

  /** Takes a slot for a model on that of the engines that are required that suits best: the model is loaded there, then most free slots. */
  acquire(model: ModelName, required = ANY, jobClass: JobClass = 'interactive'): Slot | undefined {
    let best: Seat | undefined
    let bestScore = -1
    const now = performance.now()
    for (const seat of this.#seats.values()) {
      if (!answers(seat, model, required) || !this.#room(seat, model, jobClass, now)) continue
      const score = (has(seat.view.loaded, model) ? 1e6 : 0) + slotsFor(seat.view, model) - (seat.busy.get(model) ?? 0)
      if (score > bestScore) [best, bestScore] = [seat, score]
    }
    const offer = best?.offers.get(model)
    return best && offer && this.#take(best, offer.held, jobClass)
  }

  /** Takes a slot for an interactive job that batch attempts will have to make free: nothing happens to them until it is claimed. */
  acquireYielding(model: ModelName, required = ANY): Slot | undefined {
    if (!this.#options.preempt) return undefined
    const now = performance.now()
    let best: { seat: Seat; who: Running[] } | undefined
    for (const seat of this.#seats.values()) {
      const who = answers(seat, model, required) ? this.#whoYields(seat, model, now) : undefined
      if (who && (!best || who.length < best.who.length)) best = { seat, who }
    }
    const offer = best?.seat.offers.get(model)
    if (!best || !offer) return undefined
    const { seat, who } = best
    for (const each of who) each.claimed = true
    const slot = this.#take(seat, offer.held, 'interactive')
    let claimed = false
    return {
      ...slot,
      claim: async () => {
        claimed = true
        for (const { give } of who) give?.()
        this.preempted += who.length
        await Promise.all(who.map(({ over }) => over))
      },
      release: () => {
        if (!claimed) for (const each of who) each.claimed = false
        slot.release()
      },
    }
  }

  #take(seat: Seat, held: HeldModel, jobClass: JobClass): Slot {
    const { model } = held
    const over = Promise.withResolvers<void>()
    const running: Running = { model, batch: jobClass === 'batch', width: 1, claimed: false, over: over.promise }
    seat.running.add(running)
    if (seat.keptFor?.model === model) seat.keptFor = undefined
    if (running.batch) seat.batch += 1
    seat.begun = [model, ...seat.begun.filter((each) => each !== model)]
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
      mayYield: (give) => void (running.give = give),
      widen: (by) => {
        if (released) return
        running.width += by
        if (running.batch) seat.batch += by
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
        const left = (seat.busy.get(model) ?? 0) - running.width
        if (left > 0) seat.busy.set(model, left)
        else seat.busy.delete(model)
        seat.running.delete(running)
        if (running.batch) seat.batch -= running.width
        over.resolve()
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
    for (const each of model === undefined ? seat.offers.keys() : [model]) for (const listener of this.#freed) listener(each)
  }
}

const recordOf = (state: Quarantine, model: ModelName | undefined, now: number): QuarantineRecord => ({
  ...(model !== undefined && { model }),
  forMs: Math.round(state.forMs(now)),
  failures: state.failures,
})

const has = (models: readonly { model: ModelName }[], model: ModelName) => models.some((each) => each.model === model)

/** Lanes that an engine serves for a model that it holds. */
const lanesOf = (engine: Engine, held: HeldModel, jobClass: JobClass): Lane[] => {
  const { kind, layout = 'node' } = engine
  const kinds = ONLY_THERE.has(kind) ? [undefined, kind] : [undefined]
  const required = kinds.flatMap((only): Requirements[] => [{ engine: only }, { engine: only, layout }])
  return required.filter((each) => meets(engine, held, each)).map((each) => laneOf(held.model, jobClass, each))
}

const offersOf = (engine: Engine, { held }: EngineView): Map<ModelName, Offer> =>
  new Map(held.map((each) => [each.model, { held: each, lanes: { interactive: lanesOf(engine, each, 'interactive'), batch: lanesOf(engine, each, 'batch') } }]))

/** Whether an engine holds the model and is one that is required. */
const answers = ({ engine, offers }: Seat, model: ModelName, required: Requirements): boolean => {
  const offer = offers.get(model)
  return offer !== undefined && meets(engine, offer.held, required)
}

/** Whether an engine could be given this model, if it has room. */
const usable = ({ engine, offers, busy, keptFor, lost, carefulUntil, left, whole, models }: Seat, model: ModelName, now: number): boolean => {
  if (keptFor && keptFor.model !== model && now < keptFor.until) return false
  if (lost || !offers.has(model) || engine.admits?.(model) === false) return false
  if ((left.get(model) ?? 0) > 0 || !whole.admits(now) || models.get(model)?.admits(now) === false) return false
  return busy.size === 0 || now >= carefulUntil
}

/** Whether an engine could start a generation of this model now without queueing it. */
const room = (seat: Seat, model: ModelName, now: number): boolean => {
  if (!usable(seat, model, now)) return false
  const { view, busy } = seat
  const running = busy.get(model) ?? 0
  const slots = slotsFor(view, model)
  return running > 0 ? running < slots : slots > 0 && busy.size < view.maxLoaded
}

const isBlocked = (seat: Seat, model: ModelName, now: number): boolean =>
  slotsFor(seat.view, model) > 0 && !seat.busy.has(model) && seat.busy.size >= seat.view.maxLoaded && usable(seat, model, now)

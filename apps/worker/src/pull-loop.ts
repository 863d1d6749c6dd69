import { readLane, type Lane, type LaneView, type Lease } from '@drover/broker'
import { batchOverdue, overdue, schedule, type LaneState, type ModelName, type Requirements } from '@drover/core'
import type { Slot, Slots } from './slots.ts'

/** What the loop needs of the broker. */
export interface LaneSource {
  take(lane: Lane): Promise<Lease | 'empty' | 'again'>
  view(lanes: readonly Lane[]): Promise<LaneView[]>
  wait(lanes: readonly Lane[]): Promise<Lane | 'woken' | 'unsure'>
  wake(): void
  pass(lane: Lane): Promise<void>
}

export interface PullLoop {
  source: LaneSource
  slots: Slots
  run(lease: Lease, slot: Slot): void
  /** Best preference among the other nodes with a free slot for the model on an engine that is required. */
  peerPreference(model: ModelName, required: Requirements): number | undefined
  preference: number
  /** ms. `preempt`: how long an interactive job for which a batch attempt would have to make room is left to those who have a slot free. */
  bounds: { wait: number; batchWait: number; leave: number; preempt: number }
  /** Nothing is to be taken just now; whoever ends that wakes the loop. */
  paused(): boolean
  draining: AbortSignal
  onError(error: unknown): void
}

/**
 * Leases asked for at once, at most. The first goes alone, and a single job is no run: the next is asked for when its marker is heard.
 * From the second success on each doubles the next, and the first empty answer ends the run.
 */
const WIDEST = 16
const PAUSE_AFTER_ERROR_MS = 200
/**
 * However much is heard, all lanes are looked at this often, ms. A worker that was killed between hearing a marker and taking the job
 * has swallowed it, and one that is busy with other lanes would never find the silence in which it looks by itself.
 */
const LOOK_MS = 2_000
/** An engine is kept for a model that has waited for too long until it has been looked at anew, and may be a little late, ms. */
const KEEP_MS = LOOK_MS + 1_000

/**
 * Slot before lease, for as long as the worker lives: wait while nothing is known to wait, choose a lane, take slots, take leases.
 * A marker wakes one worker only, so whatever this loop hears and cannot use it passes on, what it heard before a pause or its end, too.
 * For an interactive job that finds no free slot anywhere a batch attempt makes room here: the slot that it will leave is taken, then the
 * lease, and only with that in hand is the attempt told. So of several nodes that could do this for one job one does.
 */
export async function pullLoop(options: PullLoop): Promise<void> {
  const { source, slots, paused, draining, onError } = options
  /** Lanes that may have jobs, with the number of leases to ask for next; 0: one was taken, and its marker is still to be heard. */
  const maybe = new Map<Lane, number>()
  /** Lanes whose last take was a success. */
  const runs = new Set<Lane>()
  /** Lanes left to better nodes, until when. */
  const left = new Map<Lane, number>()
  /** Lanes with jobs that were passed on to whoever has a free slot for them. */
  const passed = new Set<Lane>()
  /** Lanes with jobs for which batch attempts are to make room: nobody with a free slot has come. */
  const ripe = new Set<Lane>()
  /** `performance.now()` of the last job of each batch lane. */
  const servedAt = new Map<Lane, number>()
  /** Lanes that the loop waits for just now. */
  let awaited: Set<Lane> | undefined
  let unsure = true
  let lookedAt = -Infinity

  const wake = () => awaited && source.wake()
  draining.addEventListener('abort', wake)
  slots.onFreed(() => {
    if (awaited && open().some((lane) => !awaited?.has(lane))) source.wake()
  })

  const open = (): Lane[] => {
    const lanes = slots.freeLanes()
    if (left.size === 0) return lanes
    const now = performance.now()
    for (const [lane, until] of left) if (until <= now) left.delete(lane)
    return lanes.filter((lane) => !left.has(lane))
  }

  const takeOne = async (lane: Lane, slot: Slot): Promise<void> => {
    try {
      const lease = await source.take(lane)
      if (typeof lease === 'object') {
        const before = maybe.get(lane) ?? 1
        maybe.set(lane, before === 1 && !runs.has(lane) ? 0 : Math.min(before * 2, WIDEST))
        runs.add(lane)
        if (readLane(lane).class === 'batch') servedAt.set(lane, performance.now())
        return options.run(lease, slot)
      }
      slot.release()
      if (lease === 'empty') {
        maybe.delete(lane)
        runs.delete(lane)
      }
    } catch (error) {
      slot.release()
      onError(error)
      await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_ERROR_MS))
    }
  }

  const stateOf = (view: LaneView): LaneState & { lane: Lane } => {
    const { model, class: jobClass, ...required } = readLane(view.lane)
    const peerPreference = options.peerPreference(model, required)
    const unservedMs = performance.now() - (servedAt.get(view.lane) ?? -Infinity)
    return { ...view, model, class: jobClass, unservedMs, loaded: slots.isLoaded(model, required), ...(peerPreference !== undefined && { peerPreference }) }
  }

  /** A model that finds no room because others are in use, one job after the other, would never find any: beyond the bounds an engine is kept for it. */
  const makeWay = (blocked: readonly LaneView[]) => {
    const view = { lanes: blocked.map(stateOf), preference: options.preference, bounds: options.bounds }
    const choice = batchOverdue(view) ?? overdue(view)
    if (choice?.kind !== 'take') return
    const { lane, model } = choice.lane
    slots.keepFor(model, readLane(lane), KEEP_MS)
    maybe.set(lane, maybe.get(lane) || 1)
  }

  /** Several lanes have jobs: the policy shares the free slots out. */
  const plan = async (candidates: readonly Lane[]): Promise<[Lane, Slot][]> => {
    const planned: [Lane, Slot][] = []
    let states = (await source.view(candidates)).flatMap((view): (LaneState & { lane: Lane })[] => {
      if (view.waiting === 0) {
        maybe.delete(view.lane)
        return []
      }
      return [stateOf(view)]
    })
    while (states.length > 0 && planned.length < WIDEST) {
      const choice = schedule({ lanes: states, preference: options.preference, bounds: options.bounds })
      if (choice?.kind === 'leave') {
        for (const { lane, forMs } of choice.lanes) await leave(lane.lane, forMs)
        break
      }
      if (!choice) break
      const { lane } = choice
      const slot = slots.acquire(lane.model, readLane(lane.lane), lane.class)
      if (slot) planned.push([lane.lane, slot])
      states = states.flatMap((state) => {
        if (state !== lane) return [state]
        return slot && state.waiting > 1 ? [{ ...state, waiting: state.waiting - 1, unservedMs: 0 }] : []
      })
    }
    return planned
  }

  const leave = async (lane: Lane, forMs: number) => {
    maybe.delete(lane)
    left.set(lane, performance.now() + forMs)
    setTimeout(() => {
      left.delete(lane)
      maybe.set(lane, 1)
      source.wake()
    }, forMs).unref()
    await source.pass(lane)
  }

  /** How many wait in a lane. */
  const depth = async (lane: Lane): Promise<number> => (await source.view([lane]).catch((error: unknown) => (onError(error), [])))[0]?.waiting ?? 0

  /**
   * A job was heard of for which a batch attempt would have to make room. Its marker is passed on, but not that of a lane in which nothing
   * waits any more, which nobody would ever swallow.
   */
  const hearYielding = async (lane: Lane) => {
    if ((await depth(lane)) === 0) return
    // Should a slot become free here meanwhile, it is for this lane.
    maybe.set(lane, 1)
    passed.add(lane)
    setTimeout(() => {
      passed.delete(lane)
      ripe.add(lane)
      source.wake()
    }, options.bounds.preempt).unref()
    await source.pass(lane)
  }

  /** Nobody with a free slot has taken what waits in this lane. */
  const takeYielding = async (lane: Lane) => {
    const { model, ...required } = readLane(lane)
    if (slots.isFree(model, required)) return void maybe.set(lane, 1)
    const planned: Slot[] = []
    for (let left = Math.min(await depth(lane), WIDEST); left > 0; left -= 1) {
      const slot = slots.acquireYielding(model, required)
      if (!slot) break
      planned.push(slot)
    }
    if (stopped()) for (const slot of planned) slot.release()
    else await Promise.all(planned.map((slot) => takeOne(lane, slot)))
  }

  /** Others are to hear of the lanes in which this loop knows of jobs. */
  const handOn = async () => {
    const known = [...maybe].flatMap(([lane, count]) => (count > 0 ? [lane] : []))
    maybe.clear()
    await Promise.all(known.map((lane) => source.pass(lane).catch(onError)))
  }
  const stopped = () => draining.aborted || paused()

  while (!draining.aborted) {
    if (paused()) {
      await handOn()
      // Only the node's own wake key.
      awaited = new Set()
      await source.wait([])
      awaited = undefined
      unsure = true
      continue
    }
    if (ripe.size > 0) {
      const lanes = [...ripe]
      ripe.clear()
      for (const lane of lanes) await takeYielding(lane)
      continue
    }
    const lanes = open()
    const yielding = slots.yieldingLanes().filter((lane) => !lanes.includes(lane))
    if (unsure || performance.now() - lookedAt > LOOK_MS) {
      unsure = false
      lookedAt = performance.now()
      const blocked = slots.blockedLanes()
      const views = await source.view([...new Set([...lanes, ...yielding, ...blocked])]).catch(() => [])
      makeWay(views.filter(({ lane, waiting }) => waiting > 0 && blocked.includes(lane)))
      for (const view of views) {
        if (view.waiting === 0) continue
        if (lanes.includes(view.lane)) maybe.set(view.lane, maybe.get(view.lane) || 1)
        else if (yielding.includes(view.lane) && view.headAge > options.bounds.preempt) ripe.add(view.lane)
      }
      continue
    }
    const candidates = lanes.filter((lane) => maybe.get(lane))
    if (candidates.length === 0) {
      const all = [...lanes, ...yielding].filter((lane) => !passed.has(lane))
      awaited = new Set(all)
      const heard = await source.wait(all)
      awaited = undefined
      if (heard === 'unsure') unsure = true
      else if (heard !== 'woken') {
        const { model, class: jobClass, ...required } = readLane(heard)
        const isFree = slots.isFree(model, required, undefined, jobClass)
        if (!isFree && !stopped() && yielding.includes(heard)) await hearYielding(heard)
        else {
          maybe.set(heard, 1)
          if (!stopped() && !isFree) await source.pass(heard)
        }
      }
      continue
    }
    const [only] = candidates
    const facts = candidates.length === 1 && only ? readLane(only) : undefined
    const direct = only && facts?.class === 'interactive' && options.peerPreference(facts.model, facts) === undefined
    // While there is batch work nothing is waited for, and so nothing heard: what else there is for its slots is looked up each time.
    const hasBatch = candidates.some((lane) => readLane(lane).class === 'batch')
    const planned: [Lane, Slot][] = direct ? [] : await plan(hasBatch ? lanes : candidates).catch((error: unknown) => (onError(error), []))
    if (direct)
      for (let i = maybe.get(only) ?? 1; i > 0; i -= 1) {
        const slot = slots.acquire(facts.model, facts, facts.class)
        if (!slot) break
        planned.push([only, slot])
      }
    // Who says that the node is drained, and that nothing runs on it, may have said so while this was being planned.
    if (stopped()) for (const [, slot] of planned) slot.release()
    else await Promise.all(planned.map(([lane, slot]) => takeOne(lane, slot)))
  }
  await handOn()
  draining.removeEventListener('abort', wake)
}

import { readLane, type Lane, type LaneView, type Lease } from '@drover/broker'
import { schedule, type LaneState, type ModelName } from '@drover/core'
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
  /** Best preference among the other nodes with a free slot for the model. */
  peerPreference(model: ModelName): number | undefined
  preference: number
  bounds: { wait: number; leave: number }
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

/**
 * Slot before lease, for as long as the worker lives: wait while nothing is known to wait, choose a lane, take slots, take leases.
 * A marker wakes one worker only, so whatever this loop hears and cannot use it passes on, what it heard before a pause or its end, too.
 */
export async function pullLoop(options: PullLoop): Promise<void> {
  const { source, slots, paused, draining, onError } = options
  /** Lanes that may have jobs, with the number of leases to ask for next; 0: one was taken, and its marker is still to be heard. */
  const maybe = new Map<Lane, number>()
  /** Lanes whose last take was a success. */
  const runs = new Set<Lane>()
  /** Lanes left to better nodes, until when. */
  const left = new Map<Lane, number>()
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

  /** Several lanes have jobs: the policy shares the free slots out. */
  const plan = async (candidates: readonly Lane[]): Promise<[Lane, Slot][]> => {
    const planned: [Lane, Slot][] = []
    let states = (await source.view(candidates)).flatMap((view): (LaneState & { lane: Lane })[] => {
      if (view.waiting === 0) {
        maybe.delete(view.lane)
        return []
      }
      const { model, class: jobClass } = readLane(view.lane)
      const peerPreference = options.peerPreference(model)
      return [{ ...view, model, class: jobClass, loaded: slots.isLoaded(model), ...(peerPreference !== undefined && { peerPreference }) }]
    })
    while (states.length > 0 && planned.length < WIDEST) {
      const choice = schedule({ lanes: states, preference: options.preference, bounds: options.bounds })
      if (choice?.kind === 'leave') {
        for (const { lane, forMs } of choice.lanes) await leave(lane.lane, forMs)
        break
      }
      if (!choice) break
      const { lane } = choice
      const slot = slots.acquire(lane.model, readLane(lane.lane).engine)
      if (slot) planned.push([lane.lane, slot])
      states = states.flatMap((state) => {
        if (state !== lane) return [state]
        return slot && state.waiting > 1 ? [{ ...state, waiting: state.waiting - 1 }] : []
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
    const lanes = open()
    if (unsure || performance.now() - lookedAt > LOOK_MS) {
      unsure = false
      lookedAt = performance.now()
      for (const view of await source.view(lanes).catch(() => [])) if (view.waiting > 0 && !maybe.get(view.lane)) maybe.set(view.lane, 1)
      continue
    }
    const candidates = lanes.filter((lane) => maybe.get(lane))
    if (candidates.length === 0) {
      awaited = new Set(lanes)
      const heard = await source.wait(lanes)
      awaited = undefined
      if (heard === 'unsure') unsure = true
      else if (heard !== 'woken') {
        maybe.set(heard, 1)
        const { model, engine } = readLane(heard)
        if (!stopped() && !slots.isFree(model, engine)) await source.pass(heard)
      }
      continue
    }
    const [only] = candidates
    const facts = candidates.length === 1 && only ? readLane(only) : undefined
    const direct = only && facts && options.peerPreference(facts.model) === undefined
    const planned: [Lane, Slot][] = direct ? [] : await plan(candidates).catch((error: unknown) => (onError(error), []))
    if (direct)
      for (let i = maybe.get(only) ?? 1; i > 0; i -= 1) {
        const slot = slots.acquire(facts.model, facts.engine)
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

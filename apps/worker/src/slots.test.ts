import { laneOf } from '@drover/broker'
import type { HeldModel, ModelName } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Slots, type QuarantineEvent, type Slot } from './slots.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const M = 'm:latest' as ModelName
const N = 'n:latest' as ModelName
const held = (model: ModelName): HeldModel => ({ model, engineName: model, digest: '', size: 1, modifiedAt: '' })
const engine = (id: string) => ({ id, kind: 'ollama', url: '', speaks: [] }) as unknown as Engine
const view: EngineView = { held: [held(M), held(N)], loaded: [], slotsPerModel: 4, maxLoaded: 2 }

const setUp = (ids = ['a']) => {
  const told: Pick<QuarantineEvent, 'ended' | 'model' | 'forMs' | 'failures'>[] = []
  const slots = new Slots(({ engine: _engine, ...event }) => void told.push(event))
  const engines = ids.map(engine)
  for (const each of engines) slots.update(each, view)
  let freed = 0
  slots.onFreed(() => (freed += 1))
  const take = (model = M): Slot => {
    const slot = slots.acquire(model)
    if (!slot) throw new Error('no slot is free')
    return slot
  }
  /** One job after the other, each for the first time unless it says otherwise. */
  const fail = (times: number, failure: Partial<Parameters<Slot['failed']>[0]> = {}, model = M) => {
    for (let i = 0; i < times; i += 1) {
      const slot = take(model)
      vi.advanceTimersByTime(1)
      slot.failed({ unreachable: false, first: true, shared: true, ...failure })
      slot.release()
    }
  }
  return { slots, engine: engines[0]!, take, fail, told, freed: () => freed }
}

test('an engine that fails at three jobs in a row gets none for a back-off that doubles up to 15 s, with one job let through after each', () => {
  const { slots, engine, take, fail, told, freed } = setUp()
  fail(2)
  expect(slots.isFree(M)).toBe(true)
  fail(1)
  expect(told).toEqual([{ ended: false, model: M, forMs: 500, failures: 3 }])
  expect(slots.isFree(N), 'another model on it is not meant').toBe(true)
  for (const ms of [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    expect(slots.isFree(M)).toBe(false)
    expect(slots.freeLanes().some((lane) => lane.includes('m%3Alatest'))).toBe(false)
    vi.advanceTimersByTime(ms - 1)
    expect([ms, slots.isFree(M)]).toEqual([ms, false])
    const before = freed()
    vi.advanceTimersByTime(10)
    expect(freed(), 'the loop is told').toBeGreaterThan(before)
    const probe = take()
    expect(slots.isFree(M), 'one at a time').toBe(false)
    probe.failed({ unreachable: false, first: true, shared: true })
    probe.release()
  }
  expect(slots.quarantined(engine)).toEqual([{ model: M, forMs: 15_000, failures: 10 }])
  vi.advanceTimersByTime(15_000)
  const probe = take()
  probe.worked()
  probe.release()
  expect(slots.isFree(M)).toBe(true)
  expect(slots.quarantined(engine)).toEqual([])
  expect(told.map(({ ended }) => ended), 'told once each').toEqual([false, true])
  fail(2)
  expect(slots.isFree(M), 'counted from the beginning').toBe(true)
})

test('attempts that ran side by side and fail together are one failure', () => {
  const { slots, take, fail } = setUp()
  const together = [take(), take(), take(), take()]
  for (const slot of together) {
    vi.advanceTimersByTime(1)
    slot.failed({ unreachable: false, first: true, shared: true })
    slot.release()
  }
  expect(slots.isFree(M)).toBe(true)
  fail(1)
  expect(slots.isFree(M)).toBe(true)
  fail(1)
  expect(slots.isFree(M)).toBe(false)
})

test('an answer in between, and what fails a second time, keep an engine out of quarantine', () => {
  const { slots, take, fail } = setUp()
  fail(2)
  const good = take()
  good.worked()
  good.release()
  fail(2)
  fail(5, { first: false })
  expect(slots.isFree(M)).toBe(true)
})

test('a job let through that says nothing makes room for the next, and so does one that failed before and can go nowhere else', () => {
  const { slots, take, fail, told } = setUp()
  fail(3)
  vi.advanceTimersByTime(500)
  take().release()
  expect(slots.isFree(M)).toBe(true)
  fail(1, { first: false, shared: false })
  expect(slots.isFree(M)).toBe(true)
  fail(1, { first: false, shared: true })
  expect(slots.isFree(M)).toBe(false)
  expect(told).toHaveLength(1)
})

test('an engine that cannot be reached takes nothing until a look succeeds, and falls into quarantine with all its models when that keeps happening', () => {
  const { slots, engine, take, fail, told } = setUp()
  for (let i = 1; i <= 3; i += 1) {
    slots.lost(engine)
    expect(slots.freeLanes()).toEqual([])
    slots.update(engine, undefined)
    slots.update(engine, view)
    expect(slots.isFree(M)).toBe(true)
    fail(1, { unreachable: true })
  }
  expect(told).toEqual([{ ended: false, forMs: 500, failures: 3 }])
  expect(slots.freeLanes()).toEqual([])
  slots.update(engine, view)
  expect(slots.isFree(N), 'a look alone does not end it').toBe(false)
  vi.advanceTimersByTime(500)
  const probe = take(N)
  expect(slots.isFree(M)).toBe(false)
  probe.failed({ unreachable: false, first: true, shared: true })
  probe.release()
  expect(slots.isFree(M), 'an error is an answer').toBe(true)
})

test('a model is left to others, another engine of the node among them, until all that was given back is taken', () => {
  const { slots, engine, take, freed } = setUp(['a', 'b'])
  const [one, other] = [slots.leave(engine, M), slots.leave(engine, M)]
  expect(slots.isFree(N, undefined, undefined)).toBe(true)
  one()
  expect(slots.isFree(M, undefined, engine)).toBe(true)
  expect([take().engine.id, take().engine.id, take().engine.id]).toEqual(['b', 'b', 'b'])
  const before = freed()
  other()
  expect(freed()).toBe(before + 1)
  expect(take().engine.id).toBe('a')
})

test('an engine that fell over and is back gets one job at a time, until one completes or a while has passed', () => {
  const { slots, engine, take } = setUp()
  const fallOver = () => {
    slots.lost(engine)
    slots.update(engine, undefined)
    slots.update(engine, view)
  }
  fallOver()
  const first = take()
  expect([slots.isFree(M), slots.isFree(N)]).toEqual([false, false])
  first.worked()
  first.release()
  take()
  expect(slots.isFree(M)).toBe(true)
  fallOver()
  expect(slots.isFree(M)).toBe(false)
  vi.advanceTimersByTime(3_000)
  expect(slots.isFree(M)).toBe(true)
  slots.lost(engine)
  slots.update(engine, view)
  expect(slots.isFree(M), 'one whose connection alone was lost is trusted').toBe(true)
})

test('batch jobs hold no more than their part of an engine, and at least one slot of it', () => {
  const half = new Slots(undefined, { batchShare: 0.5 })
  half.update(engine('a'), view)
  const free = () => half.freeLanes().filter((lane) => lane.endsWith('~batch')).length
  expect(half.acquire(M, undefined, 'batch')).toBeDefined()
  const second = half.acquire(N, undefined, 'batch')
  expect([half.isFree(M, undefined, undefined, 'batch'), half.acquire(M, undefined, 'batch'), free(), half.isFree(M)]).toEqual([false, undefined, 0, true])
  second?.release()
  expect([half.isFree(M, undefined, undefined, 'batch'), free()]).toEqual([true, 2])
  const few = new Slots(undefined, { batchShare: 0.1 })
  few.update(engine('a'), view)
  expect([few.acquire(M, undefined, 'batch') !== undefined, few.acquire(M, undefined, 'batch')]).toEqual([true, undefined])
  const none = new Slots(undefined, { batchShare: 0 })
  none.update(engine('a'), view)
  expect([none.acquire(M, undefined, 'batch'), none.freeLanes().filter((lane) => lane.includes('~batch'))]).toEqual([undefined, []])
})

const loaded = (model: ModelName) => [{ model, size: 1, sizeVram: 0 }]

test('a model counts as loaded from the first job on, and one that had to go for it no longer', () => {
  const slots = new Slots()
  const one = engine('a')
  slots.update(one, { ...view, maxLoaded: 1, loaded: loaded(N) })
  expect([slots.isLoaded(M), slots.isLoaded(N)]).toEqual([false, true])
  const slot = slots.acquire(M)
  expect([slots.isLoaded(M), slots.isLoaded(N)]).toEqual([true, false])
  slots.update(one, { ...view, maxLoaded: 1, loaded: [] })
  expect(slots.isLoaded(M), 'it is being loaded').toBe(true)
  slot?.release()
  slots.update(one, { ...view, maxLoaded: 1, loaded: loaded(N) })
  expect([slots.isLoaded(M), slots.isLoaded(N)], 'it was looked at since').toEqual([false, true])
})

test('a slot that batch attempts are to leave costs them nothing until it is claimed, and is free when they have gone', async () => {
  const { slots } = setUp()
  const told: number[] = []
  const running = Array.from({ length: 4 }, (_, i) => {
    const slot = slots.acquire(M, undefined, 'batch')!
    slot.mayYield(() => told.push(i))
    return slot
  })
  expect(slots.yieldingLanes()).toEqual(['m%3Alatest~interactive', 'm%3Alatest~interactive~~node'])
  expect([slots.isFree(M), slots.freeLanes().some((lane) => lane.startsWith('m'))]).toEqual([false, false])
  const unused = slots.acquireYielding(M)!
  unused.release()
  expect([told, slots.preempted, slots.isFree(M)]).toEqual([[], 0, false])
  const slot = slots.acquireYielding(M)!
  let ready = false
  const claim = slot.claim!().then(() => (ready = true))
  expect([told, slots.preempted]).toEqual([[3], 1])
  await Promise.resolve()
  expect(ready).toBe(false)
  running[3]?.release()
  await claim
  expect([ready, slots.isFree(M)]).toEqual([true, false])
  slot.release()
  expect(slots.isFree(M)).toBe(true)
  const off = new Slots(undefined, { preempt: false })
  off.update(engine('a'), view)
  for (let i = 0; i < 4; i += 1) off.acquire(M, undefined, 'batch')?.mayYield(() => undefined)
  expect([off.yieldingLanes(), off.acquireYielding(M)]).toEqual([[], undefined])
})

test('a model that finds no room because of another is made room for: nothing else begins until it has', () => {
  const slots = new Slots()
  slots.update(engine('a'), { ...view, maxLoaded: 1 })
  const running = [slots.acquire(M)!, slots.acquire(M)!]
  expect(slots.blockedLanes().filter((lane) => !lane.endsWith('~node'))).toEqual(['n%3Alatest~interactive', 'n%3Alatest~batch'])
  expect(slots.isFree(M)).toBe(true)
  slots.keepFor(N, {}, 3_000)
  expect([slots.isFree(M), slots.isFree(N)]).toEqual([false, false])
  running[0]?.release()
  expect([slots.isFree(M), slots.isFree(N)]).toEqual([false, false])
  running[1]?.release()
  expect([slots.isFree(M), slots.isFree(N)]).toEqual([false, true])
  const job = slots.acquire(N)!
  expect(slots.blockedLanes().filter((lane) => !lane.endsWith('~node'))).toEqual(['m%3Alatest~interactive', 'm%3Alatest~batch'])
  slots.keepFor(M, {}, 3_000)
  vi.advanceTimersByTime(3_001)
  expect(slots.isFree(N), 'nobody has said it again').toBe(true)
  job.release()
  expect([slots.isFree(M), slots.isFree(N), slots.blockedLanes()]).toEqual([true, true, []])
})

/** How many slots batch jobs take of an engine with so many, and how many are left to interactive ones. */
const sharedOut = (slotsPerModel: number): { batch: number; interactive: number } => {
  const slots = new Slots(undefined, { batchSpare: 1 / 16 })
  slots.update(engine('a'), { held: [held(M)], loaded: [], slotsPerModel, maxLoaded: 1 })
  const take = (jobClass: 'batch' | 'interactive') => {
    let count = 0
    while (slots.acquire(M, undefined, jobClass)) count += 1
    return count
  }
  return { batch: take('batch'), interactive: take('interactive') }
}

test('batch jobs leave a part of many slots free for interactive ones, and nothing of a few', () => {
  expect([1, 15, 16, 40].map(sharedOut)).toEqual([
    { batch: 1, interactive: 0 }, { batch: 15, interactive: 0 }, { batch: 15, interactive: 1 }, { batch: 38, interactive: 2 },
  ])
})

const lanesOf = (...engines: [facts: Partial<Engine>, onlyAsked?: boolean][]) => {
  const slots = new Slots()
  for (const [i, [facts, onlyAsked = false]] of engines.entries())
    slots.update({ ...engine(`e${i}`), ...facts } as Engine, { held: [{ ...held(M), ...(onlyAsked && { onlyAsked }) }], loaded: [], slotsPerModel: 1, maxLoaded: 1 })
  return { slots, lanes: slots.freeLanes().filter((lane) => lane.includes('~interactive')).map((lane) => lane.replace('m%3Alatest~interactive', 'm')).toSorted() }
}

test('an engine serves the lanes of its kind and of its layout, and those that ask for neither unless it is only for jobs that ask', () => {
  const cluster = { kind: 'llama-server', layout: 'cluster' } as const
  expect(lanesOf([{}]).lanes).toEqual(['m', 'm~~node'])
  expect(lanesOf([{}, true]).lanes).toEqual(['m~~node'])
  expect(lanesOf([{ kind: 'llama-server' }]).lanes).toEqual(['m', 'm~llama-server', 'm~llama-server~node', 'm~~node'])
  expect(lanesOf([cluster]).lanes).toEqual(['m', 'm~llama-server', 'm~llama-server~cluster', 'm~~cluster'])
  expect(lanesOf([cluster, true]).lanes).toEqual(['m~llama-server~cluster', 'm~~cluster'])
  expect(lanesOf([{}], [cluster, true]).lanes).toEqual(['m', 'm~llama-server~cluster', 'm~~cluster', 'm~~node'])
})

test('a slot is taken on an engine that is required, and on no other', () => {
  const { slots } = lanesOf([{ kind: 'llama-server' }, true], [{ kind: 'llama-server', layout: 'cluster' }])
  expect([slots.isFree(M), slots.isFree(M, { layout: 'node' }), slots.isFree(M, { engine: 'ollama' }), slots.isFree(M, { engine: 'ollama', layout: 'node' })]).toEqual([true, true, false, false])
  const plain = slots.acquire(M)
  expect(plain?.engine.layout).toBe('cluster')
  expect([slots.acquire(M), slots.acquire(M, { layout: 'cluster' }), slots.isLoaded(M, { layout: 'node' }), slots.isLoaded(M)]).toEqual([undefined, undefined, false, true])
  expect(slots.acquire(M, { layout: 'node' })?.engine.layout).toBeUndefined()
  plain?.release()
  expect(slots.freeLanes().every((lane) => !lane.endsWith('~node'))).toBe(true)
})

test('what an engine holds only for jobs that ask, and then for all, and the other way round, changes its lanes at the next look', () => {
  const slots = new Slots()
  const one = engine('a')
  const look = (onlyAsked: boolean) => {
    slots.update(one, { held: [{ ...held(M), onlyAsked }], loaded: [], slotsPerModel: 1, maxLoaded: 1 })
    return slots.freeLanes().includes(laneOf(M, 'interactive'))
  }
  expect([look(false), look(true), look(false)]).toEqual([true, false, true])
})

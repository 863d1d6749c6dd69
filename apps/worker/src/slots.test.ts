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

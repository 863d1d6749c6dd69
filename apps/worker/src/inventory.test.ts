import type { ModelName } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { inventory } from './inventory.ts'
import { Slots } from './slots.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const view: EngineView = { held: [], loaded: [], slotsPerModel: 1, maxLoaded: 1 }
const well = (): Promise<EngineView> => Promise.resolve(view)
const gone = (): Promise<EngineView> => Promise.reject(new Error('gone'))

const setUp = async () => {
  const looks: number[] = []
  const began = performance.now()
  let answer = well
  const engine = { id: 'a', look: () => (looks.push(performance.now() - began), answer()) } as unknown as Engine
  const changes: boolean[] = []
  const stock = inventory({ slots: new Slots(), onChange: (_engine, seen) => void changes.push(seen !== undefined) })
  await stock.add(engine)
  /** Times of the looks since it was asked last, ms since the beginning. */
  const since = () => looks.splice(0)
  since()
  return { engine, stock, changes, since, answers: (next: typeof answer) => (answer = next) }
}

test('an engine that has gone is looked at every half second at first, and then as seldom as before', async () => {
  const { stock, changes, since, answers } = await setUp()
  await vi.advanceTimersByTimeAsync(4_000)
  expect(since()).toEqual([2_000, 4_000])
  answers(gone)
  await vi.advanceTimersByTimeAsync(3_500)
  expect(since()).toEqual([6_000, 6_500, 7_000, 7_500])
  await vi.advanceTimersByTimeAsync(12_500)
  expect(since().slice(-3)).toEqual([16_000, 18_000, 20_000])
  answers(well)
  await vi.advanceTimersByTimeAsync(4_000)
  expect(since()).toEqual([22_000, 24_000])
  expect(changes).toEqual([true, false, true])
  stock.stop()
})

test('a look that is wanted now comes now, and one that was under way counts for nothing', async () => {
  const { engine, stock, changes, since, answers } = await setUp()
  await vi.advanceTimersByTimeAsync(100)
  stock.lookNow(engine)
  await vi.advanceTimersByTimeAsync(0)
  expect(since()).toEqual([100])
  const slow = Promise.withResolvers<EngineView>()
  answers(() => slow.promise)
  stock.lookNow(engine)
  await vi.advanceTimersByTimeAsync(50)
  answers(gone)
  stock.lookNow(engine)
  slow.resolve(view)
  await vi.advanceTimersByTimeAsync(0)
  expect(since()).toEqual([100, 150])
  expect(changes).toEqual([true, false])
  stock.stop()
})

const holding = (onlyAsked?: boolean) => () => Promise.resolve({ ...view, held: [{ model: 'm:latest' as ModelName, engineName: 'm', digest: '', size: 1, modifiedAt: '', ...(onlyAsked && { onlyAsked }) }] })

test('that a model is only for jobs that ask, or no longer, is a change', async () => {
  const { stock, changes, answers } = await setUp()
  for (const next of [holding(), holding(true), holding(true), holding()]) {
    answers(next)
    await vi.advanceTimersByTimeAsync(2_000)
  }
  expect(changes).toEqual([true, true, true, true])
  stock.stop()
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ModelName } from '../job.ts'
import { schedule } from './rules.ts'
import type { LaneState, NodeView } from './view.ts'

const lane = (model: string, state: Partial<LaneState> = {}): LaneState => ({
  model: model as ModelName,
  class: 'interactive',
  waiting: 1,
  headAge: 100,
  loaded: false,
  ...state,
})
const view = (lanes: LaneState[], preference = 0): NodeView => ({ lanes, preference, bounds: { wait: 10_000, batchWait: 300_000, leave: 200 } })

test.each([
  ['the oldest job goes first among equals', [lane('a', { headAge: 5 }), lane('b', { headAge: 9 })], 'b', 'interactive'],
  ['a loaded model goes before an older job that needs a swap', [lane('a', { headAge: 900 }), lane('b', { loaded: true, headAge: 1 })], 'b', 'loaded'],
  ['a job beyond the bound goes before a loaded model', [lane('a', { headAge: 10_001 }), lane('b', { loaded: true })], 'a', 'overdue'],
  ['interactive work goes before a loaded batch', [lane('a', { class: 'batch', loaded: true }), lane('b')], 'b', 'interactive'],
  ['a batch waits longer than that', [lane('a', { class: 'batch', headAge: 20_000 }), lane('b')], 'b', 'interactive'],
  ['a batch that has had nothing for long goes before interactive work', [lane('a', { class: 'batch', headAge: 300_001 }), lane('b', { headAge: 20_000 })], 'a', 'overdue'],
  ['however old its jobs are, it has had its turn when one was taken a while ago', [lane('a', { class: 'batch', headAge: 900_000, unservedMs: 60_000 }), lane('b')], 'b', 'interactive'],
  ['the batch of a loaded model goes on before older ones', [lane('a', { class: 'batch', headAge: 200_000 }), lane('b', { class: 'batch', headAge: 5, loaded: true })], 'b', 'loaded'],
  ['until another has had nothing for long', [lane('a', { class: 'batch', headAge: 400_000 }), lane('b', { class: 'batch', headAge: 500_000, unservedMs: 5, loaded: true })], 'a', 'overdue'],
  ['a batch runs when nothing else waits', [lane('a', { class: 'batch' })], 'a', 'oldest'],
])('%s', (_name, lanes, model, reason) => {
  expect(schedule(view(lanes))).toMatchObject({ kind: 'take', lane: { model }, reason })
})

test('a lane is left to a preferred node that has a free slot, for a bounded time', () => {
  const waiting = lane('a', { peerPreference: 1, headAge: 50 })
  expect(schedule(view([waiting]))).toMatchObject({ kind: 'leave', lanes: [{ forMs: 150 }] })
  expect(schedule(view([{ ...waiting, headAge: 200 }]))).toMatchObject({ kind: 'take' })
  expect(schedule(view([waiting], 1))).toMatchObject({ kind: 'take' })
})

test('nothing waits, nothing is chosen', () => {
  expect(schedule(view([]))).toBeUndefined()
})

test('whatever waits, something is taken, and never another while a job is beyond the bound', () => {
  const state = fc.record({
    model: fc.constantFrom('a', 'b', 'c').map((name) => name as ModelName),
    class: fc.constantFrom('interactive' as const, 'batch' as const),
    waiting: fc.nat(9).map((n) => n + 1),
    headAge: fc.oneof(fc.nat(20_000), fc.nat(400_000)),
    unservedMs: fc.nat(400_000),
    loaded: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(state, { minLength: 1, maxLength: 8 }), (lanes) => {
      const choice = schedule(view(lanes))
      expect(choice?.kind).toBe('take')
      if (choice?.kind !== 'take') return
      const late = (jobClass: string, bound: number) => lanes.filter((each) => each.class === jobClass && (jobClass === 'batch' ? Math.min(each.headAge, each.unservedMs ?? 0) : each.headAge) > bound)
      const first = [late('batch', 300_000), late('interactive', 10_000)].find((each) => each.length > 0) ?? []
      if (first.length > 0) expect(choice.lane.headAge).toBe(Math.max(...first.map(({ headAge }) => headAge)))
      else if (lanes.some((each) => each.class === 'interactive')) expect(choice.lane.class).toBe('interactive')
    }),
  )
})

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
const view = (lanes: LaneState[], preference = 0): NodeView => ({ lanes, preference, bounds: { wait: 10_000, leave: 200 } })

test.each([
  ['the oldest job goes first among equals', [lane('a', { headAge: 5 }), lane('b', { headAge: 9 })], 'b', 'interactive'],
  ['a loaded model goes before an older job that needs a swap', [lane('a', { headAge: 900 }), lane('b', { loaded: true, headAge: 1 })], 'b', 'loaded'],
  ['a job beyond the bound goes before a loaded model', [lane('a', { headAge: 10_001 }), lane('b', { loaded: true })], 'a', 'overdue'],
  ['interactive work goes before a loaded batch', [lane('a', { class: 'batch', loaded: true }), lane('b')], 'b', 'interactive'],
  ['an overdue batch goes before interactive work', [lane('a', { class: 'batch', headAge: 20_000 }), lane('b')], 'a', 'overdue'],
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
    headAge: fc.nat(20_000),
    loaded: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(state, { minLength: 1, maxLength: 8 }), (lanes) => {
      const choice = schedule(view(lanes))
      expect(choice?.kind).toBe('take')
      if (choice?.kind !== 'take') return
      const eldest = Math.max(...lanes.map(({ headAge }) => headAge))
      if (eldest > 10_000) expect(choice.lane.headAge).toBe(eldest)
    }),
  )
})

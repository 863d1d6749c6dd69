import { laneOf, type Lane, type LaneView, type Lease } from '@drover/broker'
import type { HeldModel, ModelName } from '@drover/core'
import type { Engine } from '@drover/engines'
import { expect, test } from 'vitest'
import { pullLoop, type LaneSource } from './pull-loop.ts'
import { Slots } from './slots.ts'

const model = 'm:latest' as ModelName
const other = 'n:latest' as ModelName
const lane = laneOf(model, 'interactive')
const held = (name: ModelName): HeldModel => ({ model: name, engineName: name, digest: '', size: 1, modifiedAt: '' })

const engine = { id: 'e', kind: 'ollama', url: '', speaks: [] } as unknown as Engine
const view = { held: [held(model), held(other)], loaded: [], slotsPerModel: 1, maxLoaded: 9 }

/** A loop over lanes that are said to have jobs, or not; each wait, view and take answers when the test says so. */
const loop = () => {
  const draining = new AbortController()
  const slots = new Slots()
  slots.update(engine, view)
  const state = { paused: false, waiting: new Set<Lane>(), passed: [] as Lane[], taken: 0, tookFrom: [] as Lane[], ran: 0 }
  const gates = { wait: [] as ((heard: Lane | 'woken' | 'unsure') => void)[], view: [] as (() => void)[], take: [] as ((lease: Lease | 'empty') => void)[] }
  const source: LaneSource = {
    take: (each) => {
      state.taken += 1
      state.tookFrom.push(each)
      return new Promise((resolve) => gates.take.push(resolve))
    },
    view: (lanes) =>
      new Promise((resolve) =>
        gates.view.push(() => resolve(lanes.map((each): LaneView => ({ lane: each, waiting: state.waiting.has(each) ? 1 : 0, headAge: 0, running: 0 })))),
      ),
    wait: () => new Promise((resolve) => gates.wait.push(resolve)),
    wake: () => gates.wait.shift()?.('woken'),
    pass: async (each) => void state.passed.push(each),
  }
  const over = pullLoop({
    source,
    slots,
    run: (_lease, slot) => {
      state.ran += 1
      slot.release()
    },
    peerPreference: () => undefined,
    preference: 0,
    bounds: { wait: 10_000, batchWait: 300_000, leave: 0, preempt: 15 },
    paused: () => state.paused,
    draining: draining.signal,
    onError: (error) => expect.unreachable(String(error)),
  })
  /** Lets the next call of this sort answer, as soon as there is one. */
  const next = async <K extends keyof typeof gates>(kind: K): Promise<(typeof gates)[K][number]> => {
    await expect.poll(() => gates[kind].length, { interval: 1 }).toBeGreaterThan(0)
    return gates[kind].shift()!
  }
  return { draining, slots, state, next, over }
}

test('a wake-up that comes with the end of the worker is passed on', async () => {
  const { draining, state, next, over } = loop()
  ;(await next('view'))()
  const hear = await next('wait')
  hear(lane)
  draining.abort()
  await over
  expect(state).toMatchObject({ passed: [lane], taken: 0 })
})

test('a pause that begins while slots are shared out takes nothing, leaves no slot taken, and passes on what was known', async () => {
  const { draining, slots, state, next, over } = loop()
  const second = laneOf(other, 'interactive')
  state.waiting = new Set([lane, second])
  ;(await next('view'))()
  const plan = await next('view')
  state.paused = true
  plan()
  const wake = await next('wait')
  expect(state).toMatchObject({ passed: [lane, second], taken: 0 })
  expect([slots.isFree(model), slots.isFree(other)]).toEqual([true, true])
  draining.abort()
  wake('woken')
  await over
})

test('a lease that is granted in the moment of a pause is run, and after the pause all lanes are looked at', async () => {
  const { draining, state, next, over } = loop()
  state.waiting = new Set([lane])
  ;(await next('view'))()
  const take = await next('take')
  state.paused = true
  take({} as Lease)
  const wake = await next('wait')
  expect(state).toMatchObject({ taken: 1, ran: 1 })
  state.paused = false
  wake('woken')
  ;(await next('view'))()
  ;(await next('take'))('empty')
  expect(state.taken).toBe(2)
  const last = await next('wait')
  draining.abort()
  last('woken')
  await over
})

test('however much is heard of other lanes, a job of which no marker tells is found', async () => {
  const draining = new AbortController()
  const slots = new Slots()
  slots.update(engine, view)
  const silent = laneOf(other, 'interactive')
  const taken = new Set<Lane>()
  const source: LaneSource = {
    take: async (each) => {
      taken.add(each)
      return 'empty'
    },
    view: async (lanes) => lanes.map((each) => ({ lane: each, waiting: each === silent && performance.now() > appears ? 1 : 0, headAge: 0, running: 0 })),
    // The other lane is heard of all the time.
    wait: () => new Promise((resolve) => setTimeout(resolve, 5, lane)),
    wake: () => undefined,
    pass: async () => undefined,
  }
  const appears = performance.now() + 50
  const bounds = { wait: 10_000, batchWait: 300_000, leave: 0, preempt: 15 }
  const over = pullLoop({ source, slots, run: () => undefined, peerPreference: () => undefined, preference: 0, bounds, paused: () => false, draining: draining.signal, onError: (error) => expect.unreachable(String(error)) })
  await expect.poll(() => taken.has(silent), { timeout: 5_000 }).toBe(true)
  expect(taken.has(lane)).toBe(true)
  draining.abort()
  await over
})

const batchLane = laneOf(model, 'batch')

/** The only slot is held by a batch attempt that makes room when it is told. */
const occupied = () => {
  const site = loop()
  const slot = site.slots.acquire(model, undefined, 'batch')!
  const told = Promise.withResolvers<void>()
  slot.mayYield(() => told.resolve())
  return { ...site, slot, told: told.promise }
}

test('where batch work could make room, an interactive job that is heard of is passed on first, and taken only if nobody else has come', async () => {
  const { draining, state, next, over, slot, told } = occupied()
  ;(await next('view'))()
  const hear = await next('wait')
  state.waiting = new Set([lane])
  hear(lane)
  ;(await next('view'))()
  await expect.poll(() => state.passed).toEqual([lane])
  expect(state.taken).toBe(0)
  ;(await next('view'))()
  const take = await next('take')
  let ready = false
  void told.then(() => (ready = true))
  await Promise.resolve()
  expect([state.ran, ready]).toEqual([0, false])
  take('empty')
  const last = await next('wait')
  expect([state.ran, ready], 'another node was quicker').toEqual([0, false])
  slot.release()
  draining.abort()
  last('woken')
  await over
})

test('a marker of a lane in which nothing waits any more is not passed on for ever', async () => {
  const { draining, state, next, over } = occupied()
  ;(await next('view'))()
  ;(await next('wait'))(lane)
  ;(await next('view'))()
  const last = await next('wait')
  expect(state).toMatchObject({ passed: [], taken: 0 })
  draining.abort()
  last('woken')
  await over
})

test('a slot that becomes free while the job is passed on is for it, and not for batch work', async () => {
  const { draining, state, next, over, slot } = occupied()
  ;(await next('view'))()
  const hear = await next('wait')
  state.waiting = new Set([lane, batchLane])
  hear(lane)
  ;(await next('view'))()
  await expect.poll(() => state.passed).toEqual([lane])
  slot.release()
  // Whether by the slot or by the time that has passed: it is the interactive lane that is taken from.
  const drained = setInterval(() => void next('view').then((answer) => answer()), 5)
  ;(await next('take'))({} as Lease)
  clearInterval(drained)
  expect(state.tookFrom).toEqual([lane])
  state.waiting.clear()
  draining.abort()
  const rest = setInterval(() => void next('wait').then((answer) => answer('woken')), 5)
  await over
  clearInterval(rest)
})

test('before a batch job is taken it is looked whether somebody waits, heard of or not', async () => {
  const { draining, state, next, over } = loop()
  state.waiting = new Set([batchLane])
  ;(await next('view'))()
  state.waiting = new Set([batchLane, lane])
  ;(await next('view'))()
  ;(await next('take'))('empty')
  expect(state.tookFrom).toEqual([lane])
  draining.abort()
  const rest = setInterval(() => {
    void next('wait').then((answer) => answer('woken'))
    void next('view').then((answer) => answer())
    void next('take').then((answer) => answer('empty'))
  }, 5)
  await over
  clearInterval(rest)
})

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
  const state = { paused: false, waiting: new Set<Lane>(), passed: [] as Lane[], taken: 0, ran: 0 }
  const gates = { wait: [] as ((heard: Lane | 'woken' | 'unsure') => void)[], view: [] as (() => void)[], take: [] as ((lease: Lease | 'empty') => void)[] }
  const source: LaneSource = {
    take: () => {
      state.taken += 1
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
    bounds: { wait: 10_000, leave: 0 },
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
  const bounds = { wait: 10_000, leave: 0 }
  const over = pullLoop({ source, slots, run: () => undefined, peerPreference: () => undefined, preference: 0, bounds, paused: () => false, draining: draining.signal, onError: (error) => expect.unreachable(String(error)) })
  await expect.poll(() => taken.has(silent), { timeout: 5_000 }).toBe(true)
  expect(taken.has(lane)).toBe(true)
  draining.abort()
  await over
})

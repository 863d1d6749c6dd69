import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ModelName } from '../job.ts'
import { changesTo, type Change, type FleetNode } from './changes.ts'
import { DesiredState, NO_MEMORY, type DesiredMemory, type DesiredModel, type Place, type WrittenState } from './desired.ts'

const M = 'm:latest' as ModelName
const MODELS = [M, 'other:7b' as ModelName, 'third:latest' as ModelName]
const NAMES = ['n1', 'n2', 'n3', 'n4', 'n5']
const none: ReadonlySet<ModelName> = new Set<ModelName>()

const node = (name: string, facts: Partial<FleetNode> = {}): FleetNode => ({ node: name, state: 'there', labels: {}, preference: 0, startedAt: 1, free: 0, held: none, loaded: none, failing: none, takes: () => true, ...facts })
const holding = (name: string, facts: Partial<FleetNode> = {}) => node(name, { held: new Set([M]), ...facts })
const state = (written: WrittenState) => DesiredState.parse(written)
const short = ({ action, model, node: where }: Change) => `${action} ${model === M ? '' : `${model} `}${where}`

interface Case {
  wish: DesiredModel | null
  nodes: FleetNode[]
  memory?: Partial<DesiredMemory>
  prune?: boolean
  actions: string[]
  drift?: string[]
}

const on = (...names: string[]): Place[] => names.map((each) => ({ model: M, node: each }))
const all = new Set([M])

test.each<[string, Case]>([
  ['nobody is there', { wish: null, nodes: [], actions: [], drift: ['m:latest: 0 of 1 copies; no further node that could hold it is there'] }],
  ['the fittest get it', { wish: { replicas: 2 }, nodes: [node('n1'), node('n2', { free: 2 }), node('n3', { preference: 1 })], actions: ['pull n3', 'pull n2'], drift: ['m:latest: 0 of 2 copies'] }],
  ['who has begun goes on, whoever is fitter by now', { wish: {}, nodes: [node('n1'), node('n2', { free: 2 })], memory: { brought: on('n1') }, actions: ['pull n1'] }],
  ['who has failed is asked last', { wish: {}, nodes: [node('n1'), node('n2', { free: 2, failing: all })], memory: { brought: on('n2') }, actions: ['pull n1'] }],
  ['copies stay where they are', { wish: { replicas: 2 }, nodes: [holding('n1'), holding('n2'), node('n3', { preference: 9 })], prune: true, actions: [], drift: [] }],
  ['one that is away counts', { wish: { replicas: 2 }, nodes: [holding('n1'), holding('n2', { state: 'away' }), node('n3')], actions: [], drift: [] }],
  ['one that is drained counts, and is given none', { wish: { replicas: 3 }, nodes: [holding('n1', { state: 'drained' }), node('n2', { state: 'drained' })], actions: [], drift: ['m:latest: 1 of 3 copies; no further node that could hold it is there; n2 is drained'] }],
  ['one that is gone is replaced', { wish: { replicas: 2 }, nodes: [holding('n1'), node('n3')], memory: { seen: on('n1', 'n2') }, actions: ['pull n3'], drift: ['m:latest: 1 of 2 copies; n2 is gone'] }],
  ['a surplus stays', { wish: {}, nodes: [holding('n1'), holding('n2')], memory: { brought: on('n1', 'n2') }, actions: [], drift: [] }],
  ['a surplus that was brought goes, if that is wanted', { wish: {}, nodes: [holding('n1'), holding('n2'), holding('n3')], memory: { brought: on('n1', 'n3') }, prune: true, actions: ['delete n1', 'delete n3'], drift: ['m:latest: still on n1', 'm:latest: still on n3'] }],
  ['no surplus goes while a copy that counts is away', { wish: { replicas: 2 }, nodes: [holding('n1'), holding('n2', { state: 'away' }), holding('n3')], memory: { brought: on('n1', 'n3') }, prune: true, actions: [] }],
  ['named nodes have it, each of them', { wish: { nodes: ['n3', 'n1', 'n9'] }, nodes: [node('n1'), holding('n2'), node('n3', { takes: () => false })], actions: ['pull n1'], drift: ['m:latest: 0 of 3 copies; n9 is not there; n3 cannot hold it'] }],
  ['who is no longer named loses it when the others have it', { wish: { nodes: ['n1'] }, nodes: [node('n1'), holding('n2')], memory: { brought: on('n2') }, prune: true, actions: ['pull n1'] }],
  ['and then', { wish: { nodes: ['n1'] }, nodes: [holding('n1'), holding('n2')], memory: { brought: on('n2') }, prune: true, actions: ['delete n2'] }],
  ['only nodes with the labels', { wish: { labels: { gpu: 'yes' } }, nodes: [holding('n1'), node('n2', { labels: { gpu: 'yes', rack: '4' } })], actions: ['pull n2'] }],
  ['a copy is loaded', { wish: { preload: true, numCtx: 8192 }, nodes: [holding('n1')], actions: ['load n1'], drift: ['m:latest: not loaded on n1'] }],
  ['and stays loaded', { wish: { preload: true, numCtx: 8192 }, nodes: [holding('n1', { loaded: all })], memory: { loaded: [{ model: M, node: 'n1', startedAt: 1, numCtx: 8192 }] }, actions: [], drift: [] }],
  ['and is loaded anew when it is to be otherwise', { wish: { preload: true, keepAlive: '1h' }, nodes: [holding('n1', { loaded: all })], memory: { loaded: [{ model: M, node: 'n1', startedAt: 1, numCtx: 8192 }] }, actions: ['load n1'], drift: ['m:latest: not loaded on n1 as described'] }],
  ['a worker that has started anew is told again', { wish: { preload: true }, nodes: [holding('n1', { loaded: all, startedAt: 2 })], memory: { loaded: [{ model: M, node: 'n1', startedAt: 1 }] }, actions: ['load n1'] }],
  ['as many are loaded as are wanted', { wish: { preload: true }, nodes: [holding('n1'), holding('n2', { loaded: all })], memory: { loaded: [{ model: M, node: 'n2', startedAt: 1 }] }, actions: [], drift: [] }],
  ['what was loaded for it is let go', { wish: {}, nodes: [holding('n1', { loaded: all }), holding('n2', { loaded: all })], memory: { loaded: [{ model: M, node: 'n1', startedAt: 1 }] }, actions: ['unload n1'], drift: ['m:latest: still loaded on n1'] }],
])('%s', (_, { wish, nodes, memory, prune = false, actions, drift }) => {
  const input = { desired: state({ models: { m: wish }, prune }), nodes, memory: { ...NO_MEMORY, ...memory } }
  const changes = changesTo(input)
  expect(changes.actions.map(short)).toEqual(actions)
  if (drift) expect(changes.drift.map(({ text }) => text)).toEqual(drift)
  expect(new Set(changesTo({ ...input, nodes: nodes.toReversed() }).actions.map(short))).toEqual(new Set(actions))
})

test('models are spread over nodes by the memory that these have', () => {
  const models = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`m${i}`, {}]))
  const { actions } = changesTo({ desired: state({ models }), nodes: [node('n1', { free: 30 }), node('n2', { free: 21 }), node('n3', { free: 1 })], memory: NO_MEMORY })
  expect(actions.map((each) => each.node)).toEqual(['n1', 'n2', 'n1', 'n2', 'n1', 'n1'])
  expect(actions.map((each) => each.model)).toEqual(Object.keys(models).map((name) => `${name}:latest`))
})

test('what is no longer described stays, unless it was brought and is to go', () => {
  const input = { nodes: [holding('n1', { loaded: all }), holding('n2'), holding('n3', { state: 'drained' })], memory: { ...NO_MEMORY, brought: on('n1', 'n3'), loaded: [{ model: M, node: 'n1', startedAt: 1 }] } }
  expect(changesTo({ ...input, desired: state({}) }).actions.map(short)).toEqual(['unload n1'])
  expect(changesTo({ ...input, desired: state({ prune: true }) }).actions.map(short)).toEqual(['delete n1'])
})

const models = fc.subarray(MODELS).map((some) => new Set(some))
const label = fc.constantFrom<Record<string, string>>({}, { gpu: 'yes' })
const fleets = fc.subarray(NAMES).chain((names) =>
  fc.tuple(...names.map((name) => fc.record({ node: fc.constant(name), state: fc.constantFrom('there', 'there', 'there', 'drained', 'away'), labels: label, preference: fc.nat(2), startedAt: fc.constant(1), free: fc.nat(3), held: models, loaded: models, failing: models, refuses: models }))),
)
const wishes = fc.oneof(
  fc.record({ replicas: fc.integer({ min: 1, max: 4 }), labels: label, preload: fc.boolean() }),
  fc.record({ nodes: fc.subarray(NAMES, { minLength: 1 }), preload: fc.boolean() }),
)
const states = fc.record({ models: fc.dictionary(fc.constantFrom(...MODELS), wishes, { noNullPrototype: true }), prune: fc.boolean() })
const places = fc.array(fc.record({ model: fc.constantFrom(...MODELS), node: fc.constantFrom(...NAMES) }), { maxLength: 8 })
const situations = fc
  .record({ written: states, fleet: fleets, brought: places, loaded: places })
  .map(({ written, fleet, brought, loaded }) => ({
    desired: state(written),
    nodes: fleet.map(({ refuses, ...each }): FleetNode => ({ ...each, loaded: new Set([...each.loaded].filter((model) => each.held.has(model))), takes: (model) => !refuses.has(model) })),
    memory: { ...NO_MEMORY, brought, loaded: loaded.map((each) => ({ ...each, startedAt: 1 })) },
  }))
type Situation = ReturnType<(typeof situations)['generate']>['value']

/** The fleet when all of it has been done. */
const after = ({ desired, nodes, memory }: Situation, actions: readonly Change[]): Situation => {
  const next = { desired, nodes: nodes.map((each) => ({ ...each, held: new Set(each.held), loaded: new Set(each.loaded) })), memory: structuredClone(memory) }
  for (const change of actions) {
    const { action, model } = change
    const it = next.nodes.find((each) => each.node === change.node)!
    const others = <T extends Place>(list: T[]) => list.filter((each) => each.model !== model || each.node !== change.node)
    if (action === 'pull') {
      it.held.add(model)
      next.memory.brought = [...others(next.memory.brought), { model, node: change.node }]
    } else if (action === 'load') {
      it.loaded.add(model)
      const { keepAlive, numCtx } = change
      next.memory.loaded = [...others(next.memory.loaded), { model, node: change.node, startedAt: it.startedAt, ...(keepAlive !== undefined && { keepAlive }), ...(numCtx !== undefined && { numCtx }) }]
    } else {
      it.loaded.delete(model)
      next.memory.loaded = others(next.memory.loaded)
      if (action === 'delete') {
        it.held.delete(model)
        next.memory.brought = others(next.memory.brought)
      }
    }
  }
  return next
}

test('doing all of it comes to a state in which nothing more is to be done', () => {
  fc.assert(
    fc.property(situations, (begin) => {
      let now: Situation = begin
      let rounds = 0
      for (let { actions } = changesTo(now); actions.length > 0; { actions } = changesTo(now)) {
        expect(rounds).toBeLessThan(3)
        expect(new Set(actions.map((each) => `${each.model} ${each.node}`)).size).toBe(actions.length)
        now = after(now, actions)
        rounds += 1
      }
      for (const [model, { nodes: pinned = [], preload }] of now.desired.models) {
        for (const each of now.nodes) {
          if (each.state !== 'there' || !pinned.includes(each.node)) continue
          if (each.takes(model)) expect(each.held).toContain(model)
          if (preload && each.held.has(model)) expect(each.loaded).toContain(model)
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('no more is brought than is missing, none where it may not be, and nothing is deleted that was not brought', () => {
  fc.assert(
    fc.property(situations, ({ desired, nodes, memory }) => {
      const { actions } = changesTo({ desired, nodes, memory })
      const of = (name: string) => nodes.find((each) => each.node === name)!
      for (const { node: name, action, model } of actions) {
        expect(of(name).state).toBe('there')
        if (action !== 'delete') continue
        expect(desired.prune && memory.brought.some((each) => each.model === model && each.node === name)).toBe(true)
        expect(desired.models.get(model)?.nodes ?? []).not.toContain(name)
      }
      for (const [model, { replicas, nodes: pinned, labels = {} }] of desired.models) {
        const pulls = actions.filter((each) => each.action === 'pull' && each.model === model)
        const holders = nodes.filter((each) => each.held.has(model) && (pinned ? pinned.includes(each.node) : each.state === 'away' || each.labels['gpu'] === labels['gpu'] || labels['gpu'] === undefined))
        expect(pulls.length).toBeLessThanOrEqual(Math.max(0, (pinned?.length ?? replicas ?? 1) - holders.length))
        for (const { node: name } of pulls) {
          expect(of(name).held).not.toContain(model)
          expect(of(name).takes(model)).toBe(true)
          if (pinned) expect(pinned).toContain(name)
          else if (labels['gpu'] !== undefined) expect(of(name).labels['gpu']).toBe(labels['gpu'])
        }
        const left = holders.length + pulls.length - actions.filter((each) => each.action === 'delete' && each.model === model && holders.some((holder) => holder.node === each.node)).length
        expect(left).toBeGreaterThanOrEqual(Math.min(holders.length, pinned?.length ?? replicas ?? 1))
      }
    }),
    { numRuns: 500 },
  )
})

import type { EngineRecord, HeldModel, ModelName, NodeRecord } from '@drover/core'
import { expect, test } from 'vitest'
import { holdersOf, hostsFor, memoryHosts, memoryUnfitness, namedNodes } from './hosts.ts'

const MODEL = 'm:latest' as ModelName
const held = (model: ModelName): HeldModel => ({ model, engineName: model, digest: 'd', size: 1, modifiedAt: '' })
const engine = (facts: Partial<EngineRecord> = {}): EngineRecord => ({ id: 'e', kind: 'ollama', speaks: [], held: [], loaded: [], slotsPerModel: 1, maxLoaded: 1, busy: {}, ...facts })
const node = (id: string, facts: Partial<NodeRecord> = {}): NodeRecord => ({ v: 1, id, version: '0', engines: [engine()], labels: {}, preference: 0, draining: false, changesModels: true, gpus: [], startedAt: 0, ...facts })

const NODES = [
  node('plain', { memory: { total: 9, free: 5 }, gpus: [{ name: 'g', memory: 9, free: 7 }] }),
  node('holds', { engines: [engine({ held: [held(MODEL), held('x:latest' as ModelName)] })], preference: 2 }),
  node('drains', { draining: true, engines: [engine({ held: [held(MODEL)] })] }),
  node('llama', { engines: [engine({ kind: 'llama-server', held: [held(MODEL)] })] }),
  node('others', { engines: [engine({ only: ['x:latest' as ModelName] })] }),
  node('cluster', { engines: [engine({ kind: 'llama-server', layout: 'cluster' })] }),
  node('empty', { engines: [] }),
  node('old', { changesModels: undefined }),
]
const view = {
  nodes: NODES,
  holders: new Map([[MODEL, NODES.flatMap((each) => each.engines.flatMap((own) => own.held.filter(({ model }) => model === MODEL).map((one) => ({ node: each, engine: own, held: one }))))]]),
}

test('a model can go where an Ollama may hold it and the node takes work', () => {
  expect(hostsFor(view, MODEL)).toEqual([
    { node: 'plain', holds: false, preference: 0, free: 12, models: 0 },
    { node: 'holds', holds: true, preference: 2, free: 0, models: 2 },
  ])
  expect(hostsFor(view, 'x:latest' as ModelName).map((each) => each.node)).toEqual(['plain', 'holds', 'others'])
})

test('nodes that are named are those, or the one that cannot do it is told', () => {
  const named = (text: string) => namedNodes({ 'x-drover-nodes': text }, view, MODEL)
  expect(namedNodes({}, view, MODEL)).toBeUndefined()
  expect(named('holds, plain,holds')).toEqual(['holds', 'plain'])
  for (const [text, reason] of [['nobody', 'is not there'], ['plain,drains', 'takes no work'], ['llama', 'has no Ollama that may hold it'], ['others', 'has no Ollama that may hold it'], [' , ', 'invalid x-drover-nodes'], ['../x', 'is not there'], ['old', 'of a version that does not']] as const)
    expect(() => named(text), text).toThrow(reason)
})

test('of all that hold it those are told apart that cannot change it', () => {
  expect(holdersOf(view, MODEL)).toEqual([
    { node: 'holds' },
    { node: 'drains', unfit: expect.stringContaining('takes no work') as string },
    { node: 'llama', unfit: expect.stringContaining('has no Ollama') as string },
  ])
})

test('a model can be in the memory of whoever holds it for itself, whatever runs it; those that have it there go first', () => {
  const loaded = { model: MODEL, size: 1, sizeVram: 0 }
  const nodes = [...NODES, node('spread', { engines: [engine({ kind: 'llama-server', layout: 'cluster', held: [held(MODEL)] })] }), node('has', { preference: -1, engines: [engine({ held: [held(MODEL)], loaded: [loaded] })] })]
  const hosts = memoryHosts({ nodes }, MODEL)
  expect(hosts.map((each) => [each.node, each.loaded, each.unfit])).toEqual([
    ['has', true, undefined],
    ['holds', false, undefined],
    ['drains', false, expect.stringContaining('takes no work')],
    ['llama', false, undefined],
  ])
  expect(['holds', 'drains', 'spread', 'plain'].map((id) => memoryUnfitness(nodes.find((each) => each.id === id)!, MODEL))).toEqual([undefined, expect.stringContaining('takes no work'), 'does not hold it', 'does not hold it'])
})

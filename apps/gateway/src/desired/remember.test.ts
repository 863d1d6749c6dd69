import { NO_MEMORY, type Change, type EngineRecord, type FleetNode, type ModelName, type NodeRecord } from '@drover/core'
import { expect, test } from 'vitest'
import { Attempts } from './attempts.ts'
import { fleetOf } from './fleet.ts'
import { doneIn, remember } from './remember.ts'

const M = 'm:latest' as ModelName
const at = (node: string) => ({ model: M, node })
const pull = (node: string): Change => ({ action: 'pull', ...at(node), written: 'M' })
const load = (node: string, numCtx?: number): Change => ({ action: 'load', ...at(node), startedAt: 1, numCtx })
const holding = new Set([M])
const none: ReadonlySet<ModelName> = new Set<ModelName>()
const node = (name: string, facts: Partial<FleetNode> = {}): FleetNode => ({ node: name, state: 'there', labels: {}, preference: 0, startedAt: 1, free: 0, held: none, loaded: none, failing: none, takes: () => true, ...facts })

test('a copy is remembered from before it is brought until it is gone from a node that is there', () => {
  const begun = remember(NO_MEMORY, { nodes: [node('n1')], counted: [], due: [pull('n1')], isOpen: () => false })
  expect(begun.brought).toEqual([at('n1')])
  const after = (nodes: FleetNode[], isOpen = false) => remember(begun, { nodes, counted: [], due: [], isOpen: () => isOpen }).brought
  expect(after([node('n1')], true)).toEqual([at('n1')])
  expect(after([node('n1', { held: holding })])).toEqual([at('n1')])
  expect(after([node('n1', { state: 'away' })])).toEqual([at('n1')])
  expect(after([])).toEqual([at('n1')])
  expect(after([node('n1')])).toEqual([])
  expect(doneIn(begun, { action: 'delete', ...at('n1') }).brought).toEqual([])
})

test('what is loaded is remembered as it was asked for, and that it may not have come to it', () => {
  const input = { nodes: [node('n1', { held: holding, loaded: holding })], counted: [at('n1')], isOpen: () => false }
  const begun = remember(NO_MEMORY, { ...input, due: [load('n1', 4096)] })
  expect(begun).toEqual({ brought: [], seen: [at('n1')], loaded: [{ ...at('n1'), startedAt: 1, numCtx: 4096, pending: true }] })
  const done = doneIn(begun, load('n1', 4096))
  expect(done.loaded).toEqual([{ ...at('n1'), startedAt: 1, numCtx: 4096, pending: false }])
  expect(remember(done, { ...input, due: [load('n1')] }).loaded).toEqual([{ ...at('n1'), startedAt: 1, pending: true }])
  expect(doneIn(done, { action: 'unload', ...at('n1') }).loaded).toEqual([])
})

test('what has failed is left alone for longer each time, until something else is described', () => {
  const attempts = new Attempts()
  expect([1, 2, 3, 4, 5, 6, 7, 8].map(() => attempts.note(pull('n1'), 'no room', 0) / 1_000)).toEqual([5, 10, 20, 40, 80, 160, 300, 300])
  expect([attempts.mayTry(pull('n1'), 299_999), attempts.mayTry(pull('n1'), 300_000), attempts.mayTry(pull('n2'), 0)]).toEqual([false, true, true])
  expect([...attempts.failing('n1', 299_999)]).toEqual([M])
  // What was done and is wanted again waits, too.
  attempts.note(load('n1'), undefined, 0)
  expect([attempts.mayTry(load('n1'), 0), attempts.hasFailed(load('n1'))]).toEqual([false, false])
  attempts.prune(605_001)
  expect([attempts.mayTry(load('n1'), 0), attempts.failures.length]).toEqual([true, 1])
  attempts.prune(900_001)
  expect(attempts.failures).toEqual([])
  attempts.note(pull('n1'), 'no room', 0)
  attempts.clear()
  expect(attempts.mayTry(pull('n1'), 0)).toBe(true)
})

test('a node that is not there is one for as long as it is waited for, with what it had or was to get', () => {
  const engine: EngineRecord = { id: 'e', kind: 'ollama', speaks: [], held: [], loaded: [], slotsPerModel: 1, maxLoaded: 1, busy: {} }
  const held = { model: M, engineName: M, digest: 'd', size: 1, modifiedAt: '' }
  const record = (id: string, facts: Partial<NodeRecord>): NodeRecord => ({ v: 1, id, version: '0', engines: [engine], labels: {}, preference: 0, draining: false, changesModels: true, gpus: [], startedAt: 0, ...facts })
  const nodes = [
    record('n1', { engines: [{ ...engine, held: [held], loaded: [{ model: M, size: 1, sizeVram: 0 }] }], memory: { total: 9, free: 2 }, gpus: [{ name: 'g', memory: 9, free: 3 }] }),
    record('n2', { draining: true, engines: [{ ...engine, kind: 'llama-server', held: [held] }] }),
    record('n3', { changesModels: undefined }),
  ]
  const silent = new Map([['n1', 0], ['n4', 4_999], ['n5', 4_000], ['n6', 5_000]])
  const shown = fleetOf({ nodes, silent, heardMs: Infinity, graceMs: 5_000, memory: { seen: [at('n4'), at('n6')], brought: [at('n5')] }, failing: () => none }).map((each) => [each.node, each.state, [...each.held], [...each.loaded], each.free, each.takes(M)])
  expect(shown).toEqual([['n1', 'there', [M], [M], 5, true], ['n2', 'drained', [], [], 0, false], ['n3', 'drained', [], [], 0, true], ['n4', 'away', [M], [], 0, false], ['n5', 'away', [M], [], 0, false]])
})

import { BrokerError, DesiredState, NO_MEMORY, type Change, type DesiredMemory, type EngineRecord, type ModelName, type NodeRecord, type WrittenState } from '@drover/core'
import { onTestFinished, expect, test } from 'vitest'
import { changeKey } from './attempts.ts'
import { Reconciler } from './reconciler.ts'

const ENGINE: EngineRecord = { id: 'e', kind: 'ollama', speaks: [], held: [], loaded: [], slotsPerModel: 1, maxLoaded: 1, busy: {} }
const node = (id: string, held: string[] = []): NodeRecord => ({
  v: 1, id, version: '0', labels: {}, preference: 0, draining: false, changesModels: true, gpus: [], startedAt: 1,
  engines: [{ ...ENGINE, held: held.map((model) => ({ model: model as ModelName, engineName: model, digest: 'd', size: 1, modifiedAt: '' })) }],
})

interface Started {
  change: Change
  signal: AbortSignal
  memory: DesiredMemory
  done(): void
  fail(error: Error): void
}

/** A reconciler, and everything around it: what lies in Redis, who has the turn, which nodes are there. */
const stage = (written: WrittenState, nodes: NodeRecord[]) => {
  const world = {
    version: 1,
    state: DesiredState.parse(written),
    memory: NO_MEMORY,
    mine: true,
    nodes,
    started: [] as Started[],
    told: [] as string[],
    describe: () => {},
    find: (key: string) => world.started.find(({ change }) => changeKey(change) === key)!,
    begun: () => world.started.map(({ change }) => changeKey(change)),
  }
  const reconciler = new Reconciler({
    id: 'g1',
    store: {
      async turn(_who, { held, memory }) {
        if (!world.mine) return undefined
        if (memory) world.memory = memory
        return { version: world.version, state: world.state, ...(!held && { memory: world.memory }) }
      },
      giveBack: async () => void (world.mine = false),
    },
    describe: async () => world.describe(),
    nodes: () => world.nodes,
    refresh: async () => undefined,
    silentFor: async () => new Map(),
    heardMs: () => Infinity,
    mayJudge: () => true,
    graceMs: 1_000,
    perform: (change, { signal }) => new Promise((resolve, reject) => world.started.push({ change, signal, memory: world.memory, done: resolve, fail: reject })),
    onDone: ({ action, node: where }) => world.told.push(`${action} ${where}`),
    onFailed: ({ action, node: where, reason, tries }) => world.told.push(`${action} ${where}: ${reason} (${tries})`),
    onError: (error) => world.told.push(String(error)),
    // However long the machine takes.
    now: () => 0,
  })
  onTestFinished(() => reconciler.stop())
  return { reconciler, world }
}

test('a few pulls at once, each written down before it begins', async () => {
  const { reconciler, world } = stage({ models: Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`m${i}`, {}])) }, [node('n1')])
  await reconciler.look()
  expect(world.begun()).toEqual([0, 1, 2, 3].map((i) => `pull m${i}:latest n1`))
  for (const { change, memory } of world.started) expect(memory.brought).toContainEqual({ model: change.model, node: 'n1' })
  await reconciler.look()
  expect(world.started).toHaveLength(4)
  world.nodes = [node('n1', ['m2:latest'])]
  world.find('pull m2:latest n1').done()
  await expect.poll(() => world.begun().at(-1)).toBe('pull m4:latest n1')
  expect([world.told, reconciler.drift]).toEqual([['pull n1'], 5])
})

test('what fails waits, another node takes its place, and a new description begins anew', async () => {
  const { reconciler, world } = stage({ models: { m: {} } }, [node('n1'), node('n2')])
  await reconciler.look()
  world.find('pull m:latest n1').fail(new BrokerError('engine_refused', 'no room'))
  await expect.poll(() => world.begun()).toEqual(['pull m:latest n1', 'pull m:latest n2'])
  expect(world.memory.brought).toEqual([{ model: 'm:latest', node: 'n2' }])
  world.find('pull m:latest n2').fail(new BrokerError('engine_refused', 'no room either'))
  await expect.poll(() => world.memory.brought).toEqual([])
  await reconciler.look()
  expect([world.started.length, world.told]).toEqual([2, ['pull n1: no room (1)', 'pull n2: no room either (1)']])
  world.version = 2
  await reconciler.look()
  expect(world.begun()).toHaveLength(3)
})

test('what is still to be described is so before it is looked what there is to do', async () => {
  const { reconciler, world } = stage({}, [node('n1')])
  world.describe = () => void (world.state = DesiredState.parse({ models: { m: {} } }))
  await reconciler.look()
  expect(world.begun()).toEqual(['pull m:latest n1'])
})

test('a node that goes in the middle has not failed', async () => {
  const { reconciler, world } = stage({ models: { m: {} } }, [node('n1')])
  await reconciler.look()
  world.started[0]!.fail(new BrokerError('node_lost', 'it is gone'))
  await expect.poll(() => world.started.length).toBe(2)
  expect(world.told).toEqual([])
})

test('a pull that is no longer wanted is left, and what has come meanwhile is not', async () => {
  const { reconciler, world } = stage({ models: { m: {}, other: {} } }, [node('n1')])
  await reconciler.look()
  world.nodes = [node('n1', ['other:latest'])]
  world.state = DesiredState.parse({})
  await reconciler.look()
  expect(['m', 'other'].map((name) => world.find(`pull ${name}:latest n1`).signal.aborted)).toEqual([true, false])
  world.find('pull m:latest n1').fail(new BrokerError('cancelled', 'request canceled'))
  await expect.poll(() => world.memory.brought).toEqual([{ model: 'other:latest', node: 'n1' }])
  expect(world.told).toEqual([])
})

test('while one of too many copies is being deleted, no other is', async () => {
  const { reconciler, world } = stage({ models: { m: {} }, prune: true }, [node('n1', ['m:latest']), node('n2', ['m:latest'])])
  world.memory = { ...NO_MEMORY, brought: ['n1', 'n2'].map((each) => ({ model: 'm:latest' as ModelName, node: each })) }
  await reconciler.look()
  expect(world.begun()).toEqual(['delete m:latest n2'])
  // By now the other is the less fit one.
  world.nodes = [{ ...node('n1', ['m:latest']), preference: -1 }, node('n2', ['m:latest'])]
  await reconciler.look()
  expect([world.started.length, world.memory.brought.length]).toEqual([1, 2])
  world.nodes = [node('n1', ['m:latest']), node('n2')]
  world.started[0]!.done()
  await expect.poll(() => world.memory.brought).toEqual([{ model: 'm:latest', node: 'n1' }])
  expect(world.started).toHaveLength(1)
})

test('another’s turn: nothing is begun; and then what that one has written down is gone by', async () => {
  const { reconciler, world } = stage({ models: { m: { preload: true } } }, [node('n1', ['m:latest'])])
  await reconciler.look()
  expect(world.begun()).toEqual(['load m:latest n1'])
  world.mine = false
  world.find('load m:latest n1').done()
  await expect.poll(() => world.told).toEqual(['load n1'])
  await reconciler.look()
  expect([world.started.length, reconciler.drift, world.memory.loaded[0]?.pending]).toEqual([1, 0, true])
  world.mine = true
  world.memory = { ...NO_MEMORY, brought: [{ model: 'm:latest' as ModelName, node: 'n1' }] }
  world.state = DesiredState.parse({ prune: true })
  await reconciler.look()
  expect(world.begun()).toEqual(['load m:latest n1', 'delete m:latest n1'])
})

test('a gateway that stops begins nothing, and another may go on at once', async () => {
  const { reconciler, world } = stage({ models: { m: {} } }, [node('n1')])
  await reconciler.stop()
  await reconciler.look()
  expect([world.mine, world.started]).toEqual([false, []])
})

import { laneOf, type Lane } from '@drover/broker'
import { BrokerError, type EngineRecord, type ModelName, type NodeRecord } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { RegistryView } from '../registry-view.ts'
import { OnDemand, type OnDemandOptions } from './on-demand.ts'

const lane = (model: string): Lane => laneOf(model as ModelName, 'interactive')
const engine = (facts: Partial<EngineRecord>): EngineRecord => ({ id: 'e', kind: 'ollama', speaks: [], held: [], loaded: [], slotsPerModel: 1, maxLoaded: 1, busy: {}, ...facts })
const node = (id: string, facts: Partial<NodeRecord> = {}): NodeRecord => ({ v: 1, id, version: '0', labels: {}, preference: 0, draining: false, changesModels: true, gpus: [], startedAt: 1, engines: [engine({})], ...facts })
const held = (model: string) => ({ model: model as ModelName, engineName: model, digest: 'd', size: 1, modifiedAt: '' })

/** What lies in the lanes of a Redis that answers at once, and who looks at it. */
const stage = () => {
  const world = {
    /** Jobs that wait, by lane. */
    lanes: new Map<Lane, number>(),
    running: new Map<Lane, number>(),
    nodes: [] as NodeRecord[],
    forgotten: [] as Lane[],
    /** Nodes that a model was to be brought to. */
    claims: [] as (readonly string[])[],
    looks: 0,
    fails: undefined as Error | undefined,
    errors: [] as unknown[],
  }
  const view = new RegistryView({ read: async () => world.nodes, onError: (error) => world.errors.push(error) })
  const broker = {
    up: true,
    mayJudge: true,
    depths: async () => {
      world.looks += 1
      if (world.fails) throw world.fails
      return [...world.lanes].map(([lane, waiting]) => ({ lane, waiting, running: world.running.get(lane) ?? 0, headAge: 0, bytes: 0 }))
    },
    waiting: {
      wanted: async () => ({ asked: 'some', dialect: 'ollama.chat' }),
      refuse: async () => 0,
      forget: async (lane: Lane) => world.lanes.delete(lane),
    },
    pulls: {
      claim: async ({ nodes }: { nodes: readonly string[] }) => {
        world.claims.push(nodes)
        return []
      },
    },
  } as unknown as OnDemandOptions['broker']
  const onDemand = new OnDemand({ broker, view, pullable: ['*', 'hf.co/org/*'], timeoutMs: 1_000, onBrought: () => undefined, onFailed: () => undefined, onForgotten: (lane) => world.forgotten.push(lane), onError: (error) => world.errors.push(error) })
  onTestFinished(() => (onDemand.stop(), view.stop()))
  /** One whole look, begun after this. */
  const look = async () => {
    const before = world.looks
    onDemand.look()
    await expect.poll(() => world.looks).toBeGreaterThan(before)
    await new Promise(setImmediate)
  }
  return { world, view, onDemand, look }
}

test('a Redis that is away is spoken of by others, and what else fails is told once until it has gone well', async () => {
  const { world, look } = stage()
  world.fails = new BrokerError('broker_unavailable', 'away')
  await look()
  await look()
  world.fails = undefined
  await look()
  const broken = (world.fails = new Error('broken'))
  await look()
  await look()
  expect(world.errors).toEqual([broken])
  world.fails = undefined
  await look()
  world.fails = broken
  await look()
  expect(world.errors).toEqual([broken, broken])
})

test('names that somebody makes up leave no lanes behind', async () => {
  const { world, view, look } = stage()
  world.nodes = [node('n1', { engines: [engine({ held: [held('held:latest')] })] })]
  await view.refresh()
  for (const [name, waiting] of [['made-up:latest', 0], ['waits:latest', 1], ['held:latest', 0], ['hf.co/not/pullable:latest', 0], ['runs:latest', 0]] as const) world.lanes.set(lane(name), waiting)
  world.running.set(lane('runs:latest'), 1)
  await look()
  await expect.poll(() => world.forgotten).toEqual([lane('made-up:latest')])
  world.lanes.set(lane('waits:latest'), 0)
  await expect.poll(() => world.forgotten).toEqual([lane('made-up:latest'), lane('waits:latest')])
  expect([...world.lanes.keys()]).toEqual(['held:latest', 'hf.co/not/pullable:latest', 'runs:latest'].map(lane))
})

const HUB = 'hf.co/org/big:q4_k_m' as ModelName
const [any, ollama] = [laneOf(HUB, 'interactive'), laneOf(HUB, 'interactive', { engine: 'ollama' })]

test.each<[string, { lanes: Lane[]; holds?: 'folder' | 'ollama'; nodes?: string[]; to: string[] | undefined }]>([
  ['what any engine may answer goes to the fittest node', { lanes: [any], to: ['folder', 'ollama'] }],
  ['what an Ollama is to answer goes to an Ollama', { lanes: [ollama], to: ['ollama'] }],
  ['and with it what others wait for', { lanes: [any, ollama], to: ['ollama'] }],
  ['while none is there, those others do not wait for one', { lanes: [ollama, any], nodes: ['folder'], to: ['folder'] }],
  ['a file in a folder is no answer to it', { lanes: [ollama], holds: 'folder', to: ['ollama'] }],
  ['but to others it is', { lanes: [any], holds: 'folder', to: undefined }],
  ['an Ollama that holds it is one to all', { lanes: [any, ollama], holds: 'ollama', to: undefined }],
])('%s', async (_, { lanes, holds, nodes = ['folder', 'ollama'], to }) => {
  const { world, view, look } = stage()
  const own = (id: string) => (id === holds ? [held(HUB)] : [])
  world.nodes = [
    node('folder', { preference: 9, copies: { address: '127.0.0.1', port: 1, into: ['folder'] }, engines: [engine({ kind: 'llama-server', held: own('folder') })] }),
    node('ollama', { engines: [engine({ held: own('ollama') })] }),
  ].filter(({ id }) => nodes.includes(id))
  await view.refresh()
  for (const each of lanes) world.lanes.set(each, 1)
  await look()
  if (to) await expect.poll(() => world.claims[0]).toEqual(to)
  else {
    await look()
    expect(world.claims).toEqual([])
  }
})

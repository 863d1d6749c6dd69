import type { Lane } from '@drover/broker'
import { BrokerError } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { RegistryView } from '../registry-view.ts'
import { OnDemand, type OnDemandOptions } from './on-demand.ts'

/** What lies in the lanes of a Redis that answers at once, and who looks at it. */
const stage = () => {
  const world = {
    /** Jobs that wait, by lane. */
    lanes: new Map<Lane, number>(),
    looks: 0,
    fails: undefined as Error | undefined,
    errors: [] as unknown[],
  }
  const view = new RegistryView({ read: async () => [], onError: (error) => world.errors.push(error) })
  const broker = {
    up: true,
    mayJudge: true,
    depths: async () => {
      world.looks += 1
      if (world.fails) throw world.fails
      return [...world.lanes].map(([lane, waiting]) => ({ lane, waiting, running: 0, headAge: 0, bytes: 0 }))
    },
    waiting: {
      wanted: async () => ({ asked: 'some', dialect: 'ollama.chat' }),
      refuse: async () => 0,
    },
    pulls: { claim: async () => [] },
  } as unknown as OnDemandOptions['broker']
  const onDemand = new OnDemand({ broker, view, pullable: ['*'], timeoutMs: 1_000, onBrought: () => undefined, onFailed: () => undefined, onError: (error) => world.errors.push(error) })
  onTestFinished(() => (onDemand.stop(), view.stop()))
  /** One whole look, begun after this. */
  const look = async () => {
    const before = world.looks
    onDemand.look()
    await expect.poll(() => world.looks).toBeGreaterThan(before)
    await new Promise(setImmediate)
  }
  return { world, onDemand, look }
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

import { openGateway, type FrameSink, type GatewayConnection } from '@drover/broker'
import type { ModelName, Owner } from '@drover/core'
import { expect } from 'vitest'
import { test as world } from '../support/world.ts'

const MODEL = 'm:latest' as ModelName
const sink: FrameSink = { frame: () => undefined, lost: () => undefined }

const test = world.extend('broker', async ({ redis, drover }, { onCleanup }) => {
  const broker = await openGateway('g', { url: redis.url, prefix: drover.prefix, laneLimit: 100, sendTwice: 0.5, onError: () => undefined })
  onCleanup(() => broker.close())
  return broker
})

const claim = async ({ pulls }: GatewayConnection, nodes: string[], most = 1, insecure = false) => pulls.claim({ model: MODEL, insecure, nodes, most, timeoutMs: 60_000 })
const begin = ({ jobs }: GatewayConnection, node: string, id: NonNullable<Parameters<GatewayConnection['jobs']['submit']>[0]['id']>) =>
  jobs.submit({ id, node, owner: 'models' as Owner, dialect: 'ollama.generate', model: MODEL, asked: MODEL, class: 'interactive', stream: true, slots: 1, body: '{}', timeoutMs: 60_000 }, sink)

test('the first nodes are chosen, and whoever comes next joins them whatever it likes best', async ({ broker }) => {
  const first = await claim(broker, ['a', 'b', 'c'], 2)
  first.sort((a, b) => (a.node < b.node ? -1 : 1))
  expect(first.map(({ node, fresh }) => [node, fresh])).toEqual([['a', true], ['b', true]])
  // Not yet submitted, and afterwards.
  expect(await claim(broker, ['c', 'b', 'a'])).toEqual([{ ...first[1]!, fresh: false }])
  await Promise.all(first.map(({ node, id }) => begin(broker, node, id)))
  expect(await claim(broker, ['c', 'b', 'a'])).toEqual([{ ...first[1]!, fresh: false }])
  expect((await claim(broker, ['c', 'b', 'a'], 3)).map(({ node, fresh }) => [node, fresh]).toSorted()).toEqual([['a', false], ['b', false], ['c', true]])
  // Another way of pulling is another pull.
  expect((await claim(broker, ['c'], 1, true))[0]).toMatchObject({ node: 'c', fresh: true })
  expect(await claim(broker, [], 1)).toEqual([])
})

test('a pull that is over is not joined, and goes on where it was given up', async ({ broker }) => {
  const [first] = await claim(broker, ['b'])
  const follow = await begin(broker, 'b', first!.id)
  await follow.leave()
  const [again] = await claim(broker, ['a', 'b'])
  expect(again).toMatchObject({ node: 'b', fresh: true })
  expect(again!.id).not.toBe(first!.id)
})

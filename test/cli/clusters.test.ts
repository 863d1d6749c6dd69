import type { ClusterRecord, ModelShape } from '@drover/core'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { handIn } from '../jobs/asking.ts'
import { laidOut, ownWorker } from '../routing/own-worker.ts'
import { statusOf, until } from '../support/drover.ts'
import { heldBy, heldModel, scriptedNode } from '../support/scripted-node.ts'
import { test as base } from '../support/world.ts'
import { done, json } from './commands-setup.ts'

const GB = 1e9
const DIGEST = 'ab'.repeat(32)
/** Twenty layers of a gigabyte. */
const SHAPE: ModelShape = {
  layers: Array.from({ length: 20 }, () => GB), kv: Array.from({ length: 20 }, () => 4_096), input: 0.2 * GB, output: 0.2 * GB, largest: 0.1 * GB, embedding: 4_096, feedForward: 14_336, vocabulary: 128_000, heads: 32,
}
const part = (node: string, from: number, to: number): ClusterRecord['members'][number] => ({ node, device: 'CPU', from, to, output: to === 20, weights: (to - from) * GB, kv: 0.25 * GB, compute: 0.25 * GB })
const clusterOf = (model: string, coordinator: string, facts: Partial<ClusterRecord> = {}): ClusterRecord => ({
  model: model as ClusterRecord['model'], state: 'ready', members: [part(coordinator, 0, 12), part('l1', 12, 20)], slots: 2, context: 8_192, since: Date.now(), ...facts,
})
const lending = (free: number, total: number) => ({ address: '127.0.0.1', devices: [{ name: 'CPU', kind: 'cpu' as const, total: total * GB, free: free * GB }] })

/** A node that coordinates `large`, and has the file of `huge`; one that lends; and one whose engine answers as a cluster does. */
const test = base.extend('site', async ({ drover, redis, scripted }, { onCleanup }) => {
  const { url } = await drover.gateway()
  const joins = { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix }
  const nodes = [
    await scriptedNode('c1', joins, {
      engines: [heldBy('cluster', [heldModel('large:latest', { digest: DIGEST }), heldModel('huge:latest')], { loaded: [{ model: 'large:latest' as ClusterRecord['model'], size: 1, sizeVram: 0, contextLength: 8_192 }] })],
      lending: lending(14, 16),
      clusters: [clusterOf('large:latest', 'c1', { tokensPerSecond: 12.5 })],
      shortOf: [{ model: 'huge:latest' as ClusterRecord['model'], reason: 'needs 231 GB; 2 lenders have 24 GB free', never: false }],
    }),
    await scriptedNode('l1', joins, { lending: lending(10, 20) }),
  ]
  onCleanup(async () => void (await Promise.all(nodes.map((node) => node.stop()))))
  await nodes[0]!.describes(DIGEST, { modelInfo: {}, shape: SHAPE })
  const seen = (count: number) => until('all nodes are known', async () => (await statusOf(url)).nodes.length === count)
  await seen(2)
  const answering = async () => {
    const server = await scripted({ kind: 'llama-server', models: ['answers'] })
    await ownWorker({ node: 'c2', redis: joins, engines: [laidOut('cluster', server, { kind: 'llama-server', layout: 'cluster' }).engine], says: { clusters: [clusterOf('answers:latest', 'c2')] } })
    await seen(3)
    return server
  }
  return { url, env: { DROVER_URL: url }, answering }
})

test('clusters lists each part of a model over several nodes; ps says where it lies', async ({ site: { env } }) => {
  expect(await json(['clusters'], { env })).toMatchObject({
    clusters: [{ model: 'large:latest', coordinator: 'c1', state: 'ready', slots: 2, context_length: 8_192, tokens_per_second: 12.5, members: [{ node: 'c1', from: 0, to: 12, total: 12.5 * GB }, { node: 'l1', from: 12, to: 20, output: true }] }],
  })
  const { code, output, errors } = await done(['clusters'], { env })
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  expect(output.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^MODEL +COORDINATOR +STATE +SPEED +SLOTS +MEMBER +LAYERS +SIZE$/),
    expect.stringMatching(/^large:latest +c1 +ready +12\.5 tokens\/s +2 of 8192 +c1 CPU +12 \(0-11\) +12\.5 GB$/),
    expect.stringMatching(/^large:latest +c1 +ready +12\.5 tokens\/s +2 of 8192 +l1 CPU +8 \(12-19, output\) +8\.5 GB$/),
  ])
  expect((await done(['ps'], { env })).output).toMatch(/^large:latest +c1 \+ l1 +cluster +21\.0 GB +- +8192 +0\/2 +for ever$/m)
  expect(await json(['ps'], { env })).toMatchObject({ models: [{ name: 'large:latest', node: 'c1', others: ['l1'], size: 21 * GB }] })
})

test('plan shows what each device would take and has, or what is missing with exit code 1', async ({ site: { env } }) => {
  const { code, output, errors } = await done(['plan', 'large', '--context', '2048', '--slots', '1', '--kv-type', 'q8_0'], { env })
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  const [head, none, titles, ...rows] = output.trimEnd().split('\n')
  expect(head).toMatch(/^large:latest fits, coordinated by c1: 1 slot of 2048 tokens, cache q8_0; besides its layers c1 needs \d+ MB$/)
  expect([none, titles]).toEqual(['', expect.stringMatching(/^NODE +DEVICE +LAYERS +WEIGHTS +KV +COMPUTE +TOTAL +FREE +LENDS$/)])
  expect(rows).toEqual([
    expect.stringMatching(/^c1 +CPU +\d+ \(0-\d+\) +\d+\.\d GB +[\d.]+ MB +[\d.]+ MB +\d+\.\d GB +14\.0 GB +16\.0 GB$/),
    expect.stringMatching(/^l1 +CPU +\d+ \(\d+-19, output\) +\d\.\d GB +[\d.]+ MB +[\d.]+ MB +\d\.\d GB +10\.0 GB +20\.0 GB$/),
  ])
  const refused = await done(['plan', 'large', '--over', 'l1', '--context', '65536', '--slots', '4'], { env })
  expect(refused).toMatchObject({ code: 1, errors: expect.stringMatching(/^large:latest does not fit: needs \d+(\.\d)? GB with 64k context and 4 slots; the coordinator and 1 lender have 24\.0 GB free\n$/) as string })
  expect(refused.output).toMatch(/^NODE .*\nc1 +CPU +- +- +- +- +- +14\.0 GB +16\.0 GB\nl1 +CPU +- /)
  const { output: text, code: failed } = await done(['plan', 'large', '--slots', '64', '--json'], { env })
  expect([failed, JSON.parse(text)]).toMatchObject([1, { model: 'large:latest', fits: false, needs: expect.any(Number) as number }])
  expect(await json(['plan', 'large'], { env })).toMatchObject({ fits: true, coordinator: 'c1', context_length: 4_096, slots: 2, kv_type: 'f16' })
  expect(await done(['plan', 'nothing'], { env })).toMatchObject({ code: 1, errors: "model 'nothing' not found\n" })
  expect(await done(['plan', 'huge'], { env })).toMatchObject({ code: 1, errors: 'needs 231 GB; 2 lenders have 24 GB free\n' })
  expect(await done(['plan'], { env })).toMatchObject({ code: 2 })
})

test('dist asks over several nodes, and tells who had which part', async ({ site: { env, answering } }) => {
  const server = await answering()
  const { code, output, errors } = await done(['dist', 'answers', 'Tell me:', 'job=over tokens=4'], { env })
  expect({ code, output }).toEqual({ code: 0, output: `${expectedText('over', 4)}\n` })
  expect(errors).toMatch(/^over c2 \(12 layers, 12\.5 GB\), l1 \(8 layers, 8\.5 GB\): 4 tokens(, \d+\.\d tokens\/s)?\n$/)
  expect((await server.admin.job('over')).completed).toBe(1)
  const events = (await done(['dist', 'answers', 'job=raw tokens=2', '--json'], { env })).output.trimEnd().split('\n').map((line) => JSON.parse(line) as { done: boolean })
  expect(events.at(-1)).toMatchObject({ done: true })
  expect(await done(['dist', 'nothing', 'x'], { env })).toMatchObject({ code: 1, errors: expect.stringContaining("model 'nothing' not found: there are") as string })
  expect(await done(['dist', 'answers'], { env, input: '' })).toMatchObject({ code: 2 })
})

test('what waits for memory says so', async ({ site: { env, url } }) => {
  const id = await handIn(url, '/api/chat', { model: 'huge', messages: [{ role: 'user', content: 'x' }], options: { distributed: true } })
  expect((await done(['jobs', 'show', id], { env })).output).toMatch(/^short of: +needs 231 GB; 2 lenders have 24 GB free$/m)
  expect((await done(['status'], { env })).output).toMatch(/^lane huge:latest \(interactive, over several nodes\): 1 waiting, the first for .*, 0 running; needs 231 GB; 2 lenders have 24 GB free$/m)
  expect((await done(['show', 'huge'], { env })).output).toMatch(/^lane +interactive, over several nodes: 1 waiting .*; needs 231 GB/m)
})

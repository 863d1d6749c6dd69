import type { ClusterRecord, ModelShape } from '@drover/core'
import { expect } from 'vitest'
import { bearer, get, makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { statusOf, until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { heldBy, heldModel, scriptedNode } from '../support/scripted-node.ts'
import { test as world } from '../support/world.ts'

const GB = 1e9
const DIGEST = 'ab'.repeat(32)
const SINCE = Date.parse('2026-11-28T03:00:00Z')
/** Twenty layers of a gigabyte. */
const SHAPE: ModelShape = {
  layers: Array.from({ length: 20 }, () => GB), kv: Array.from({ length: 20 }, () => 4_096), input: 0.2 * GB, output: 0.2 * GB, largest: 1_000, embedding: 4_096, feedForward: 14_336, vocabulary: 128_000, heads: 32,
}
const part = (node: string, device: string, from: number, to: number): ClusterRecord['members'][number] => ({ node, device, from, to, output: to === 20, weights: (to - from) * GB, kv: 0.25 * GB, compute: 0.25 * GB })
const CLUSTER: ClusterRecord = {
  model: 'large:latest' as ClusterRecord['model'], state: 'ready', members: [part('c1', 'CPU', 0, 8), part('l1', 'CPU', 8, 14), part('l2', 'CUDA0', 14, 20)], slots: 2, context: 8_192, tokensPerSecond: 12.5, since: SINCE,
}
const lending = (free: number, total: number, name = 'CPU') => ({ address: '127.0.0.1', devices: [{ name, kind: name === 'CPU' ? ('cpu' as const) : ('gpu' as const), total: total * GB, free: free * GB }] })

/** A node that coordinates `large` over itself and two lenders, and has the file of `other`. */
const test = world.extend('site', { scope: 'file' }, async ({ house, redis }, { onCleanup }) => {
  const { url } = await house.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  const joins = { url: redis.urlFor?.('worker') ?? redis.url, prefix: house.prefix }
  const held = [heldModel('large:latest', { digest: DIGEST }), heldModel('other:latest', { digest: DIGEST, onlyAsked: true }), heldModel('bare:latest', { digest: 'cd'.repeat(32) })]
  const loaded = [{ model: CLUSTER.model, size: 9 * GB, sizeVram: 0, contextLength: 8_192 }]
  const nodes = [
    await scriptedNode('c1', joins, { engines: [heldBy('cluster', held, { loaded })], lending: lending(6, 12), clusters: [CLUSTER], shortOf: [{ model: 'other:latest' as ClusterRecord['model'], reason: 'others use it', never: false }] }),
    await scriptedNode('l1', joins, { lending: lending(6, 12) }),
    await scriptedNode('l2', joins, { lending: lending(16, 24, 'CUDA0') }),
  ]
  onCleanup(async () => void (await Promise.all(nodes.map((node) => node.stop()))))
  await nodes[0]!.describes(DIGEST, { modelInfo: {}, shape: SHAPE })
  const [whole, limited] = [await makeKey(url, {}), await makeKey(url, { models: ['other*'] })]
  await until('all nodes are known', async () => (JSON.parse((await get(url, '/api/nodes', OPERATOR_KEY)).text) as { nodes: unknown[] }).nodes.length === 3)
  return { url, whole: whole.key, limited: limited.key }
})

const read = async (url: string, path: string, key: string): Promise<unknown> => JSON.parse((await get(url, path, key)).text)
const planned = async (url: string, key: string, body: object) => {
  const { status, text } = await send(`${url}/api/plan`, { body: JSON.stringify(body), headers: bearer(key) })
  return { status, body: JSON.parse(text) as Record<string, unknown> }
}
const cacheOf = (plan: Record<string, unknown>): number => (plan['members'] as { kv: number }[]).reduce((all, { kv }) => all + kv, 0)

test('a model over several nodes is told with its members, what each has of it, and how fast it is', async ({ site: { url, whole } }) => {
  const cluster = {
    model: 'large:latest', coordinator: 'c1', state: 'ready', slots: 2, context_length: 8_192, tokens_per_second: 12.5, since: '2026-11-28T03:00:00.000Z',
    members: [
      { node: 'c1', device: 'CPU', from: 0, to: 8, layers: 8, output: false, weights: 8 * GB, kv: 0.25 * GB, compute: 0.25 * GB, total: 8.5 * GB },
      { node: 'l1', device: 'CPU', from: 8, to: 14, layers: 6, output: false, weights: 6 * GB, kv: 0.25 * GB, compute: 0.25 * GB, total: 6.5 * GB },
      { node: 'l2', device: 'CUDA0', from: 14, to: 20, layers: 6, output: true, weights: 6 * GB, kv: 0.25 * GB, compute: 0.25 * GB, total: 6.5 * GB },
    ],
  }
  expect(await read(url, '/api/clusters', whole)).toEqual({ clusters: [cluster] })
  const { distributed_inference: told } = (await read(url, '/api/status', whole)) as Awaited<ReturnType<typeof statusOf>>
  expect(told).toMatchObject({ available: true, enabled: true, active: true, server_count: 3, partitioned_models: ['large:latest'], clusters: [cluster], short_of: [{ model: 'other:latest', node: 'c1', reason: 'others use it', never: false }] })
  expect(told.lenders).toEqual([['c1', 'CPU', 'cpu', 12, 6], ['l1', 'CPU', 'cpu', 12, 6], ['l2', 'CUDA0', 'gpu', 24, 16]].map(([node, name, kind, total, free]) => ({ node, draining: false, devices: [{ name, kind, total: Number(total) * GB, free: Number(free) * GB }] })))
  // Where the nodes are is nobody's business who may only ask.
  expect(JSON.stringify(told)).not.toContain('127.0.0.1')
})

test('in memory it is as large as on all its nodes together', async ({ site: { url, whole } }) => {
  expect(await read(url, '/api/ps', whole)).toMatchObject({ models: [{ name: 'large:latest', size: 21.5 * GB, size_vram: 6.5 * GB, context_length: 8_192 }] })
  const { nodes } = (await read(url, '/api/status', whole)) as Awaited<ReturnType<typeof statusOf>>
  expect(nodes.find(({ id }) => id === 'c1')?.engines).toMatchObject([{ id: 'cluster', layout: 'cluster', models: [{ model: 'large:latest', loaded: true, memory: { size: 21.5 * GB, size_vram: 6.5 * GB, context_length: 8_192 } }, { model: 'other:latest', only_asked: true }, { model: 'bare:latest', loaded: false }] }])
})

test('metrics tell it, too', async ({ site: { url } }) => {
  const lines = (await get(url, '/metrics', OPERATOR_KEY)).text.split('\n')
  for (const line of [
    'drover_clusters{model="large:latest",state="ready"} 1',
    'drover_cluster_memory_bytes{model="large:latest",node="l1"} 6500000000',
    'drover_cluster_tokens_per_second{model="large:latest"} 12.5',
    'drover_lent_memory_bytes{node="l2",device="CUDA0"} 24000000000',
    'drover_lent_memory_free_bytes{node="l2",device="CUDA0"} 16000000000',
  ])
    expect(lines).toContain(line)
})

test('a plan tells what each device would take, and what it has; with less context it takes less', async ({ site: { url, whole } }) => {
  const { status, body } = await planned(url, whole, { model: 'large', context: 8_192 })
  expect(status).toBe(200)
  expect(body).toMatchObject({ model: 'large:latest', coordinator: 'c1', context_length: 8_192, slots: 2, kv_type: 'f16', fits: true })
  const members = body['members'] as { node: string; from: number; to: number; weights: number; kv: number; compute: number; total: number; output: boolean }[]
  expect(members.map(({ from }) => from)).toEqual([0, ...members.slice(0, -1).map(({ to }) => to)])
  expect(members.at(-1)).toMatchObject({ to: 20, output: true })
  const devices = body['devices'] as { node: string; free: number; takes: number }[]
  expect(devices.map(({ node }) => node)).toEqual(['c1', 'l1', 'l2'])
  for (const { node, total, weights, kv, compute } of members) {
    expect(total).toBe(weights + kv + compute)
    const device = devices.find((each) => each.node === node)
    expect(device?.takes).toBe(total)
    expect(total).toBeLessThanOrEqual(device!.free)
  }
  const less = (await planned(url, whole, { model: 'large:latest', context: 1_024, slots: 1, kv_type: 'q8_0' })).body
  expect(cacheOf(less)).toBeLessThan(cacheOf(body) / 10)
})

test('what does not fit is refused with the figures, and so is a wish that is none', async ({ site: { url, whole } }) => {
  const refusal = await planned(url, whole, { model: 'large', context: 200_000, slots: 8 })
  expect(refusal).toMatchObject({ status: 200, body: { fits: false, never: true, lenders: 2, free: 28 * GB, reason: expect.stringMatching(/^needs \d+ GB with 200000 context and 8 slots; the coordinator and 2 lenders have 28\.0 GB free$/) as string } })
  // What is missing is lent to others just now.
  expect((await planned(url, whole, { model: 'large', nodes: ['l1'] })).body).toMatchObject({ fits: false, never: false, lenders: 1 })
  const wrong: [object, number, string][] = [
    [{}, 400, 'model: is missing'],
    [{ model: 'large', context: 0 }, 400, 'context: '],
    [{ model: 'large', slots: 'two' }, 400, 'slots: '],
    [{ model: 'large', kv_type: 'f8' }, 400, 'kv_type: '],
    [{ model: 'large', nods: [] }, 400, 'nods'],
    [{ model: 'large', nodes: ['nobody'] }, 400, "nodes: 'nobody' is no node that lends memory"],
    [{ model: 'nothing' }, 404, "model 'nothing' not found"],
    [{ model: 'bare' }, 503, "no node that could run 'bare' over several has told what its file is like"],
  ]
  for (const [body, status, text] of wrong) expect(await planned(url, whole, body)).toEqual({ status, body: { error: expect.stringContaining(text) as string } })
})

test('a key is told of its own models only', async ({ site: { url, limited } }) => {
  expect(await read(url, '/api/clusters', limited)).toEqual({ clusters: [] })
  const { distributed_inference: told } = (await read(url, '/api/status', limited)) as Awaited<ReturnType<typeof statusOf>>
  expect(told).toMatchObject({ clusters: [], partitioned_models: [], short_of: [{ model: 'other:latest' }] })
  expect(JSON.stringify(await read(url, '/api/status', limited))).not.toContain('large')
  expect(await planned(url, limited, { model: 'large' })).toEqual({ status: 403, body: { error: "this API key may not use the model 'large:latest'" } })
  expect(await planned(url, limited, { model: 'nothing' })).toMatchObject({ status: 403 })
  expect((await planned(url, limited, { model: 'other' })).body).toMatchObject({ model: 'other:latest', fits: true })
})

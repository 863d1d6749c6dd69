import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { coordinatorRoom, kvBytes, layersRoom, LENT_PROGRAM_BYTES, outputRoom, planCluster, splitOf, type Candidate, type ClusterMember, type ClusterPlan, type ModelShape, type PlanWish, type RunSizes } from '@drover/core'
import { startRpcServer, type RpcServer } from '@drover/engines'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { OWN, placementReader, type Placement } from '../../libs/engines/src/cluster/placement.ts'
import { ggufFilesIn, modelFiles } from '../../libs/engines/src/supervised/model-files.ts'
import { writeTinyModel, type TinyModelOptions } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { rpcServerPath, skipsWithoutRpcServer } from '../support/rpc-server.ts'

const skipped = skipsWithoutLlamaServer() || skipsWithoutRpcServer()
const MIB = 1024 * 1024
/** Half of the last decimal of a size that llama.cpp tells. */
const ROUNDING = 0.005 * MIB

const MODELS = {
  even: { layers: 9, embd: 256, heads: 4, kvHeads: 2, ffn: 512 },
  uneven: { layers: 8, embd: 256, heads: 4, ffn: 256, type: 'f16', wide: [1, 2, 6] },
  experts: { layers: 4, embd: 256, heads: 8, kvHeads: 2, ffn: 512, type: 'f16', experts: 4, tied: true },
} as const satisfies Record<string, Omit<TinyModelOptions, 'path'>>

let folder = ''
const lenders: RpcServer[] = []
const shapes = new Map<string, ModelShape>()
beforeAll(async () => {
  if (skipped) return
  folder = await mkdtemp(join(tmpdir(), 'drover-split-'))
  for (const [name, options] of Object.entries(MODELS)) await writeTinyModel({ path: join(folder, `${name}.gguf`), ...options })
  for (const { path, facts } of await modelFiles(() => ggufFilesIn(folder), (file, reason) => { throw new Error(`${file} ${reason}`) })()) shapes.set(basename(path, '.gguf'), facts.shape)
  const env = { PATH: process.env['PATH'] ?? '', LLAMA_ARG_THREADS: '1' }
  for (let i = 0; i < 3; i += 1) lenders.push(await startRpcServer({ address: '127.0.0.1', devices: ['CPU'] }, { program: rpcServerPath(), env }, AbortSignal.timeout(30_000)))
})
afterAll(async () => {
  await Promise.all(lenders.map((lender) => lender.kill()))
  if (folder) await rm(folder, { recursive: true, force: true })
})

const shapeOf = (model: keyof typeof MODELS): ModelShape => shapes.get(model) ?? expect.fail(`${model} was not read`)
const nodes = ['a', 'b', 'd']
const addressOf = (node: string): string => `127.0.0.1:${lenders[nodes.indexOf(node)]?.port}`

/** What llama.cpp makes of a plan: which layers, the output as one more, lie on each node, and what it tells of memory there. */
const ranOn = async (model: keyof typeof MODELS, plan: ClusterPlan, { flashAttention = true, kvType = 'f16' }: Partial<RunSizes> = {}): Promise<{ layers: Record<string, number[]>; placement: Placement }> => {
  const { gpuLayers, tensorSplit, devices } = splitOf(plan)
  const log = join(folder, `${model}.log`)
  await rm(log, { force: true })
  const shared = devices.length > 0
    ? ['--rpc', devices.map(({ node }) => addressOf(node)).join(','), '--device', devices.map((_, i) => `RPC${i}`).join(','), '--tensor-split', tensorSplit.join(',')]
    : ['--device', 'none']
  await using server = await startLlamaServer({
    model: join(folder, `${model}.gguf`), slots: plan.slots, ctx: plan.context,
    extraArgs: [...shared, '--n-gpu-layers', String(gpuLayers), '--flash-attn', flashAttention ? 'on' : 'off', '--cache-type-k', kvType, '--cache-type-v', kvType, '--fit', 'off', '-v', '--log-file', log],
  })
  expect(server.pid).toBeGreaterThan(0)
  const { placement, read } = placementReader()
  const layers: Record<string, number[]> = {}
  for (const line of (await readFile(log, 'utf8')).split('\n')) {
    read(line)
    const [, layer, device = ''] = /layer +(\d+) assigned to device (\w+)/.exec(line) ?? []
    if (layer === undefined) continue
    const node = device === 'CPU' ? 'c' : (devices[Number(device.slice('RPC'.length))]?.node ?? device)
    layers[node] = [...(layers[node] ?? []), Number(layer)]
  }
  return { layers, placement }
}

const wanted = ({ members }: ClusterPlan): Record<string, number[]> =>
  Object.fromEntries(members.map(({ node, from, to, output }) => [node, Array.from({ length: to - from + (output ? 1 : 0) }, (_, i) => from + i)]))

/** A plan by hand: which nodes have how many of the layers, the output counted with them. */
const byHand = (parts: readonly (readonly [node: string, items: number])[]): ClusterPlan => {
  let next = 0
  const count = parts.reduce((sum, [, items]) => sum + items, -1)
  const members = parts.map(([node, items]): ClusterMember => {
    const from = next
    next += items
    return { node, device: 'CPU', from, to: Math.min(next, count), output: next > count, weights: 0, kv: 0, compute: 0 }
  })
  return { coordinator: 'c', members, slots: 1, context: 256, besides: 0 }
}

test.skipIf(skipped).each<[keyof typeof MODELS, (readonly [string, number])[]]>([
  ['even', [['c', 10]]],
  ['even', [['b', 10]]],
  ['even', [['a', 9], ['d', 1]]],
  ['even', [['c', 1], ['d', 2], ['a', 3], ['b', 4]]],
  ['uneven', [['c', 7], ['b', 1], ['a', 1]]],
  ['uneven', [['d', 1], ['b', 7], ['a', 1]]],
  ['experts', [['c', 4], ['a', 1]]],
  ['experts', [['a', 1], ['b', 1], ['d', 3]]],
])('the layers of the %s model lie as llama-server is told: %j', async (model, parts) => {
  const plan = byHand(parts)
  expect((await ranOn(model, plan)).layers).toEqual(wanted(plan))
})

/** Fleets whose devices have room for what computing takes and for a part of the model's weights and cache. */
const fleet = (model: keyof typeof MODELS, run: RunSizes, part: Record<string, number>): Candidate[] => {
  const shape = shapeOf(model)
  const all = shape.layers.reduce((sum, bytes, i) => sum + bytes + kvBytes(shape.kv[i] ?? 0, run), shape.output + outputRoom(shape, run))
  return Object.entries(part).map(([node, share]) => {
    const besides = Math.max(layersRoom(shape, run, false), shape.largest) + (node === 'c' ? coordinatorRoom(shape, run) : LENT_PROGRAM_BYTES)
    return { node, device: 'CPU', kind: 'cpu', free: Math.ceil((besides + share * all) / 0.95) + 1 }
  })
}

test.skipIf(skipped).each<[keyof typeof MODELS, PlanWish, Record<string, number>, number]>([
  ['even', { slots: 2, context: 700 }, { c: 0.35, a: 0.35, b: 0.5 }, 3],
  ['even', { slots: 1, context: 2_048, flashAttention: false, layers: { a: [0, 5], b: [5, 9] } }, { a: 0.6, b: 0.6 }, 2],
  ['uneven', { slots: 1, context: 512 }, { a: 0.4, b: 0.4, d: 0.4 }, 3],
  ['uneven', { slots: 3, context: 512, flashAttention: false }, { c: 0.6, b: 0.6 }, 2],
  ['experts', { slots: 2, context: 1_024, kvType: 'q8_0', layers: { c: [0, 1], d: [1, 4] } }, { c: 0.3, d: 0.9 }, 2],
  ['experts', { slots: 1, context: 512 }, { c: 1.1 }, 1],
  ['experts', { slots: 1, context: 512 }, { c: 0, a: 1.1 }, 1],
])('of the %s model, %j on %j, llama.cpp tells the weights and cache that were planned, and takes no more room to compute', async (model, wish, part, count) => {
  const shape = shapeOf(model)
  const verdict = planCluster({ shape, coordinator: 'c', candidates: fleet(model, wish, part), wish })
  if (verdict.kind === 'refused') expect.fail(verdict.reason)
  const { plan } = verdict
  expect(plan.members).toHaveLength(count)
  const { layers, placement } = await ranOn(model, plan, wish)
  expect(layers).toEqual(wanted(plan))
  for (const { node, weights, kv, compute } of plan.members) {
    const where = node === 'c' ? OWN : addressOf(node)
    // What is mapped of the file is as large as it reaches.
    if (where !== OWN) expect(Math.abs((placement.weights.get(where) ?? 0) - weights), node).toBeLessThan(ROUNDING)
    expect(Math.abs((placement.kv.get(where) ?? 0) - kv), node).toBeLessThan(ROUNDING)
    if (where !== OWN) expect(placement.compute.get(where), node).toBeLessThan(compute - LENT_PROGRAM_BYTES + ROUNDING)
  }
  const own = plan.members.filter(({ node }) => node === 'c').reduce((sum, { compute }) => sum + compute, plan.besides - shape.input)
  expect(placement.compute.get(OWN)).toBeLessThan(own)
})

import { expect, test } from 'vitest'
import { planCluster, planShared } from './plan.ts'
import type { Candidate, ClusterPlan, PlanRequest, PlanVerdict } from './plan.ts'
import type { ModelShape } from './shape.ts'
import { splitOf } from './split.ts'

const MB = 1e6
const GB = 1e9

/** A model of the size of Llama 3.3 70B at 4 bits: 80 layers of half a gigabyte. */
const seventy: ModelShape = {
  layers: Array.from({ length: 80 }, () => 500 * MB),
  kv: Array.from({ length: 80 }, () => 4_096),
  input: 590 * MB,
  output: 860 * MB,
  largest: 132 * MB,
  embedding: 8_192,
  feedForward: 28_672,
  vocabulary: 128_256,
  heads: 64,
}
const lender = (node: string, free: number, more: Partial<Candidate> = {}): Candidate => ({ node, device: 'CPU', kind: 'cpu', free, ...more })
const card = (node: string, free: number, more: Partial<Candidate> = {}): Candidate => ({ node, device: 'CUDA0', kind: 'gpu', free, ...more })
const asked = (candidates: Candidate[], wish: Partial<PlanRequest['wish']> = {}, shape = seventy): PlanRequest => ({
  shape, coordinator: 'c', candidates, wish: { slots: 2, context: 8_192, ...wish },
})
const planned = (verdict: PlanVerdict): ClusterPlan => {
  if (verdict.kind !== 'planned') throw new Error(verdict.reason)
  return verdict.plan
}
const refused = (verdict: PlanVerdict) => {
  if (verdict.kind !== 'refused') throw new Error(`planned over ${verdict.plan.members.map(({ node }) => node).join(', ')}`)
  return verdict
}
/** `c/CPU 0-40, b/CPU 40-80+`: plus the output. */
const told = (verdict: PlanVerdict): string =>
  planned(verdict).members.map(({ node, device, from, to, output }) => `${node}/${device} ${from}-${to}${output ? '+' : ''}`).join(', ')

test('a model that fits on the coordinator alone lies there, though others have more', () => {
  expect(told(planCluster(asked([lender('a', 400 * GB), lender('c', 60 * GB), card('b', 80 * GB, { speed: 100 })])))).toBe('c/CPU 0-80+')
  expect(splitOf(planned(planCluster(asked([lender('c', 60 * GB)]))))).toEqual({ gpuLayers: 0, tensorSplit: [], devices: [] })
})

test('a model that fits on one lender goes there whole', () => {
  const plan = planned(planCluster(asked([lender('c', 3 * GB), lender('a', 60 * GB), lender('b', 30 * GB)])))
  expect(plan.members).toMatchObject([{ node: 'a', from: 0, to: 80, output: true }])
  expect(splitOf(plan)).toEqual({ gpuLayers: 81, tensorSplit: [81], devices: [{ node: 'a', device: 'CPU' }] })
})

test('equally fast devices are filled in proportion, the coordinator’s own first', () => {
  expect(told(planCluster(asked([lender('a', 30 * GB), lender('b', 30 * GB), lender('c', 30 * GB)])))).toBe('c/CPU 0-40, a/CPU 40-80+')
  const plan = planned(planCluster(asked([lender('a', 40 * GB), lender('c', 20 * GB)])))
  const [own, other] = plan.members
  expect(own).toMatchObject({ node: 'c', from: 0 })
  expect((own?.to ?? 0) / 80).toBeCloseTo((20 * 0.95 - 0.9) / (60 * 0.95 - 0.9), 1)
  expect(splitOf(plan)).toEqual({ gpuLayers: 81 - (own?.to ?? 0), tensorSplit: [81 - (own?.to ?? 0)], devices: [{ node: 'a', device: 'CPU' }] })
  expect(other?.to).toBe(80)
})

test('cards take as much as they can before processors do', () => {
  const plan = planned(planCluster(asked([lender('c', 40 * GB), card('c', 24 * GB), card('a', 24 * GB)])))
  // Two cards alone are too little, and a third device would be one more than is needed.
  expect(plan.members.map(({ node, device }) => `${node}/${device}`)).toEqual(['c/CPU', 'c/CUDA0'])
  const [cpu, gpu] = plan.members
  expect(gpu && gpu.weights + gpu.kv + gpu.compute).toBeGreaterThan(0.95 * 24 * GB - 600 * MB)
  expect(splitOf(plan)).toMatchObject({ gpuLayers: 81 - (cpu?.to ?? 0), devices: [{ node: 'c', device: 'CUDA0' }] })
})

test.each<[string, Candidate[], string]>([
  ['the faster', [lender('a', 50 * GB), lender('b', 50 * GB, { speed: 2 })], 'b'],
  ['the card', [lender('a', 50 * GB), card('b', 50 * GB)], 'b'],
  ['the nearer', [lender('a', 50 * GB, { rttMs: 3 }), lender('b', 50 * GB, { rttMs: 0.2 }), lender('x', 50 * GB)], 'b'],
  ['the better connected', [lender('a', 50 * GB, { rttMs: 1, bytesPerSecond: 1e8 }), lender('b', 50 * GB, { rttMs: 1, bytesPerSecond: 1e9 })], 'b'],
  ['the one with more memory', [lender('a', 50 * GB), lender('b', 51 * GB)], 'b'],
  ['the first by name', [lender('b', 50 * GB), lender('a', 50 * GB)], 'a'],
])('of lenders that would all do, %s is taken', (_, candidates, node) => {
  expect(planned(planCluster(asked(candidates))).members).toMatchObject([{ node }])
})

test('only the nodes that are named are used, and the coordinator', () => {
  const candidates = [lender('a', 60 * GB), lender('b', 30 * GB), lender('d', 30 * GB), lender('c', 10 * GB)]
  expect(told(planCluster(asked(candidates, { nodes: ['b', 'd'] })))).toMatch(/^b\/CPU 0-\d+, d\/CPU \d+-80\+$/)
  expect(refused(planCluster(asked(candidates, { nodes: ['b'] }))).lenders).toBe(1)
})

test('layers lie where they are asked for, those of a node over as many of its devices as it takes', () => {
  const candidates = [lender('a', 60 * GB), lender('c', 30 * GB), card('b', 12 * GB), card('b', 12 * GB, { device: 'CUDA1' })]
  expect(told(planCluster(asked(candidates, { layers: { b: [40, 70], a: [70, 80], c: [0, 40] } })))).toBe('c/CPU 0-40, b/CUDA0 40-55, b/CUDA1 55-70, a/CPU 70-80+')
  expect(told(planCluster(asked(candidates, { layers: { a: [0, 80] } })))).toBe('a/CPU 0-80+')
})

test.each<[string, Partial<PlanRequest['wish']>, string]>([
  ['a gap', { layers: { a: [0, 40], b: [41, 80] } }, 'the layers asked for are not 0 to 80, each of them once'],
  ['an overlap', { layers: { a: [0, 40], b: [39, 80] } }, 'the layers asked for are not 0 to 80, each of them once'],
  ['too few', { layers: { a: [0, 79] } }, 'the layers asked for are not 0 to 80, each of them once'],
  ['none', { layers: {} }, 'the layers asked for are not 0 to 80, each of them once'],
  ['the coordinator behind another', { layers: { a: [0, 40], c: [40, 80] } }, 'the layers of c, which coordinates, have to be the first'],
  ['a node that is not there', { layers: { a: [0, 40], x: [40, 80] } }, 'x lends nothing'],
  ['more than a node has room for', { layers: { a: [0, 70], b: [70, 80] } }, 'layers 0 to 70 do not fit on a'],
  ['a cache that needs flash attention, without it', { kvType: 'q8_0', flashAttention: false }, 'a cache of q8_0 needs flash attention'],
])('a wish that cannot be: %s', (_, wish, reason) => {
  expect(refused(planCluster(asked([lender('a', 30 * GB), lender('b', 30 * GB), lender('c', 30 * GB)], wish)))).toMatchObject({ reason, never: true })
})

test.each<[string, Candidate[], ModelShape, string]>([
  ['too little in all', [lender('a', 9 * GB), lender('b', 9 * GB)], seventy, 'needs 47.7 GB with 8k context and 2 slots; 2 lenders have 18.0 GB free'],
  ['the coordinator among them', [lender('a', 9 * GB), lender('c', 9 * GB)], seventy, 'needs 47.7 GB with 8k context and 2 slots; the coordinator and 1 lender have 18.0 GB free'],
  ['one lender', [card('a', 9 * GB), lender('a', 1 * GB)], seventy, 'needs 47.7 GB with 8k context and 2 slots; 1 lender has 10.0 GB free'],
  ['nobody', [], seventy, 'needs 47.7 GB with 8k context and 2 slots; nobody lends memory'],
  ['the coordinator alone', [lender('c', 9 * GB)], seventy, 'needs 47.7 GB with 8k context and 2 slots; nobody lends memory, and the coordinator has 9.0 GB free'],
  [
    'layers that are larger than any device', Array.from({ length: 5 }, (_, i) => lender(`n${i}`, 11 * GB)), { ...seventy, layers: [...Array.from({ length: 4 }, () => 6 * GB), 12 * GB] },
    'needs 38.6 GB with 8k context and 2 slots; 5 lenders have 55.0 GB free, but its largest layer takes 12.6 GB with cache and room to compute, and no device may give more than 10.4 GB',
  ],
  [
    'an output that is', Array.from({ length: 5 }, (_, i) => lender(`n${i}`, 11 * GB)), { ...seventy, output: 12 * GB, layers: Array.from({ length: 5 }, () => 4 * GB) },
    'needs 33.8 GB with 8k context and 2 slots; 5 lenders have 55.0 GB free, but its output takes 12.8 GB with cache and room to compute, and no device may give more than 10.4 GB',
  ],
  [
    'layers that fill no device well', [lender('a', 11 * GB), lender('b', 11 * GB), lender('d', 11 * GB)], { ...seventy, layers: Array.from({ length: 4 }, () => 6 * GB) },
    'needs 26.6 GB with 8k context and 2 slots; 3 lenders have 33.0 GB free, but no split into whole layers fits: every part takes 0.5 GB more to compute in, and 5 % of each device stay free',
  ],
  [
    'a coordinator without room for the program', [lender('c', 0.3 * GB), lender('b', 60 * GB)], seventy,
    'needs 47.7 GB with 8k context and 2 slots; the coordinator and 1 lender have 60.3 GB free, but c needs 0.9 GB of its own for token embeddings and the program, and has 0.3 GB',
  ],
  [
    'too many parts', Array.from({ length: 40 }, (_, i) => lender(`n${i}`, 3 * GB)), seventy,
    'needs 47.7 GB with 8k context and 2 slots; 40 lenders have 120 GB free, but it would take more than 15 devices, and llama.cpp spreads a model over no more',
  ],
])('a refusal says what is missing: %s', (_, candidates, shape, reason) => {
  expect(refused(planCluster(asked(candidates, {}, shape))).reason).toBe(reason)
})

test('what would fit if nothing else used the memory is not refused for ever', () => {
  const busy = [lender('a', 9 * GB, { total: 30 * GB }), lender('b', 9 * GB, { total: 30 * GB })]
  expect(refused(planCluster(asked(busy)))).toMatchObject({ never: false, free: 18 * GB, lenders: 2 })
  expect(refused(planCluster(asked([lender('a', 9 * GB, { total: 30 * GB }), lender('b', 9 * GB)])))).toMatchObject({ never: true })
})

const need = (wish: Partial<PlanRequest['wish']>) => refused(planCluster(asked([], wish))).needs

test('fewer tokens, slots or bits for the cache, or flash attention, make a model smaller', () => {
  const usual = need({})
  for (const wish of [{ context: 4_096 }, { slots: 1 }, { kvType: 'q8_0' as const }]) expect(need(wish)).toBeLessThan(usual)
  expect(need({ flashAttention: false })).toBeGreaterThan(usual)
  expect(usual - need({ slots: 1 })).toBe(8_192 * 80 * 4_096)
})

test('a model that one node could run is shared over two for whoever wants that, with the nearest that has room; else it stays as it is', () => {
  const small: ModelShape = { ...seventy, layers: seventy.layers.slice(0, 9), kv: seventy.kv.slice(0, 9) }
  const near = lender('near', 40 * GB, { rttMs: 1 })
  const fleet = [card('c', 40 * GB, { rttMs: 0 }), lender('far', 40 * GB, { rttMs: 9 }), near, lender('full', 1 * GB, { rttMs: 0.5 })]
  expect(told(planCluster(asked(fleet, {}, small)))).toBe('c/CUDA0 0-9+')
  expect(told(planShared(asked(fleet, {}, small)))).toBe('c/CUDA0 0-5, near/CPU 5-9+')
  expect(told(planShared(asked([fleet[0]!, fleet[3]!], {}, small)))).toBe('c/CUDA0 0-9+')
  // What needs several anyway, or is told where to lie, lies so.
  const large = asked([card('c', 30 * GB), near])
  expect(told(planShared(large))).toBe(told(planCluster(large)))
  const there = asked(fleet, { layers: { far: [0, 9] } }, small)
  expect(told(planShared(there))).toBe('far/CPU 0-9+')
})

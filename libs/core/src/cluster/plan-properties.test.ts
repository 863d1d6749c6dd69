import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { planCluster } from './plan.ts'
import type { Candidate, ClusterPlan, PlanRequest } from './plan.ts'
import { CARD_BYTES, coordinatorRoom, kvBytes, KV_TYPES, layersRoom, LENT_PROGRAM_BYTES, outputRoom } from './room.ts'
import type { KvType } from './room.ts'
import type { ModelShape } from './shape.ts'
import { MOST_DEVICES, splitOf } from './split.ts'

/** Hundreds of searches take their time on a busy machine. */
vi.setConfig({ testTimeout: 60_000 })

// A second opinion: the rules once more, as plainly as they can be written.

const outputCost = ({ shape, wish }: PlanRequest) => shape.output + outputRoom(shape, wish)
const layerCost = ({ shape, wish }: PlanRequest, i: number) => (shape.layers[i] ?? 0) + kvBytes(shape.kv[i] ?? 0, wish)
const ownProcessor = (request: PlanRequest, { node, device }: { node: string; device: string }) => node === request.coordinator && device === 'CPU'
/** What of a device's memory may be filled. */
const limit = (request: PlanRequest, candidate: Candidate) =>
  Math.floor(candidate.free * (1 - (request.wish.headroom ?? 0.05))) - (ownProcessor(request, candidate) ? coordinatorRoom(request.shape, request.wish) : 0)
const fixed = (request: PlanRequest, { node, kind }: Candidate, alone: boolean) =>
  (node === request.coordinator ? layersRoom(request.shape, request.wish, alone) : Math.max(layersRoom(request.shape, request.wish, alone), request.shape.largest) + LENT_PROGRAM_BYTES) +
  (kind === 'gpu' ? CARD_BYTES : 0)
const rank = (request: PlanRequest, candidate: Candidate) => (candidate.node !== request.coordinator ? 2 : ownProcessor(request, candidate) ? 0 : 1)

/** The fewest devices found by trying every order of every set, and every cut; and whether own ones can be among so few. */
const fewest = (request: PlanRequest): { count: number; withOwn: boolean } | undefined => {
  const { shape, candidates, coordinator } = request
  const items = shape.layers.length + 1
  if (candidates.some((each) => ownProcessor(request, each) && limit(request, each) < 0)) return undefined
  let best: { count: number; withOwn: boolean } | undefined
  const go = (from: number, used: readonly Candidate[], alone: boolean): void => {
    if (from === items) {
      const withOwn = used.some(({ node }) => node === coordinator)
      if (!best || used.length < best.count) best = { count: used.length, withOwn }
      else if (used.length === best.count) best.withOwn ||= withOwn
      return
    }
    if (used.length >= (best?.count ?? candidates.length) || (alone && used.length === 1)) return
    const last = used.at(-1)
    for (const candidate of candidates) {
      if (used.includes(candidate) || (last && rank(request, candidate) < rank(request, last))) continue
      let taken = fixed(request, candidate, alone)
      for (let to = from + 1; to <= items; to += 1) {
        taken += to === items ? outputCost(request) : layerCost(request, to - 1)
        if (taken > limit(request, candidate)) break
        go(to, [...used, candidate], alone)
      }
    }
  }
  go(0, [], true)
  go(0, [], false)
  return best
}

/** What is wrong with a plan, if anything. */
const faults = (request: PlanRequest, { members, slots, context, besides, coordinator }: ClusterPlan): string[] => {
  const { shape, wish, candidates } = request
  const found: string[] = []
  const count = shape.layers.length
  if (slots !== wish.slots || context !== wish.context || coordinator !== request.coordinator) found.push('another wish')
  if (besides !== coordinatorRoom(shape, wish)) found.push('another coordinator')
  if (members.length === 0 || members.length > MOST_DEVICES) found.push(`${members.length} members`)
  let next = 0
  for (const [i, member] of members.entries()) {
    const candidate = candidates.find(({ node, device }) => node === member.node && device === member.device)
    if (!candidate) return [...found, 'a member that is no candidate']
    if (member.from !== next || member.to < member.from) found.push(`layers ${member.from} to ${member.to} behind ${next}`)
    next = member.to
    if (member.output !== (i === members.length - 1)) found.push('the output elsewhere than last')
    if (member.to === member.from && !member.output) found.push('a member with nothing')
    const layers = Array.from({ length: member.to - member.from }, (_, at) => member.from + at)
    const weights = layers.reduce((sum, at) => sum + (shape.layers[at] ?? 0), member.output ? shape.output : 0)
    const kv = layers.reduce((sum, at) => sum + kvBytes(shape.kv[at] ?? 0, wish), 0)
    const compute = fixed(request, candidate, members.length === 1) + (member.output ? outputRoom(shape, wish) : 0)
    if (member.weights !== weights || member.kv !== kv || member.compute !== compute) found.push('other bytes')
    if (weights + kv + compute > limit(request, candidate)) found.push(`${member.node}/${member.device} over its memory`)
    const before = members[i - 1]
    const behind = before && candidates.find(({ node, device }) => node === before.node && device === before.device)
    if (behind && rank(request, candidate) < rank(request, behind)) found.push('an own device behind others')
  }
  if (next !== count) found.push(`${next} of ${count} layers`)
  if (new Set(members.map(({ node, device }) => `${node}/${device}`)).size !== members.length) found.push('a device twice')
  return found
}

/** Even, without fast-check's liking for the ends of a range. */
const between = (min: number, max: number) => fc.noBias(fc.integer({ min, max }))
const parts = (length: number) => fc.array(between(0, 100).map((percent) => percent / 100), { minLength: length, maxLength: length })

/** Layers of a few kilobytes to some gigabytes: even, uneven, or with some that have many experts. */
const shapes = (most: number): fc.Arbitrary<ModelShape> =>
  fc.record({
    count: between(1, most), size: between(12, 33), uneven: fc.constantFrom(0, 0.1, 0.9), experts: fc.boolean(), state: between(4, 12), heads: between(1, 64),
    sizes: parts(most), caches: parts(most), rest: parts(5),
  }).map(({ count, size, uneven, experts, state, heads, sizes, caches, rest: [input = 0, output = 0, width = 0, words = 0, largest = 0] }) => ({
    layers: sizes.slice(0, count).map((part, i) => Math.round(2 ** size * (1 + uneven * (part - 0.5)) * (experts && i % 4 === 3 ? 6 : 1))),
    kv: caches.slice(0, count).map((part) => (part < 0.2 ? 0 : Math.round(2 ** (size - 14) * part))),
    input: Math.round(2 ** size * input),
    output: Math.round(2 ** (size + 1) * output),
    largest: Math.round(2 ** size * largest),
    embedding: 2 ** state,
    feedForward: Math.round(2 ** state * (1 + 7 * width)),
    vocabulary: Math.round(2 ** (state + 4) * words),
    heads,
  }))

const wishes = fc.record({
  slots: between(1, 4),
  context: between(256, 16_384),
  kvType: fc.option(fc.constantFrom(...(Object.keys(KV_TYPES) as KvType[])), { nil: undefined }),
  headroom: fc.option(fc.constantFrom(0, 0.2), { nil: undefined }),
})

/** Fleets in which some plan is as likely as none: each device has a part of what the model needs, and what a device needs in any case. */
const requests = (layers: number, devices: number, least = 1): fc.Arbitrary<PlanRequest> =>
  fc.tuple(shapes(layers), wishes, fc.array(fc.record({
    at: fc.constantFrom('c', 'c', 'a', 'b', 'd', 'e'), kind: fc.constantFrom('cpu' as const, 'gpu' as const), part: between(2, 160).map((percent) => percent / 100 / devices ** 0.6),
    more: between(100, 200).map((percent) => percent / 100), speed: fc.option(fc.constantFrom(1, 2, 50), { nil: undefined }), rttMs: fc.option(fc.constantFrom(0.1, 5), { nil: undefined }),
  }), { minLength: least, maxLength: devices })).map(([shape, wish, drawn]) => {
    const bare: PlanRequest = { shape, coordinator: 'c', candidates: [], wish }
    const needs = shape.layers.reduce((sum, _, i) => sum + layerCost(bare, i), outputCost(bare))
    const candidates = drawn.map(({ at, kind, part, more, ...rest }, i): Candidate => {
      const device = { node: at === 'c' ? 'c' : `${at}${i}`, device: kind === 'gpu' ? `CUDA${i}` : 'CPU', kind, free: 0, ...rest }
      const free = Math.round((needs * part + fixed(bare, device, false)) / 0.9 + (ownProcessor(bare, device) ? coordinatorRoom(shape, wish) : 0))
      return { ...device, free, total: Math.round(free * more) }
    })
    const once = candidates.filter((each, i) => candidates.findIndex(({ node, device }) => node === each.node && device === each.device) === i)
    return { ...bare, candidates: once }
  })

const roomy = (request: PlanRequest): PlanRequest => ({ ...request, candidates: request.candidates.map((each) => ({ ...each, free: each.total ?? each.free })) })

test('a plan keeps every rule and has as few members as trying everything finds; a refusal comes only where that finds nothing', () => {
  const seen = { planned: 0, several: 0, refused: 0, never: 0 }
  fc.assert(fc.property(requests(9, 5), (request) => {
    const verdict = planCluster(request)
    const best = fewest(request)
    if (verdict.kind === 'planned') {
      seen.planned += 1
      seen.several += verdict.plan.members.length > 1 ? 1 : 0
      expect(faults(request, verdict.plan)).toEqual([])
      expect({ count: verdict.plan.members.length, withOwn: verdict.plan.members.some(({ node }) => node === 'c') }).toEqual(best)
    } else {
      seen.refused += 1
      seen.never += verdict.never ? 1 : 0
      expect(best).toBeUndefined()
      expect(verdict.never).toBe(fewest(roomy(request)) === undefined)
    }
  }), { numRuns: 600 })
  // What was drawn had enough of each.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(40)
})

test('plans over large fleets of large models keep every rule, and llama-server is told the same', () => {
  let several = 0
  fc.assert(fc.property(requests(126, 30, 10), (request) => {
    const verdict = planCluster(request)
    if (verdict.kind === 'refused') return
    const { plan } = verdict
    several += plan.members.length > 2 ? 1 : 0
    expect(faults(request, plan)).toEqual([])
    const { gpuLayers, tensorSplit, devices } = splitOf(plan)
    const own = plan.members.filter((member) => ownProcessor(request, member)).reduce((sum, { from, to, output }) => sum + to - from + (output ? 1 : 0), 0)
    expect(gpuLayers + own).toBe(request.shape.layers.length + 1)
    expect(tensorSplit.reduce((sum, each) => sum + each, 0)).toBe(gpuLayers)
    expect(tensorSplit.every((each) => each > 0)).toBe(true)
    expect(devices).toEqual(plan.members.filter((member) => !ownProcessor(request, member)).map(({ node, device }) => ({ node, device })))
  }), { numRuns: 200 })
  expect(several).toBeGreaterThan(20)
})

test('the order in which devices are told changes nothing', () => {
  fc.assert(fc.property(requests(40, 8).chain((request) => fc.tuple(fc.constant(request), fc.shuffledSubarray([...request.candidates], { minLength: request.candidates.length }))), ([request, candidates]) => {
    expect(planCluster({ ...request, candidates })).toEqual(planCluster(request))
  }), { numRuns: 200 })
})

test('more free memory never turns a plan into a refusal, nor into one with more members', () => {
  fc.assert(fc.property(requests(40, 8), fc.nat(), between(100, 300).map((percent) => percent / 100), (request, which, more) => {
    const before = planCluster(request)
    if (before.kind === 'refused') return
    const candidates = request.candidates.map((each, i) => (i === which % request.candidates.length ? { ...each, free: Math.ceil(each.free * more) } : each))
    const after = planCluster({ ...request, candidates })
    expect(after.kind === 'planned' && after.plan.members.length).toBeLessThanOrEqual(before.plan.members.length)
  }), { numRuns: 300 })
})

test('nodes that are not named are as if they were not there', () => {
  fc.assert(fc.property(requests(40, 8), fc.subarray(['a', 'b', 'd', 'e']), (request, letters) => {
    const nodes = request.candidates.map(({ node }) => node).filter((node) => letters.some((letter) => node.startsWith(letter)))
    const there = request.candidates.filter(({ node }) => node === 'c' || nodes.includes(node))
    expect(planCluster({ ...request, wish: { ...request.wish, nodes } })).toEqual(planCluster({ ...request, candidates: there }))
  }), { numRuns: 200 })
})

test('layers that are asked for on nodes of one device lie there, or do not fit there', () => {
  const seen = { planned: 0, refused: 0 }
  fc.assert(fc.property(requests(30, 6), fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), (drawn, cuts) => {
    const candidates = drawn.candidates.filter(({ node }, i) => drawn.candidates.findIndex((other) => other.node === node) === i).toSorted((a, b) => rank(drawn, a) - rank(drawn, b))
    const request = { ...drawn, candidates: candidates.map((each) => ({ ...each, free: 2 * each.free })) }
    const count = request.shape.layers.length
    const ends = [...new Set(cuts.slice(0, candidates.length - 1).map((cut) => 1 + (cut % count))), count].filter((end, i, all) => all.indexOf(end) === i).toSorted((a, b) => a - b)
    const layers = Object.fromEntries(ends.map((to, i) => [candidates[i]?.node ?? '', [ends[i - 1] ?? 0, to] as const]))
    const verdict = planCluster({ ...request, wish: { ...request.wish, layers } })
    const fits = ends.every((to, i) => {
      const candidate = request.candidates[i]
      const from = ends[i - 1] ?? 0
      if (!candidate) return false
      const bytes = Array.from({ length: to - from }, (_, at) => layerCost(request, from + at)).reduce((sum, each) => sum + each, to === count ? outputCost(request) : 0)
      return bytes + fixed(request, candidate, ends.length === 1) <= limit(request, candidate)
    }) && request.candidates.every((each) => !ownProcessor(request, each) || limit(request, each) >= 0)
    expect(verdict.kind).toBe(fits ? 'planned' : 'refused')
    seen[verdict.kind] += 1
    if (verdict.kind === 'planned') expect(Object.fromEntries(verdict.plan.members.map(({ node, from, to }) => [node, [from, to]]))).toEqual(layers)
  }), { numRuns: 300 })
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(40)
})

import { besidesOn, devicesOf } from './devices.ts'
import { partsAsAsked, partsOf } from './parts.ts'
import type { Part } from './parts.ts'
import type { ClusterMember } from './records.ts'
import { refusal } from './refusal.ts'
import { coordinatorRoom, isQuantized, kvBytes, outputRoom } from './room.ts'
import type { RunSizes } from './room.ts'
import type { ModelShape } from './shape.ts'

/** A device that could take layers. */
export interface Candidate {
  node: string
  device: string
  kind: 'cpu' | 'gpu'
  /** Bytes that may be used of it. */
  free: number
  /** Bytes that may be used of it when nothing else is; `free` when absent. */
  total?: number | undefined
  /** Round trip from the coordinator to it, ms, and bytes a second; absent: not known. 0 ms for the coordinator's own. */
  rttMs?: number | undefined
  bytesPerSecond?: number | undefined
  /** How fast it goes through layers, relative to others; absent: not known, and taken for 1 of a processor and 10 of a card. */
  speed?: number | undefined
}

export interface PlanWish extends RunSizes {
  /** Only these nodes, besides the coordinator, which needs no naming. */
  nodes?: readonly string[] | undefined
  /** Layers that are to lie on a node, `[from, to)`: all of them then, each exactly once. */
  layers?: Readonly<Record<string, readonly [from: number, to: number]>> | undefined
  /** Part of each device's memory that is left free, 0 to 1; 0.05 when absent. */
  headroom?: number | undefined
}

/** How a model is spread. What llama-server is told follows from it. */
export interface ClusterPlan {
  coordinator: string
  /** In the order of their layers; the coordinator's own first, where it has any. */
  members: ClusterMember[]
  slots: number
  context: number
  /** Bytes of the coordinator's memory that its own process takes besides its layers: the program, token embeddings, room to look them up. */
  besides: number
}

export type PlanVerdict =
  | { kind: 'planned'; plan: ClusterPlan }
  /** `never`: the devices' memory would not do if nothing else used it either. */
  | { kind: 'refused'; never: boolean; needs: number; free: number; lenders: number; reason: string }

export interface PlanRequest {
  shape: ModelShape
  coordinator: string
  /** The coordinator's own among them: with its processor goes the memory that its process takes besides. */
  candidates: readonly Candidate[]
  wish: PlanWish
}

/**
 * Spreads a model over as few devices as it fits on: whole layers, in their order, each exactly once, the output with the last of them;
 * on each device weights, KV cache with all slots full and room to compute, within what is free of it less the headroom. Among the ways
 * with so few devices the coordinator's own go first, then faster ones, better connected ones, those with more memory; then the faster
 * take more layers, and equally fast ones as much as each has memory.
 */
export const planCluster = (request: PlanRequest): PlanVerdict => {
  const { shape, coordinator, candidates, wish } = request
  const parts = placed(request)
  if (typeof parts === 'object') {
    const members = parts.map((part) => memberOf(request, part, parts.length === 1))
    return { kind: 'planned', plan: { coordinator, members, slots: wish.slots, context: wish.context, besides: coordinatorRoom(shape, wish) } }
  }
  const unused = candidates.map((candidate) => ({ ...candidate, free: candidate.total ?? candidate.free }))
  return refusal(request, { asked: parts, never: typeof placed({ ...request, candidates: unused }) !== 'object' })
}

/**
 * The same over two nodes at least, where that can be: for somebody who wants a model to be shared although one node would do. Half of its
 * layers then go to the nearest other node that has room for them.
 */
export const planShared = (request: PlanRequest): PlanVerdict => {
  const { shape: { layers }, coordinator, candidates, wish } = request
  const verdict = planCluster(request)
  if (verdict.kind === 'refused' || wish.layers || new Set(verdict.plan.members.map(({ node }) => node)).size > 1) return verdict
  const half = Math.ceil(layers.length / 2)
  const others = candidates.filter(({ node }) => node !== coordinator).toSorted((a, b) => (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity))
  for (const node of new Set(others.map((each) => each.node))) {
    const shared = planCluster({ ...request, wish: { ...wish, layers: { [coordinator]: [0, half], [node]: [half, layers.length] } } })
    if (shared.kind === 'planned') return shared
  }
  return verdict
}

/** What each device takes; what is wrong with the wish; or nothing, where there is no way. */
const placed = (request: PlanRequest): Part[] | string | undefined => {
  const { kvType, flashAttention } = request.wish
  if (kvType && isQuantized(kvType) && flashAttention === false) return `a cache of ${kvType} needs flash attention`
  const devices = devicesOf(request)
  // Whatever lies elsewhere, its own process has to fit.
  if (devices.some(({ group, usable }) => group === 0 && usable < 0)) return undefined
  return request.wish.layers ? partsAsAsked(request, devices, request.wish.layers) : partsOf(request, devices)
}

const memberOf = (request: PlanRequest, { device, from, to }: Part, alone: boolean): ClusterMember => {
  const { shape, wish } = request
  const output = to > shape.layers.length
  const end = Math.min(to, shape.layers.length)
  const sum = (bytes: readonly number[]): number => bytes.slice(from, end).reduce((total, each) => total + each, 0)
  return {
    node: device.node,
    device: device.device,
    from,
    to: end,
    output,
    weights: sum(shape.layers) + (output ? shape.output : 0),
    kv: sum(shape.kv.map((perToken) => kvBytes(perToken, wish))),
    compute: besidesOn(device, request, alone) + (output ? outputRoom(shape, wish) : 0),
  }
}

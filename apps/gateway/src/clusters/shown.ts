import { bytesOf, type ClusterMember, type ClusterRecord, type NodeRecord } from '@drover/core'
import type { View } from '../registry-view.ts'

/** A part of a model; bytes, and layers `from` to, but without, `to`. */
export const shownMember = (member: ClusterMember) => {
  const { node, device, from, to, output, weights, kv, compute } = member
  return { node, device, from, to, layers: to - from, output, weights, kv, compute, total: bytesOf(member) }
}

const shownCluster = ({ id }: NodeRecord, { model, state, members, slots, context, tokensPerSecond, since }: ClusterRecord) => ({
  model,
  coordinator: id,
  state,
  members: members.map(shownMember),
  slots,
  context_length: context,
  tokens_per_second: tokensPerSecond ?? null,
  since: new Date(since).toISOString(),
})

/** The models that run over several nodes, as their coordinators show them. */
export const clustersOf = ({ nodes }: Pick<View, 'nodes'>) => nodes.flatMap((node) => (node.clusters ?? []).map((cluster) => shownCluster(node, cluster)))

/** The nodes that lend memory, and how much: bytes. */
const lendersOf = ({ nodes }: Pick<View, 'nodes'>) =>
  nodes.flatMap(({ id, draining, lending }) => (lending ? [{ node: id, draining, devices: lending.devices.map(({ name, kind, total, free }) => ({ name, kind, total, free })) }] : []))

/** What `GET /api/status` tells of models over several nodes. */
export const distributedInference = (view: Pick<View, 'nodes'>) => {
  const [clusters, lenders] = [clustersOf(view), lendersOf(view)]
  const enabled = view.nodes.some(({ engines }) => engines.some(({ layout }) => layout === 'cluster'))
  return {
    // In the words of OLOL (github.com/K2/olol), for those who read them there.
    available: true,
    enabled,
    active: enabled && lenders.length > 0,
    server_count: lenders.length,
    partitioned_models: [...new Set(clusters.map(({ model }) => model))],
    lenders,
    clusters,
    short_of: view.nodes.flatMap(({ id, shortOf = [] }) => shortOf.map(({ model, reason, never }) => ({ model, node: id, reason, never }))),
  }
}

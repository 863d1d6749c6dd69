import { bytesOf, type NodeRecord } from '@drover/core'
import { Gauge, METRIC_PREFIX, type Registry } from '@drover/service'

/** One value of a gauge. */
interface Reading {
  labels: Record<string, string>
  value: number
}

const sum = (readings: readonly Reading[]): Reading[] =>
  [...Map.groupBy(readings, ({ labels }) => JSON.stringify(labels)).values()].map((same) => ({ labels: same[0]!.labels, value: same.reduce((total, { value }) => total + value, 0) }))

const clustersOf = (nodes: readonly NodeRecord[]) => nodes.flatMap(({ clusters = [] }) => clusters)
const devicesOf = (nodes: readonly NodeRecord[]) => nodes.flatMap(({ id, lending }) => (lending?.devices ?? []).map((device) => ({ labels: { node: id, device: device.name }, device })))

/** Gauges of models over several nodes, from what the nodes say: every gateway tells the same. */
const GAUGES: readonly { name: string; help: string; labelNames: string[]; read(nodes: readonly NodeRecord[]): Reading[] }[] = [
  {
    name: 'clusters',
    help: 'Models that run over several nodes',
    labelNames: ['model', 'state'],
    read: (nodes) => sum(clustersOf(nodes).map(({ model, state }) => ({ labels: { model, state }, value: 1 }))),
  },
  {
    name: 'cluster_memory_bytes',
    help: 'Memory that a model over several nodes takes on each of them',
    labelNames: ['model', 'node'],
    read: (nodes) => sum(clustersOf(nodes).flatMap(({ model, members }) => members.map((member) => ({ labels: { model, node: member.node }, value: bytesOf(member) })))),
  },
  {
    name: 'cluster_tokens_per_second',
    help: 'Tokens that a model over several nodes has written a second of late, all slots together',
    labelNames: ['model'],
    read: (nodes) => sum(clustersOf(nodes).flatMap(({ model, tokensPerSecond: value }) => (value === undefined ? [] : [{ labels: { model }, value }]))),
  },
  {
    name: 'lent_memory_bytes',
    help: 'Memory that a node lends when nothing is lent',
    labelNames: ['node', 'device'],
    read: (nodes) => devicesOf(nodes).map(({ labels, device }) => ({ labels, value: device.total })),
  },
  {
    name: 'lent_memory_free_bytes',
    help: 'Memory that a node would lend now',
    labelNames: ['node', 'device'],
    read: (nodes) => devicesOf(nodes).map(({ labels, device }) => ({ labels, value: device.free })),
  },
]

export const clusterGauges = (registry: Registry, nodes: () => readonly NodeRecord[]): void => {
  for (const { name, help, labelNames, read } of GAUGES)
    registry.registerMetric(
      new Gauge({
        name: `${METRIC_PREFIX}${name}`,
        help,
        labelNames,
        registers: [],
        collect() {
          // What has gone is not told any more.
          this.reset()
          for (const { labels, value } of read(nodes())) this.set(labels, value)
        },
      }),
    )
}

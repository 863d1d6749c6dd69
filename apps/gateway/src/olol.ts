import type { ModelName, NodeRecord } from '@drover/core'
import { details, newestHeld } from './models.ts'
import type { View } from './registry-view.ts'

const modelsOf = ({ engines }: NodeRecord): ModelName[] => [...new Set(engines.flatMap(({ held }) => held.map(({ model }) => model)))]

/** A node in the words of OLOL (github.com/K2/olol), whose clients find here what they read there. */
const server = (node: NodeRecord) => ({
  load: node.engines.flatMap(({ busy }) => Object.values(busy)).reduce((sum, count) => sum + count, 0),
  healthy: !node.draining,
  // The cards that a node tells are those of NVIDIA's own tool.
  device_type: node.gpus.length > 0 ? 'cuda' : 'cpu',
  model_count: modelsOf(node).length,
})

const capabilities = (node: NodeRecord) => ({
  device_type: node.gpus.length > 0 ? 'cuda' : 'cpu',
  device_info: { ...(node.memory && { memory: node.memory }), gpus: node.gpus },
  models: modelsOf(node),
})

/** `GET /api/servers`: the nodes by name. */
export const servers = ({ nodes }: View) => ({
  servers: Object.fromEntries(
    nodes.map((node) => {
      const { load, healthy } = server(node)
      return [node.id, { load, healthy, capabilities: capabilities(node) }]
    }),
  ),
  count: nodes.length,
})

/** Tokens that a model has been given where it is in memory (the least of them), and those that it was trained for. */
const contextOf = (view: View, model: ModelName, trained: number | undefined) => {
  const now = view.nodes.flatMap(({ engines }) =>
    engines.flatMap(({ loaded }) => loaded.flatMap((each) => (each.model === model && each.contextLength !== undefined ? [each.contextLength] : []))),
  )
  return { ...(now.length > 0 && { current: Math.min(...now) }), ...(trained !== undefined && { max: trained }) }
}

/** `GET /api/models`: the models by name, each with the nodes that hold it. */
export const models = (view: View) => {
  const named = [...view.holders].flatMap(([model, holders]) => {
    const held = newestHeld(view, model)
    if (!held) return []
    const nodes = [...new Set(holders.map(({ node }) => node.id))].toSorted()
    return [[model, { servers: nodes, details: { ...details(held), size: held.size, digest: held.digest }, context: contextOf(view, model, held.contextLength) }] as const]
  })
  return { models: Object.fromEntries(named), count: named.length }
}

/** OLOL's part of `GET /api/status`. Its `models` is an object, ours a list: that one stays a list. */
export const clusterStatus = ({ nodes, holders }: View) => ({
  servers: Object.fromEntries(nodes.map((node) => [node.id, server(node)])),
  server_count: nodes.length,
  healthy_server_count: nodes.filter(({ draining }) => !draining).length,
  model_count: holders.size,
  // A conversation is bound to no node.
  sessions: 0,
})

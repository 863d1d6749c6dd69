import { canBring, type DesiredMemory, type FleetNode, type ModelName, type NodeRecord } from '@drover/core'

export interface FleetSources {
  nodes: readonly NodeRecord[]
  /** ms since the last sign of life of each node. */
  silent: ReadonlyMap<string, number>
  /** ms for which signs of life could be heard here: where Redis or all of a site was away, nobody is gone for longer. */
  heardMs: number
  /** A node that is gone for so long is not waited for, ms. */
  graceMs: number
  memory: Pick<DesiredMemory, 'brought' | 'seen'>
  /** Models that could not be brought to a node just now. */
  failing(node: string): ReadonlySet<ModelName>
  /** Models that are being deleted on a node; absent: none. */
  leaving?(node: string): ReadonlySet<ModelName>
}

const NONE: ReadonlySet<ModelName> = new Set<ModelName>()

const there = (node: NodeRecord, { failing, leaving }: Pick<FleetSources, 'failing' | 'leaving'>): FleetNode => {
  const gone = leaving?.(node.id) ?? NONE
  const models = (of: 'held' | 'loaded') => new Set(node.engines.flatMap((engine) => engine[of].map(({ model }) => model).filter((model) => canBring(engine, model) && !gone.has(model))))
  return {
    node: node.id,
    // A worker of before takes no such work either.
    state: node.draining || !node.changesModels ? 'drained' : 'there',
    labels: node.labels,
    preference: node.preference,
    startedAt: node.startedAt,
    free: node.gpus.reduce((sum, { free }) => sum + free, node.memory?.free ?? 0),
    held: models('held'),
    loaded: models('loaded'),
    failing: failing(node.id),
    takes: (model) => node.engines.some((engine) => canBring(engine, model)),
  }
}

/** The nodes as they matter to where models are to be: those that are there, and those that may be back soon, with what they had or were to get. */
export const fleetOf = ({ nodes, silent, heardMs, graceMs, memory, ...rest }: FleetSources): FleetNode[] => {
  const living = new Set(nodes.map(({ id }) => id))
  const away = [...silent].filter(([id, ms]) => !living.has(id) && Math.min(ms, heardMs) < graceMs)
  return [
    ...nodes.map((node) => there(node, rest)),
    ...away.map(([id]): FleetNode => {
      const held = new Set([...memory.seen, ...memory.brought].filter(({ node }) => node === id).map(({ model }) => model))
      return { node: id, state: 'away', labels: {}, preference: 0, startedAt: 0, free: 0, held, loaded: NONE, failing: NONE, takes: () => false }
    }),
  ]
}

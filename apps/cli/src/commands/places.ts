import type { ModelStatus, NodeStatus, Status } from '../gateway-client.ts'

/** A model on one engine of one node. */
export interface Place {
  node: string
  engine: string
  kind: string
  /** Nodes whose memory it lies in, besides, where it runs over several. */
  others: string[]
  version: string | undefined
  held: ModelStatus
}

/** Every place of every model, by its name. */
export const placesOf = ({ nodes, distributed_inference: { clusters } = { clusters: [] } }: Status): Map<string, Place[]> => {
  const places = new Map<string, Place[]>()
  const membersOf = (node: string, model: string) => clusters.filter((each) => each.coordinator === node && each.model === model).flatMap(({ members }) => members.map((member) => member.node))
  for (const { id: node, engines } of nodes)
    for (const { id: engine, kind, layout, version, models } of engines)
      for (const held of models) {
        const members = layout === 'cluster' ? membersOf(node, held.model) : []
        const place: Place = { node, engine, kind, others: [...new Set(members)].filter((each) => each !== node), version, held }
        const known = places.get(held.model)
        if (known) known.push(place)
        else places.set(held.model, [place])
      }
  return places
}

export const nodeNames = (places: readonly Place[]): string[] => [...new Set(places.map(({ node }) => node))]

/** Different weights under one name: an answer then depends on where it was made. */
export const digestsDiffer = (places: readonly Place[]): boolean =>
  new Set(places.flatMap(({ held }) => (held.digest === undefined ? [] : [held.digest]))).size > 1

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)

/**
 * Slots of a node that are taken, and that there are with the models that are in memory now; an engine with none in memory counts as
 * what it would have with one.
 */
export const slotsOf = ({ engines }: Pick<NodeStatus, 'engines'>): { busy: number; slots: number } => ({
  busy: sum(engines.flatMap(({ models }) => models.map(({ busy }) => busy))),
  slots: sum(
    engines.map(({ models }) => {
      const inUse = models.filter(({ loaded, busy }) => loaded || busy > 0)
      return inUse.length > 0 ? sum(inUse.map(({ slots }) => slots)) : Math.max(0, ...models.map(({ slots }) => slots))
    }),
  ),
})

/** A node that could hold a model. */
export interface ModelHost {
  node: string
  /** It has the model. */
  holds: boolean
  /** Higher is preferred. */
  preference: number
  /** Bytes of memory that are free on it, cards included; 0 where it does not tell. */
  free: number
  /** Bytes that are free where it keeps its models; absent: it does not tell. */
  disk?: number | undefined
  /** Models that it holds. */
  models: number
}

export interface Placement {
  /** Nodes that are to get the model, the best first; the first `missing` of them are enough. */
  on: string[]
  /** Copies that are wanted and not there. */
  missing: number
}

/** By preference, then by free memory, by room on the disk, and by who holds the fewest; the name decides what is left, so that all who look choose alike. */
export const byFitness = (a: ModelHost, b: ModelHost): number =>
  b.preference - a.preference || b.free - a.free || (b.disk ?? 0) - (a.disk ?? 0) || a.models - b.models || (a.node < b.node ? -1 : 1)

/** Whether a copy of so many bytes has room on a node's disk, as far as is known. */
export const hasRoom = ({ holds, disk }: ModelHost, bytes: number | undefined): boolean => holds || disk === undefined || bytes === undefined || bytes <= disk

/** Where copies of a model are to go, so that `replicas` nodes have it; those that hold it count. */
export const placeModel = (hosts: readonly ModelHost[], replicas: number): Placement => {
  const held = hosts.filter(({ holds }) => holds).length
  const others = hosts.filter(({ holds }) => !holds).toSorted(byFitness)
  return { on: others.map(({ node }) => node), missing: Math.max(0, replicas - held) }
}

/** Nodes that may do something with a model, or make one of it: those that hold it before all others. */
export const inOrder = (hosts: readonly ModelHost[]): ModelHost[] => hosts.toSorted((a, b) => Number(b.holds) - Number(a.holds) || byFitness(a, b))

/** The first of them; `undefined`: there is none. */
export const bestHost = (hosts: readonly ModelHost[]): string | undefined => inOrder(hosts)[0]?.node

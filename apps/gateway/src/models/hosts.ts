import type { IncomingHttpHeaders } from 'node:http'
import { BrokerError, byFitness, canBring, hasRoom, holdsItself, inGigabytes, isOnHub, type ModelHost, type ModelName, type NodeRecord } from '@drover/core'
import type { View } from '../registry-view.ts'

const hostOf = (node: NodeRecord, model: ModelName): ModelHost => ({
  node: node.id,
  holds: node.engines.some((engine) => canBring(engine, model) && engine.held.some((held) => held.model === model)),
  preference: node.preference,
  free: node.gpus.reduce((sum, { free }) => sum + free, node.memory?.free ?? 0),
  disk: node.disk,
  models: new Set(node.engines.flatMap(({ held }) => held.map((each) => each.model))).size,
})

/** Why a node takes no work on its models just now. */
const idleness = (node: NodeRecord): string | undefined => {
  if (node.draining) return 'takes no work: it is drained, or is being stopped'
  return node.changesModels ? undefined : 'has a worker of a version that does not change models'
}

/** Why a model cannot be brought to a node just now, nor changed there. */
const unfitness = (node: NodeRecord, model: ModelName): string | undefined => {
  if (!node.engines.some((engine) => canBring(engine, model))) return 'has no Ollama that may hold it'
  return idleness(node)
}

/** The same of a pull: a model of the hub is brought into a models folder, too. */
export const pullUnfitness = (node: NodeRecord, model: ModelName): string | undefined => {
  const isForFolder = isOnHub(model) && node.copies?.into.includes('folder') === true
  return isForFolder ? idleness(node) : unfitness(node, model)
}

const pulledHost = (node: NodeRecord, model: ModelName): ModelHost => ({ ...hostOf(node, model), holds: node.engines.some((engine) => holdsItself(engine, model)) })

/** Nodes that could hold a model, or do. */
export const hostsFor = ({ nodes }: Pick<View, 'nodes'>, model: ModelName): ModelHost[] => nodes.filter((node) => unfitness(node, model) === undefined).map((node) => hostOf(node, model))

/** What a copy of a model needs on a disk, where a node that holds one tells. */
const bytesOfCopy = ({ holders }: Pick<View, 'holders'>, model: ModelName): number | undefined => {
  const sizes = (holders.get(model) ?? []).flatMap(({ held: { size } }) => (size > 0 ? [size] : []))
  return sizes.length > 0 ? Math.max(...sizes) : undefined
}

/** Nodes that a model may be brought to, as far as their labels and their disks say, and those that hold it; and who is left out for its disk. */
export const placesFor = (view: Pick<View, 'nodes' | 'holders'>, model: ModelName, labels: Readonly<Record<string, string>> = {}): { hosts: ModelHost[]; full: string[] } => {
  const bytes = bytesOfCopy(view, model)
  const labelled = new Set(view.nodes.filter((node) => Object.entries(labels).every(([name, value]) => node.labels[name] === value)).map(({ id }) => id))
  const able = view.nodes.filter((node) => labelled.has(node.id) && pullUnfitness(node, model) === undefined).map((node) => pulledHost(node, model))
  const full = able.filter((host) => !hasRoom(host, bytes)).map(({ node, disk = 0 }) => `${node} (${inGigabytes(disk)})`)
  return { hosts: able.filter((host) => hasRoom(host, bytes)), full }
}

/** Those that a request names in `x-drover-nodes`; `undefined`: it names none. @throws BrokerError `bad_request` for one that cannot do it */
export const namedNodes = ({ 'x-drover-nodes': given }: IncomingHttpHeaders, { nodes }: Pick<View, 'nodes'>, model: ModelName, unfit = unfitness): string[] | undefined => {
  if (given === undefined) return undefined
  const names = [...new Set(String(given).split(',').map((name) => name.trim()).filter(Boolean))]
  if (names.length === 0) throw new BrokerError('bad_request', 'invalid x-drover-nodes header: it is the name of a node, or several with commas between them')
  for (const name of names) {
    const node = nodes.find(({ id }) => id === name)
    const why = node ? unfit(node, model) : 'is not there'
    if (why !== undefined) throw new BrokerError('bad_request', `node '${name.slice(0, 64)}' ${why}`)
  }
  return names
}

/** A node that holds a model, and what keeps it from changing that. */
export interface HoldingNode {
  node: string
  unfit?: string
}

/** All nodes that hold a model, whatever engine runs it. */
export const holdersOf = ({ nodes, holders }: Pick<View, 'nodes' | 'holders'>, model: ModelName): HoldingNode[] => {
  const held = holders.get(model) ?? []
  return nodes.flatMap((node): HoldingNode[] => {
    const here = held.filter((holder) => holder.node.id === node.id)
    if (here.length === 0) return []
    const unfit = unfitness(node, model) ?? (here.some(({ engine }) => canBring(engine, model)) ? undefined : 'holds it on an engine that is no Ollama: its file is to be changed there')
    return [{ node: node.id, ...(unfit !== undefined && { unfit }) }]
  })
}

/** A node with an engine of its own that holds a model, and what keeps it from changing what is in its memory. */
export interface MemoryHost extends ModelHost {
  loaded: boolean
  unfit?: string
}

const inMemory = (node: NodeRecord, model: ModelName): MemoryHost | undefined => {
  const engines = node.engines.filter((engine) => holdsItself(engine, model))
  if (engines.length === 0) return undefined
  const unfit = idleness(node)
  return { ...hostOf(node, model), holds: true, loaded: engines.some(({ loaded }) => loaded.some((each) => each.model === model)), ...(unfit !== undefined && { unfit }) }
}

/** Nodes that could have a model in memory, or have it: those before all others, then by fitness. */
export const memoryHosts = ({ nodes }: Pick<View, 'nodes'>, model: ModelName): MemoryHost[] =>
  nodes.flatMap((node) => inMemory(node, model) ?? []).toSorted((a, b) => Number(b.loaded) - Number(a.loaded) || byFitness(a, b))

/** Why a node cannot change whether a model is in its memory. */
export const memoryUnfitness = (node: NodeRecord, model: ModelName): string | undefined => {
  const host = inMemory(node, model)
  return host ? host.unfit : 'does not hold it'
}

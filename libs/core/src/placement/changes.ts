import type { ModelName } from '../job.ts'
import type { DesiredMemory, DesiredState, LoadedPlace, NamedWish, Place } from './desired.ts'
import { byFitness } from './placement.ts'

/** A node as it matters to where models are to be. One that has been gone for too long to wait for it is none. */
export interface FleetNode {
  node: string
  /** `drained`: it takes no work on models, and what it has counts; `away`: it is gone, and may be back soon: what it had counts. */
  state: 'there' | 'drained' | 'away'
  labels: Readonly<Record<string, string>>
  preference: number
  /** Epoch ms at which its worker started. */
  startedAt: number
  /** Bytes of memory that are free on it, cards included. */
  free: number
  /** Models that can be changed there. Of one that is away: those that counted when it was last seen. */
  held: ReadonlySet<ModelName>
  loaded: ReadonlySet<ModelName>
  /** Models that could not be brought to it just now. */
  failing: ReadonlySet<ModelName>
  takes(model: ModelName): boolean
}

/** One step towards a desired state. */
export type Change = Place & ({ action: 'pull'; written: string } | { action: 'delete' } | { action: 'load'; startedAt: number; keepAlive?: string | undefined; numCtx?: number | undefined } | { action: 'unload' })

/** What is not as it is to be. */
export interface Drift {
  model: ModelName
  text: string
}

export interface Changes {
  actions: Change[]
  drift: Drift[]
  /** Copies that count now, and those whose nodes are gone and that have not been replaced. */
  counted: Place[]
}

export interface ChangesInput {
  desired: DesiredState
  nodes: readonly FleetNode[]
  memory: DesiredMemory
}

const at = ({ model, node }: Place): string => `${model} ${node}`
const isSame = (a: LoadedPlace | undefined, b: Pick<LoadedPlace, 'startedAt' | 'keepAlive' | 'numCtx'>): boolean =>
  a !== undefined && !a.pending && a.startedAt === b.startedAt && a.keepAlive === b.keepAlive && a.numCtx === b.numCtx
const isAmong = ({ node, labels, state }: FleetNode, wish: NamedWish): boolean =>
  wish.nodes ? wish.nodes.includes(node) : state === 'away' || Object.entries(wish.labels ?? {}).every(([name, value]) => labels[name] === value)
const without = (reason: string, nodes: readonly { node: string }[]): string => (nodes.length === 0 ? '' : `; ${nodes.map(({ node }) => node).toSorted().join(', ')} ${reason}`)

type Order = (a: FleetNode, b: FleetNode) => number

/** What fits a rule goes first, by the first rule that tells two apart; where none does, by `rest`. */
const byRules = (rest: Order, ...rules: ((each: FleetNode) => boolean)[]): Order => (a, b) => {
  for (const rule of rules) if (rule(a) !== rule(b)) return rule(a) ? -1 : 1
  return rest(a, b)
}

/** The first `most` in an order. */
const firstOf = (nodes: readonly FleetNode[], most: number, order: Order): FleetNode[] => {
  const left = new Set(nodes)
  return Array.from({ length: Math.min(most, nodes.length) }, () => {
    const first = [...left].reduce((best, each) => (order(each, best) < 0 ? each : best))
    left.delete(first)
    return first
  })
}

/** By fitness, each node's memory shared out over the copies that it is to have: else all models would go to the node with the most. */
const byShare = (copies: ReadonlyMap<string, number>): Order => {
  const host = ({ node, preference, free, held }: FleetNode) => ({ node, preference, free: free / (1 + (copies.get(node) ?? 0)), models: held.size, holds: false })
  return (a, b) => byFitness(host(a), host(b))
}

/**
 * What is to be done so that nodes have what is described, and what is missing until then. A copy stays where it is; one that is too many
 * goes only when it was brought for this, `prune` says so, and all that are wanted are there. When nothing is to be done, nothing is
 * answered; what is done changes what is to be done next (a surplus goes when the copies are there), but never turns back.
 */
export const changesTo = ({ desired, nodes, memory }: ChangesInput): Changes => {
  const brought = new Set(memory.brought.map(at))
  const loadedAs = new Map(memory.loaded.map((each) => [at(each), each]))
  const changes: Changes = { actions: [], drift: [], counted: [] }
  const there = nodes.filter(({ state }) => state === 'there')
  const copies = new Map(nodes.map(({ node, held }) => [node, [...held].filter((model) => desired.models.has(model)).length]))
  const order = byShare(copies)
  const drop = (model: ModelName, from: readonly FleetNode[], mayDelete: boolean) => {
    for (const { node, held, loaded } of from) {
      const goes = mayDelete && held.has(model) && brought.has(at({ model, node }))
      if (!goes && !(loaded.has(model) && loadedAs.has(at({ model, node })))) continue
      changes.actions.push({ action: goes ? 'delete' : 'unload', model, node })
      changes.drift.push({ model, text: `${model}: still ${goes ? '' : 'loaded '}on ${node}` })
    }
  }

  for (const [model, wish] of desired.models) {
    const among = nodes.filter((each) => isAmong(each, wish))
    const holders = among.filter(({ held }) => held.has(model))
    const wanted = wish.nodes?.length ?? wish.replicas ?? 1
    const missing = Math.max(0, wanted - holders.length)
    const gone = missing === 0 ? [] : memory.seen.filter((each) => each.model === model && !nodes.some(({ node }) => node === each.node))
    changes.counted.push(...holders.map(({ node }) => ({ model, node })), ...gone)

    const able = among.filter(({ state, held, takes }) => state === 'there' && !held.has(model) && takes(model))
    const chosen = firstOf(able, missing, byRules(order, (each) => !each.failing.has(model), (each) => brought.has(at({ model, node: each.node }))))
    for (const { node } of chosen) {
      changes.actions.push({ action: 'pull', model, node, written: wish.written })
      copies.set(node, (copies.get(node) ?? 0) + 1)
    }
    if (missing > 0) changes.drift.push({ model, text: `${model}: ${holders.length} of ${wanted} copies${without('is gone', gone)}${shortage(model, wish, { nodes, among, chosen, missing })}` })

    // Where there are more than enough: those that cannot go anyway stay, and those in memory before others.
    const staying = byRules(order, (each) => loadedAs.has(at({ model, node: each.node })), (each) => !brought.has(at({ model, node: each.node })), (each) => each.loaded.has(model))
    const kept = firstOf(holders.filter(({ state }) => state === 'there'), wanted, staying)
    drop(model, there.filter((each) => !kept.includes(each)), desired.prune && kept.length === wanted)
    if (!wish.preload) {
      drop(model, kept, false)
      continue
    }
    const { keepAlive, numCtx } = wish
    for (const { node, loaded, startedAt } of kept) {
      if (loaded.has(model) && isSame(loadedAs.get(at({ model, node })), { startedAt, keepAlive, numCtx })) continue
      changes.actions.push({ action: 'load', model, node, startedAt, keepAlive, numCtx })
      changes.drift.push({ model, text: `${model}: not loaded on ${node}${loaded.has(model) ? ' as described' : ''}` })
    }
  }
  const described = ({ model }: Place) => desired.models.has(model)
  for (const model of new Set([...memory.brought, ...memory.loaded].filter((each) => !described(each)).map((each) => each.model))) drop(model, there, desired.prune)
  return changes
}

interface Shortage {
  nodes: readonly FleetNode[]
  among: readonly FleetNode[]
  chosen: readonly FleetNode[]
  missing: number
}

/** Why copies are missing that no node is to get now. */
const shortage = (model: ModelName, { nodes: pinned = [] }: NamedWish, { nodes, among, chosen, missing }: Shortage): string => {
  if (chosen.length === missing) return ''
  const lacking = among.filter(({ held }) => !held.has(model))
  const reasons =
    without('is not there', pinned.filter((node) => !nodes.some((each) => each.node === node)).map((node) => ({ node }))) +
    without('is drained', lacking.filter(({ state }) => state === 'drained')) +
    without('is away', lacking.filter(({ state }) => state === 'away')) +
    without('cannot hold it', lacking.filter(({ state, takes }) => state === 'there' && !takes(model)))
  return pinned.length > 0 ? reasons : `; no further node that could hold it is there${reasons}`
}

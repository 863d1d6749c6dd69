import type { Change, DesiredMemory, FleetNode, LoadedPlace, Place } from '@drover/core'

/** Most copies that are remembered. */
const MOST = 20_000

export interface RememberInput {
  nodes: readonly FleetNode[]
  /** Copies that count now. */
  counted: readonly Place[]
  /** What is about to be done: it is written down before. */
  due: readonly Change[]
  /** Whether something is under way there, or such a change is still to be done and did not fail. */
  isOpen(change: Pick<Change, 'action' | 'model' | 'node'>): boolean
}

const isAt =
  (place: Place) =>
  (each: Place): boolean =>
    each.model === place.model && each.node === place.node

/** What there is to remember now. Of nodes that are not there nothing is forgotten: it may be there when they come back. */
export const remember = (memory: DesiredMemory, { nodes, counted, due, isOpen }: RememberInput): DesiredMemory => {
  const byName = new Map(nodes.filter(({ state }) => state !== 'away').map((each) => [each.node, each]))
  const stays = (of: 'held' | 'loaded', action: 'pull' | 'load') => (place: Place) => {
    const node = byName.get(place.node)
    return !node || node[of].has(place.model) || isOpen({ ...place, action })
  }
  const brought = memory.brought.filter(stays('held', 'pull'))
  const loaded = memory.loaded.filter(stays('loaded', 'load'))
  for (const change of due) {
    const { action, model, node } = change
    if (action === 'pull' && !brought.some(isAt(change))) brought.push({ model, node })
    if (action === 'load') {
      const wish: LoadedPlace = { model, node, startedAt: change.startedAt, ...(change.keepAlive !== undefined && { keepAlive: change.keepAlive }), ...(change.numCtx !== undefined && { numCtx: change.numCtx }), pending: true }
      loaded.splice(0, loaded.length, ...loaded.filter((each) => !isAt(wish)(each)), wish)
    }
  }
  return { brought: brought.slice(-MOST), loaded: loaded.slice(-MOST), seen: counted.slice(-MOST) }
}

/** What is to be remembered of a change that was done. */
export const doneIn = (memory: DesiredMemory, change: Change): DesiredMemory => {
  const others = <T extends Place>(places: readonly T[]): T[] => places.filter((each) => !isAt(change)(each))
  switch (change.action) {
    case 'pull':
      return memory
    case 'load':
      return { ...memory, loaded: memory.loaded.map((each) => (isAt(change)(each) ? { ...each, pending: false } : each)) }
    case 'unload':
      return { ...memory, loaded: others(memory.loaded) }
    case 'delete':
      return { ...memory, brought: others(memory.brought), loaded: others(memory.loaded) }
    default:
      return change satisfies never
  }
}

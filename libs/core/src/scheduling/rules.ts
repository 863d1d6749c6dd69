import type { Choice, LaneState, NodeView, SchedulingRule } from './view.ts'

const oldest = <L extends LaneState>(lanes: readonly L[]): L | undefined =>
  lanes.reduce<L | undefined>((best, lane) => (best && best.headAge >= lane.headAge ? best : lane), undefined)

const take = <L extends LaneState>(lane: L | undefined, reason: string): Choice<L> | undefined =>
  lane && { kind: 'take', lane, reason }

/**
 * Nor does batch work starve, of which whole lanes wait for hours: each lane has a job taken now and then, however much interactive work there
 * is and whichever models are loaded.
 */
export const batchOverdue: SchedulingRule = (view) =>
  take(oldest(view.lanes.filter((lane) => lane.class === 'batch' && Math.min(lane.headAge, lane.unservedMs ?? Infinity) > view.bounds.batchWait)), 'overdue')

/** Nothing starves: whoever has waited beyond the bound goes first. */
export const overdue: SchedulingRule = (view) => take(oldest(view.lanes.filter((lane) => lane.class === 'interactive' && lane.headAge > view.bounds.wait)), 'overdue')

/** Swapping a model costs seconds, so a loaded model's lane goes before others of its class. Batch work so stays with a model until its lane is empty. */
export const preferLoaded: SchedulingRule = (view) => {
  const interactive = view.lanes.filter((lane) => lane.class === 'interactive')
  return take(oldest((interactive.length > 0 ? interactive : view.lanes).filter((lane) => lane.loaded)), 'loaded')
}

/** People wait at the other end of interactive jobs. */
export const interactiveFirst: SchedulingRule = (view) => take(oldest(view.lanes.filter((lane) => lane.class === 'interactive')), 'interactive')

export const oldestFirst: SchedulingRule = (view) => take(oldest(view.lanes), 'oldest')

/** In this order; the first that has an answer decides. */
export const rules = { 'batch-overdue': batchOverdue, overdue, 'prefer-loaded': preferLoaded, 'interactive-first': interactiveFirst, 'oldest-first': oldestFirst } satisfies Record<string, SchedulingRule>

/** How long this node leaves a lane to a better one that has a free slot, ms; 0: not at all. */
const leaveFor = <L extends LaneState>(lane: L, view: NodeView<L>): number =>
  lane.peerPreference !== undefined && lane.peerPreference > view.preference ? Math.max(0, view.bounds.leave - lane.headAge) : 0

/** Which lane a free slot serves next. `undefined` only when nothing waits. */
export const schedule = <L extends LaneState>(view: NodeView<L>): Choice<L> | undefined => {
  const left = view.lanes.map((lane) => ({ lane, forMs: leaveFor(lane, view) }))
  const lanes = left.filter(({ forMs }) => forMs === 0).map(({ lane }) => lane)
  if (lanes.length === 0) return left.length > 0 ? { kind: 'leave', lanes: left, reason: 'better-node' } : undefined
  for (const rule of Object.values(rules)) {
    const choice = rule({ ...view, lanes })
    if (choice) return choice
  }
  return undefined
}

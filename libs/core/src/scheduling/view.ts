import type { JobClass, ModelName } from '../job.ts'

/** A lane with something in it, as a node sees it that has a free slot for its model. */
export interface LaneState {
  model: ModelName
  class: JobClass
  /** Jobs waiting, at least 1. */
  waiting: number
  /** ms that the job at the head has waited. */
  headAge: number
  /** An engine of this node has the model in memory. */
  loaded: boolean
  /** The best preference among the other nodes that have a free slot for the model; absent: there is none. */
  peerPreference?: number
}

export interface NodeView<L extends LaneState = LaneState> {
  lanes: readonly L[]
  /** This node's own preference. */
  preference: number
  bounds: {
    /** A head that has waited longer than this goes first, whatever speaks for others: nothing starves. ms */
    wait: number
    /** How long a job is left to a preferred node. ms */
    leave: number
  }
}

/** What to do next, and why in a word. `leave`: these lanes are for a better node until so many ms from now. */
export type Choice<L extends LaneState = LaneState> =
  | { kind: 'take'; lane: L; reason: string }
  | { kind: 'leave'; lanes: readonly { lane: L; forMs: number }[]; reason: string }

export type SchedulingRule = <L extends LaneState>(view: NodeView<L>) => Choice<L> | undefined

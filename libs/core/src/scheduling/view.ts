import type { JobClass, ModelName } from '../job.ts'

/** A lane with something in it, as a node sees it that has a free slot for its model. */
export interface LaneState {
  model: ModelName
  class: JobClass
  /** Jobs waiting, at least 1. */
  waiting: number
  /** ms that the job that waits longest has waited; by fair share it need not be the next. */
  headAge: number
  /** ms that this node has taken nothing from it while something waited; absent: as long as the oldest has waited. */
  unservedMs?: number
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
    /** An interactive lane with a job that has waited longer than this goes first, whatever speaks for others: nothing starves. ms */
    wait: number
    /** The same for batch work, which waits anyway: a lane of it from which this node has taken nothing for longer than this has one job taken first. ms */
    batchWait: number
    /** How long a job is left to a preferred node. ms */
    leave: number
  }
}

/** What to do next, and why in a word. `leave`: these lanes are for a better node until so many ms from now. */
export type Choice<L extends LaneState = LaneState> =
  | { kind: 'take'; lane: L; reason: string }
  | { kind: 'leave'; lanes: readonly { lane: L; forMs: number }[]; reason: string }

export type SchedulingRule = <L extends LaneState>(view: NodeView<L>) => Choice<L> | undefined

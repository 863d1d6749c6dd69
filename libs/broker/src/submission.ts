import { BrokerError, type ErrorCode, type Job, type JobId, type Owner, type Requirements } from '@drover/core'
import { LimitReached, readStanding, type Charged, type LimitName, type ToldStanding } from './limit-reached.ts'

/** What a request brings; the rest of a `Job` is made here. */
export interface Submission extends Pick<Job, 'dialect' | 'model' | 'asked' | 'class' | 'stream' | 'slots' | 'resume'> {
  /** Its id, where who submits it must find it again by something else: of two that are submitted under one id the first is the job, and both follow it. Made of what its owner alone knows. */
  id?: JobId
  /** Whose the job is. */
  owner: Owner
  /** The client's request, JSON text. */
  body: string
  /** Of the engine that answers it; absent: nothing but that it holds the model. */
  requires?: Requirements | undefined
  /** It is work on what this node holds, and goes to its lane; absent: to the model's. */
  node?: string
  /** Wanted even when nobody follows. */
  background?: boolean
  /** From submit to the end at the latest, ms. */
  timeoutMs: number
  /** How long it is kept after its end, ms, if longer than a moment. */
  keepMs?: number
  /** Its end is told to webhooks: to all of its owner's (`*`) or to the one with this id. Absent: to nobody. */
  hook?: string | undefined
  /** Refused when so many wait or run in its lane already; absent: no such bound. */
  mostAhead?: number | undefined
  /** What it is expected to cost an engine, for its owner's share; absent: reckoned from its length. */
  tokens?: number
  /** 1 to 10, 5 by default: more of the lane for its owner. */
  priority?: number
  /** Its owner's limits, where it counts against them. */
  charged?: Charged | undefined
  /** Stands in the list of its owner's jobs while it is kept, unless so many do. */
  mostListed?: number | undefined
  /** Of a request that may be repeated and is to be one job: who repeats it follows that one. Of its ids the one that is `id`, or the first that is not over. */
  once?: Once | undefined
}

/** What tells that a request is a repetition. */
export interface Once {
  /** Ids that its owner can make again, from 0 on: each counts when the job of the one before it was cancelled or deleted. */
  id(turn: number): JobId
  /** The same for the same request only. */
  fingerprint: string
}

/** What came of a submission that nobody follows here. */
export interface HandedIn {
  id: JobId
  /** The job was there already. */
  repeated: boolean
  /** What was in its lane before it; of one that was there already nothing is known. */
  ahead?: Ahead
}

/** Redis has no memory left for new jobs, or nearly none. */
export class MemoryFull extends BrokerError {
  constructor(options: ErrorOptions = {}) {
    super('queue_full', "server busy, please try again.  the job queue's memory is nearly full", options)
  }
}

/** Jobs that were in a lane before another. */
export interface Ahead {
  waiting: number
  running: number
}

/** A lane takes no more: `jobs`, `bytes`: it is full; `wait`: too many are ahead. */
export class LaneFull extends BrokerError {
  readonly bound: 'jobs' | 'bytes' | 'wait'
  readonly ahead: Ahead
  constructor(bound: 'jobs' | 'bytes' | 'wait', ahead: Ahead) {
    super('queue_full', `server busy, please try again.  ${WHY_FULL[bound]}`)
    this.bound = bound
    this.ahead = ahead
  }
}
const WHY_FULL = {
  jobs: 'maximum pending requests exceeded',
  bytes: 'the requests that wait for this model are too large together',
  wait: 'the wait for this model would be too long',
}

/** Of so many jobs the answers are kept for their owner that there are to be no more. */
export class TooManyKept extends BrokerError {
  constructor() {
    super('rate_limited', 'too many of your jobs are kept: delete some that have ended (DELETE /api/jobs/JOB), or let them go sooner (x-drover-keep)')
  }
}

export const keyReused = () => new BrokerError('key_reused', 'this Idempotency-Key was used for another request')
export const tooManyTurns = () => new BrokerError('rate_limited', 'too many requests with this Idempotency-Key were cancelled or deleted: use another')

/** What `submit` answers. */
export type Answered =
  | [1, number, number, next?: number | ToldStanding, repeated?: 0 | 1]
  | [0, number, number, LaneFull['bound'] | 'kept']
  | [0, number, number, 'limit', LimitName, number, ToldStanding]
  | [2, 'other' | 'over']

/** `undefined`: the job of this id is over, and the request wants another. @throws BrokerError for a refusal */
export const readAnswer = (answer: Answered, charged?: Charged): { ahead?: Ahead; next?: number; repeated: boolean } | undefined => {
  if (answer[0] === 2) {
    if (answer[1] === 'over') return undefined
    throw keyReused()
  }
  const [accepted, waiting, running] = answer
  if (accepted === 0) {
    if (answer[3] !== 'limit') throw answer[3] === 'kept' ? new TooManyKept() : new LaneFull(answer[3], { waiting, running })
    const [, , , , which, retryMs, told] = answer
    const standing = readStanding(told)
    charged?.tell?.(standing)
    throw new LimitReached({ which, limits: charged?.limits ?? {}, retryMs })
  }
  const [, , , more, repeated] = answer
  if (Array.isArray(more)) charged?.tell?.(readStanding(more))
  if (waiting >= 0) return { ahead: { waiting, running }, repeated: false }
  return { ...(typeof more === 'number' && { next: more }), repeated: repeated === 1 }
}

/** Redis has answered, and nothing was accepted. */
export const isRefusal = (error: unknown): boolean => error instanceof BrokerError && REFUSALS.has(error.code)
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['queue_full', 'rate_limited', 'quota_exceeded', 'key_reused'])

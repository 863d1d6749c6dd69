import { DialectId, toErrorInfo, type BrokerError, type JobId } from '@drover/core'
import type { Redis } from 'ioredis'
import type { Keys, Lane } from './keys.ts'
import type { Lanes } from './lanes.ts'
import { LINGER_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'

/** What is known of a request that waits in its lane. A gateway of a later version may have put it there. */
export interface WaitingRequest {
  /** Absent: one that this version does not know. */
  dialect?: DialectId
  /** The model's name as its client wrote it. */
  asked: string
}
/** One whose API is known: it can be answered. */
export type AnswerableRequest = Required<WaitingRequest>

export interface WaitingJobsOptions {
  redis: Redis
  keys: Keys
  base: string
  lanes: Lanes
  scripts: Scripts
}

/** So many jobs of a lane are looked at for one that is wanted. */
const MOST_LOOKED_AT = 1_000
/** So many are ended at once. */
const AT_ONCE = 200

/** Of a lane: where its jobs are, and what it leaves behind when there is none. */
const PLACES = ['prioritized', 'wait', 'active', 'delayed']
const REMAINS = ['marker', 'meta', 'id', 'completed', 'events', 'pc', 'stalled', 'stalled-check', 'ranks', 'since']

/** Jobs that wait in a lane which nobody serves. */
export class WaitingJobs {
  #options: WaitingJobsOptions

  constructor(options: WaitingJobsOptions) {
    this.#options = options
  }

  /** One of them that somebody wants; `undefined`: there is none. `mayJudge`: gateways that are silent may be taken for dead. */
  async wanted(lane: Lane, mayJudge: boolean): Promise<WaitingRequest | undefined> {
    const { keys, scripts, base } = this.#options
    const id = (await scripts.awaited([keys.ofLane(lane, 'prioritized'), keys.ofLane(lane, 'wait')], [base, mayJudge ? 1 : 0, MOST_LOOKED_AT])) as JobId | ''
    return id === '' ? undefined : this.#read(lane, id)
  }

  /** Ends all that wait as failed, each with the error that is made for it; those of APIs that are not known here are left to whoever took them. @returns how many */
  async refuse(lane: Lane, errorFor: (request: AnswerableRequest) => BrokerError): Promise<number> {
    const { redis, keys } = this.#options
    const [recovered, ranked] = (await Promise.all([redis.lrange(keys.ofLane(lane, 'wait'), 0, -1), redis.zrange(keys.ofLane(lane, 'prioritized'), '0', '-1')])) as [JobId[], JobId[]]
    const ids = [...recovered, ...ranked]
    let ended = 0
    for (let i = 0; i < ids.length; i += AT_ONCE) {
      const those = await Promise.all(ids.slice(i, i + AT_ONCE).map((id) => this.#refuse(lane, id, errorFor)))
      ended += those.filter(Boolean).length
    }
    return ended
  }

  /** Takes away a lane in which nothing is, until its next job comes. @returns whether nothing was */
  async forget(lane: Lane): Promise<boolean> {
    const { keys, scripts } = this.#options
    return (await scripts.forget([keys.lanes, keys.bytes, ...[...PLACES, ...REMAINS].map((name) => keys.ofLane(lane, name))], [lane])) === 1
  }

  async #refuse(lane: Lane, id: JobId, errorFor: (request: AnswerableRequest) => BrokerError): Promise<boolean> {
    const { keys, scripts, base, lanes } = this.#options
    const request = await this.#read(lane, id)
    if (request?.dialect === undefined) return false
    const { dialect, asked } = request
    const of = [keys.job(id), keys.ofLane(lane, 'prioritized'), keys.ofLane(lane, 'wait')]
    const ended = await scripts.refuse(of, [base, LINGER_MS, id, JSON.stringify(toErrorInfo(errorFor({ dialect, asked })))])
    if (ended === 1) await lanes.remove(lane, id)
    return ended === 1
  }

  async #read(lane: Lane, id: JobId): Promise<WaitingRequest | undefined> {
    const { redis, keys } = this.#options
    // BullMQ's own hash of the job.
    const envelope = await redis.hget(keys.ofLane(lane, id), 'data')
    if (envelope === null) return undefined
    const { dialect, asked } = JSON.parse(envelope) as { dialect?: unknown; asked?: unknown }
    const known = DialectId.safeParse(dialect)
    return typeof asked === 'string' ? { asked, ...(known.success && { dialect: known.data }) } : undefined
  }
}

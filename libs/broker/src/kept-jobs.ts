import { ErrorInfo, TerminalRecord, type Caller, type DialectId, type JobId, type Owner } from '@drover/core'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import { shownLane, type Keys, type Lane, type ShownLane } from './keys.ts'
import { LINGER_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'

/** Where a job is: its outcome once it has ended. */
export type JobState = 'queued' | 'running' | TerminalRecord['outcome']

/** What is known of one job. Times are epoch ms by Redis' clock. */
export interface KeptJob extends ShownLane {
  id: JobId
  owner: Owner
  lane: Lane
  dialect: DialectId
  stream: boolean
  background: boolean
  /** Of a listed job. */
  priority?: number
  state: JobState
  attempts: number
  /** When all of this was so. */
  seenAt: number
  /** Who runs it, or did so last. */
  node?: string
  /** Of a job that waits in its lane. */
  ahead?: { waiting: number; running: number }
  record?: TerminalRecord
  /** Of its last attempt that failed; it goes on. */
  failure?: ErrorInfo
  createdAt: number
  deadlineAt: number
  startedAt?: number
  /** Of a listed job that is streamed. */
  firstTextAt?: number
  endedAt?: number
  /** When what is kept of an ended job goes. */
  expiresAt?: number
}

/** Listed jobs by when they were submitted, the newest first. */
export interface Page {
  jobs: KeptJob[]
  /** Behind which of them the next page begins; absent: there is no more. */
  last?: ListPlace
}

/** Where a job stands in a list. */
export interface ListPlace {
  at: number
  id: string
}

export interface ListOptions {
  /** Absent: of all owners. */
  owner?: Owner | undefined
  /** Behind that one. */
  behind?: ListPlace | undefined
  /** Submitted then or later, and before, epoch ms. */
  from?: number | undefined
  before?: number | undefined
  /** Jobs of a page. */
  most: number
  wanted(job: KeptJob): boolean
}

export interface KeptJobsOptions {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** Ids that are looked at in one call. */
const BATCH = 100
/** Most of them for one page, however few are wanted. */
const MOST_LOOKED_AT = 2_000

/** What a gateway asks Redis of jobs that somebody comes back for. */
export class KeptJobs {
  #options: KeptJobsOptions

  constructor(options: KeptJobsOptions) {
    this.#options = options
  }

  /** @returns `undefined`: there is no such job that the caller may see @throws BrokerError `broker_unavailable` */
  async inspect(id: JobId, caller: Caller): Promise<KeptJob | undefined> {
    const [job] = await this.#inspect([id], caller.scopes.has('admin') ? '' : caller.owner)
    return job
  }

  async #inspect(ids: readonly JobId[], owner: Owner | ''): Promise<(KeptJob | undefined)[]> {
    if (ids.length === 0) return []
    const { scripts, keys, base } = this.#options
    const [now, ...rows] = (await soon(scripts.inspect(ids.map(keys.job), [base, owner, ...ids]))) as [number, ...('' | Row)[]]
    return rows.map((row, i) => (row === '' ? undefined : readRow(ids[i]!, row, now)))
  }

  /** A page may have fewer than `most`, and even none, where there is a next one. @throws BrokerError `broker_unavailable` */
  async list({ owner, behind, from = 0, before, most, wanted }: ListOptions): Promise<Page> {
    const { redis, keys } = this.#options
    const index = owner === undefined ? keys.jobs : keys.jobsOf(owner)
    const jobs: KeptJob[] = []
    let last = behind
    const highest = () => (last && (before === undefined || last.at < before) ? String(last.at) : before === undefined ? '+inf' : `(${before}`)
    for (let looked = 0, skip = 0; looked < MOST_LOOKED_AT; looked += BATCH) {
      const answer = await soon(redis.zrevrangebyscore(index, highest(), from, 'WITHSCORES', 'LIMIT', skip, BATCH))
      const places = Array.from({ length: answer.length / 2 }, (_, i): ListPlace => ({ id: answer[2 * i]!, at: Number(answer[2 * i + 1]) }))
      const next = places.filter(({ at, id }) => !last || at < last.at || (at === last.at && id < last.id))
      // As many jobs of one moment as make a batch: those are passed over by number.
      skip = next.length === 0 ? skip + places.length : 0
      const found = await this.#inspect(next.map(({ id }) => id as JobId), owner ?? '')
      for (const [i, job] of found.entries()) {
        if (jobs.length === most) return { jobs, last: last! }
        last = next[i]!
        if (job && wanted(job)) jobs.push(job)
      }
      if (places.length < BATCH) return { jobs }
    }
    return { jobs, ...(last && { last }) }
  }

  /** Forgets what is kept of an ended job. `false`: it has not ended. @throws BrokerError `broker_unavailable` */
  async drop({ id, owner }: Pick<KeptJob, 'id' | 'owner'>): Promise<boolean> {
    const { scripts, keys } = this.#options
    return (await soon(scripts.drop([keys.job(id), keys.log(id), keys.jobsOf(owner), keys.jobs, keys.jobsUntil], [id, owner, LINGER_MS]))) === 1
  }
}

/** One answer of `inspect.lua`, in its order. */
type Row = [
  owner: string, lane: string, dialect: string, stream: string, background: string, at: string, deadline: string, attempts: string, held: string, node: string,
  began: string, first: string, ended: string, failure: string, record: string, keep: string, left: number, before: number, running: number, priority: string,
]

const readRow = (id: JobId, row: Row, now: number): KeptJob => {
  const [owner, lane, dialect, stream, background, at, deadline, attempts, held, node, began, first, ended, failure, text, keep, left, before, running, priority] = row
  const record = text === '' ? undefined : TerminalRecord.parse(JSON.parse(text))
  // Of a job that is not listed the end is told by when its keys go.
  const endedAt = !record ? undefined : ended !== '' ? Number(ended) : now + left - Number(keep || LINGER_MS)
  return {
    id,
    owner: owner as Owner,
    lane: lane as Lane,
    ...shownLane(lane as Lane),
    dialect: dialect as DialectId,
    stream: stream === '1',
    background: background === '1',
    state: record?.outcome ?? (held === '' ? 'queued' : 'running'),
    attempts: Number(attempts || 0),
    seenAt: now,
    createdAt: Number(at),
    deadlineAt: Number(deadline),
    ...(priority !== '' && { priority: Number(priority) }),
    ...(node !== '' && { node }),
    ...(before >= 0 && { ahead: { waiting: before, running } }),
    ...(record && { record, expiresAt: now + left }),
    ...(!record && failure !== '' && { failure: ErrorInfo.parse(JSON.parse(failure)) }),
    ...(began !== '' && { startedAt: Number(began) }),
    ...(first !== '' && { firstTextAt: Number(first) }),
    ...(endedAt !== undefined && { endedAt }),
  }
}

import { BrokerError, WIRE_VERSION, type DialectId, type EngineKind, type Frame, type Job, type JobId, type ModelName } from '@drover/core'
import type { Redis } from 'ioredis'
import { isOutOfMemory } from './connection.ts'
import { newJobId } from './ids.ts'
import { laneKeys, laneOf, readLane, type Keys, type Lane } from './keys.ts'
import type { Lanes } from './lanes.ts'
import { Follow } from './follow.ts'
import { FORGETS_MS, LINGER_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'

/** What a request brings; the rest of a `Job` is made here. */
export interface Submission extends Pick<Job, 'dialect' | 'model' | 'asked' | 'class' | 'stream' | 'slots' | 'resume'> {
  /** The client's request, JSON text. */
  body: string
  /** The only kind of engine that can answer it; absent: any that holds the model. */
  engine?: EngineKind | undefined
  /** Wanted even when nobody follows. */
  background?: boolean
  /** From submit to the end at the latest, ms. */
  timeoutMs: number
  /** How long it is kept after its end, ms, if longer than a moment. */
  keepMs?: number
  /** Refused when so many wait or run in its lane already; absent: no such bound. */
  mostAhead?: number | undefined
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

/** A job that is followed from elsewhere. */
export interface Found {
  follow: Follow
  dialect: DialectId
  model: ModelName
  stream: boolean
  /** Number of the frame that is still to be written. */
  next: number
  ended: boolean
}

/** Receives a job's frames: in order, without gap or repeat, from the first. After `end`, or after `lost`, nothing comes. */
export interface FrameSink {
  frame(frame: Frame, attempt: number): void
  /** Nothing more can be learnt of the job. */
  lost(error: BrokerError): void
}

export interface GatewayBrokerOptions {
  id: string
  redis: Redis
  subscriber: Redis
  keys: Keys
  base: string
  lanes: Lanes
  scripts: Scripts
  /** Most jobs that may wait in one lane. */
  laneLimit: number
  /** Most bytes of the living jobs of one lane. */
  laneBytes: number
  /** Told of each job of this gateway that completes: ms since it was added to its lane, and what was there before it. */
  onEnded?(lane: Lane, ms: number, ahead: Ahead): void
}

/** Bodies above this lie beside the job: in BullMQ's data a large one costs every script that touches the job. */
const INLINE_BODY = 10_000
/** A submit that Redis has not answered by then is refused, ms. */
const SUBMIT_TIMEOUT_MS = 2_000
/** Redis may be away this long before submits are refused at once, ms. */
const OUTAGE_MS = 1_000
/** The lane's keys that a submit needs: what waits, then those of BullMQ's add in its order. */
const ADD_KEYS = ['wait', 'marker', 'meta', 'id', 'prioritized', 'delayed', 'completed', 'active', 'events', 'pc']
/** BullMQ wants a priority: a job without one would jump every queue that has some. */
const PRIORITY = 1
/** The keys of a job outlive its deadline by this, ms. */
const MARGIN_MS = 60_000
/** How often silent jobs are asked after, ms. */
const POLL_MS = 1_000
const POLL_BATCH = 200
/** Silent jobs asked after in one turn: of more that wait, each has its turn later. What is lost is nearly always lost with a connection, and then all are asked after. */
const POLL_MOST = 4_000

interface Message {
  job: JobId
  attempt: number
  /** Token of the lease that wrote it, '' for nobody's. */
  lease: string
  first: number
  frames: Frame[]
}

/** What a gateway says to Redis about jobs: submit, follow, leave. One command connection, one subscriber. */
export class GatewayBroker {
  readonly id: string
  #options: GatewayBrokerOptions
  #follows = new Map<JobId, Follow[]>()
  /** What was submitted a moment ago, oldest first: a Redis that is killed may yet forget it. */
  #recent = new Map<JobId, { send(): Promise<unknown>; at: number; background: boolean }>()
  /** Where the next turn begins. */
  #round: MapIterator<Follow[]> = this.#follows.values()
  #downSince: number | undefined
  #ofLane: (lane: Lane) => readonly string[]
  #poll: NodeJS.Timeout

  constructor(options: GatewayBrokerOptions) {
    this.id = options.id
    this.#options = options
    this.#ofLane = laneKeys(options.keys, ADD_KEYS)
    options.redis.on('close', () => (this.#downSince ??= performance.now()))
    options.redis.on('ready', () => {
      this.#downSince = undefined
      for (const [id, recent] of this.#recent) {
        recent.at = performance.now()
        // Nobody asks after a job that goes on without its client.
        if (!this.#follows.has(id)) void recent.send().catch(() => undefined)
      }
      void this.#lookAfter(0)
    })
    options.subscriber.on('message', (_channel: string, text: string) => this.#receive(text))
    // What was published while the subscriber was away is only in the logs.
    options.subscriber.on('ready', () => void this.#lookAfter(0))
    this.#poll = setInterval(() => {
      this.#prune()
      void this.#lookAfter(2 * POLL_MS, POLL_MOST)
    }, POLL_MS)
  }

  async listen(): Promise<void> {
    await this.#options.subscriber.subscribe(this.#options.keys.replies(this.id))
  }

  /** Jobs that this gateway follows. */
  get following(): number {
    return this.#follows.size
  }

  /**
   * Puts a job on its lane and follows it; `sink` may be called before this returns, and is told nothing before `named`.
   * @throws BrokerError `queue_full` (a `LaneFull`, or Redis has no memory left), `broker_unavailable`; then nothing was accepted
   */
  async submit(submission: Submission, sink: FrameSink, named?: (id: JobId) => void): Promise<Follow> {
    const { keys, scripts, laneLimit, laneBytes } = this.#options
    if (this.#downSince !== undefined && performance.now() - this.#downSince > OUTAGE_MS) throw unavailable()
    const { body, engine, background = false, timeoutMs, keepMs, mostAhead, ...rest } = submission
    const id = newJobId()
    named?.(id)
    const lane = laneOf(submission.model, submission.class, engine)
    const beside = body.length > INLINE_BODY
    const job: Job = { v: WIRE_VERSION, id, ...rest, body: beside ? { beside: true } : { inline: body } }
    const follow = new Follow(id, lane, sink, this)
    this.#follows.set(id, [follow])
    const envelope = JSON.stringify(job)
    const names = [keys.job(id), keys.body(id), keys.lanes, keys.deadlines, ...this.#ofLane(lane), keys.bytes]
    const args = [id, lane, this.id, timeoutMs, beside ? body : '', background ? 1 : 0, submission.stream ? 1 : 0, laneLimit, MARGIN_MS, keys.ofLane(lane, ''), envelope, PRIORITY, submission.dialect, keepMs ?? '', laneBytes, mostAhead ?? '']
    const send = () => scripts.submit(names, args) as Promise<[1, number, number] | [0, number, number, LaneFull['bound']]>
    try {
      const [accepted, waiting, running, bound] = await inTime(Promise.race([send(), follow.begun.then((): [1, number, number] => [1, -1, -1])]))
      if (accepted === 1) {
        if (waiting >= 0) follow.ahead = { waiting, running, at: performance.now() }
        // Over already, or left: nothing to bring back, and its body need not be kept.
        if (this.#follows.has(id)) this.#recent.set(id, { send, at: performance.now(), background })
        return follow
      }
      throw new LaneFull(bound, { waiting, running })
    } catch (thrown) {
      const error = isOutOfMemory(thrown) ? new MemoryFull({ cause: thrown }) : thrown
      this.#follows.delete(id)
      // What was sent may still arrive. This comes behind it, on the same connection.
      if (!(error instanceof BrokerError && error.code === 'queue_full')) void this.#cancel(id, lane).catch(() => undefined)
      throw error instanceof BrokerError ? error : unavailable(error)
    }
  }

  /** The client no longer wants the job: when nobody else does, it ends as cancelled, and its engine is stopped. */
  async leave(follow: Follow): Promise<void> {
    if (!this.#remove(follow) || this.#follows.has(follow.id)) return
    if (!this.#recent.get(follow.id)?.background) this.#recent.delete(follow.id)
    await this.#cancel(follow.id, follow.lane)
  }

  /**
   * Follows a job that may have been submitted elsewhere, from frame `from` on, also after its end while it is kept. Nothing comes before
   * `resume` of the follow.
   * @returns `undefined`: there is no such job, or none any more
   * @throws BrokerError `broker_unavailable`
   */
  async follow(id: JobId, from: number, sink: FrameSink): Promise<Found | undefined> {
    const { scripts, keys } = this.#options
    const follow = new Follow(id, undefined, sink, this, from)
    follow.pause()
    this.#follows.set(id, [...(this.#follows.get(id) ?? []), follow])
    try {
      const [there, dialect, stream, next, ended, lane] = (await inTime(scripts.follow([keys.job(id)], [this.id]))) as [0] | [1, DialectId, 0 | 1, number, 0 | 1, Lane]
      if (there === 1) {
        follow.known(next)
        return { follow, dialect, stream: stream === 1, next, ended: ended === 1, model: readLane(lane).model }
      }
    } catch (error) {
      this.#remove(follow)
      throw error instanceof BrokerError ? error : unavailable(error)
    }
    this.#remove(follow)
    return undefined
  }

  #remove(follow: Follow): boolean {
    const all = this.#follows.get(follow.id)
    if (!all?.includes(follow)) return false
    const others = all.filter((each) => each !== follow)
    if (others.length > 0) this.#follows.set(follow.id, others)
    else this.#follows.delete(follow.id)
    return true
  }

  /** This gateway no longer follows the job; as the last one it ends it. */
  async #cancel(id: JobId, lane?: Lane): Promise<void> {
    const { keys, scripts, lanes, base } = this.#options
    const [answer, attempts, its] = (await scripts.settle([keys.job(id)], [base, LINGER_MS, id, 'cancelled', '', this.id])) as [string, number?, Lane?]
    if (answer === 'settled' && attempts === 0) await lanes.remove(lane ?? its!, id)
  }

  /** @internal for `Follow` */
  completed({ lane, ahead }: Follow): void {
    if (lane !== undefined && ahead) this.#options.onEnded?.(lane, performance.now() - ahead.at, ahead)
  }

  /** @internal for `Follow` */
  done(follow: Follow): void {
    this.#remove(follow)
    this.#recent.delete(follow.id)
  }

  /** @internal for `Follow` */
  read(id: JobId, from: number, entries: number): Promise<unknown> {
    return this.#options.scripts.read([this.#options.keys.job(id), this.#options.keys.log(id)], [from, entries])
  }

  #receive(text: string): void {
    for (const { job, attempt, lease, first, frames } of JSON.parse(text) as Message[]) {
      const follows = this.#follows.get(job)
      if (follows) for (const follow of follows) follow.receive(first, attempt, lease, frames)
      else void this.#forget(job).catch(() => undefined)
    }
  }

  /** A job that nobody here serves any more: stop being told of it. */
  async #forget(job: JobId): Promise<void> {
    const { scripts, keys, base } = this.#options
    await scripts.settle([keys.job(job)], [base, LINGER_MS, job, 'cancelled', '', this.id])
  }

  /** The truth behind the notifications: how far are the jobs that have been silent for so long? */
  async #lookAfter(silentMs: number, most = Infinity): Promise<void> {
    const now = performance.now()
    const silent: Follow[] = []
    for (let left = this.#follows.size; left > 0 && silent.length < most; left -= 1) {
      let { value: follows } = this.#round.next()
      if (!follows) {
        this.#round = this.#follows.values()
        follows = this.#round.next().value ?? []
      }
      for (const follow of follows) if (now - follow.heard >= silentMs) silent.push(follow)
    }
    for (let i = 0; i < silent.length; i += POLL_BATCH) {
      const batch = silent.slice(i, i + POLL_BATCH)
      const numbers = (await this.#options.scripts.progress(batch.map(({ id }) => this.#options.keys.job(id)), []).catch(() => [])) as number[]
      for (const [index, next] of numbers.entries()) {
        const follow = batch[index]!
        if (next > 0) follow.known(next)
        else await this.#bringBack(follow)
      }
    }
  }

  /** Redis does not know the job: it was killed, and has forgotten even the submit. What is still at hand is submitted again. */
  async #bringBack(follow: Follow): Promise<void> {
    const recent = this.#recent.get(follow.id)
    if (!recent) return follow.lose()
    await recent.send().catch(() => undefined)
  }

  #prune(): void {
    if (this.#downSince !== undefined) return
    const old = performance.now() - FORGETS_MS
    for (const [id, { at }] of this.#recent) {
      if (at > old) return
      this.#recent.delete(id)
    }
  }

  close(): void {
    clearInterval(this.#poll)
  }
}

const unavailable = (cause?: unknown) =>
  new BrokerError('broker_unavailable', 'the job queue cannot be reached, please try again', { cause })

const inTime = async <T>(work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(unavailable()), SUBMIT_TIMEOUT_MS)))
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

import type { Caller, DialectId, JobId, ModelName } from '@drover/core'
import type { Redis } from 'ioredis'
import { Follow, type FrameSink } from './follow.ts'
import { Follows } from './follows.ts'
import { inTime, refusalOf, soon, unavailable } from './in-time.ts'
import { JobEnds } from './job-ends.ts'
import { shownLane, type Keys, type Lane } from './keys.ts'
import { laneEntry } from './lane-entry.ts'
import type { Lanes } from './lanes.ts'
import { RecentJobs } from './recent-jobs.ts'
import type { Scripts } from './scripts.ts'
import { isRefusal, readAnswer, type Ahead, type Answered, type HandedIn, type Once, type Submission } from './submission.ts'
import { idInTurn, inTurns } from './turns.ts'

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

/** Redis may be away this long before submits are refused at once, ms. */
const OUTAGE_MS = 1_000
/** How often silent jobs are asked after, ms, and how many at most: what is lost is nearly always lost with a connection, and then all are asked after. */
const POLL_MS = 1_000
const POLL_MOST = 4_000

/** To a node: there may be work on its models. */
export const MODEL_WORK = JSON.stringify({ models: true })

/** What a gateway says to Redis about jobs: submit, follow, leave. One command connection, one subscriber. */
export class GatewayBroker {
  readonly id: string
  #options: GatewayBrokerOptions
  #enter: ReturnType<typeof laneEntry>
  #follows: Follows
  #recent = new RecentJobs()
  #ends: JobEnds
  #downSince: number | undefined
  #poll: NodeJS.Timeout

  constructor(options: GatewayBrokerOptions) {
    this.id = options.id
    this.#options = options
    this.#enter = laneEntry(options)
    this.#ends = new JobEnds(options)
    this.#follows = new Follows({
      ...options,
      onStranger: (job) => void this.#ends.leave(job, this.id).catch(() => undefined),
      // What is still at hand comes back.
      onUnknown: async (follow) => void ((await this.#recent.bringBack(follow.id)) || follow.lose()),
    })
    const { redis, subscriber } = options
    redis.on('close', () => (this.#downSince ??= performance.now()))
    redis.on('ready', () => {
      this.#downSince = undefined
      this.#recent.afterOutage((id) => this.#follows.has(id))
      this.#follows.afterOutage()
      void this.#follows.lookAfter(0)
    })
    const replies = options.keys.replies(options.id)
    subscriber.on('message', (channel: string, text: string) => channel === replies && this.#follows.receive(text))
    // What was published while the subscriber was away is only in the logs.
    subscriber.on('ready', () => void this.#follows.lookAfter(0))
    this.#poll = setInterval(() => {
      if (this.#downSince === undefined) {
        this.#recent.prune()
        this.#follows.prune()
      }
      void this.#follows.lookAfter(2 * POLL_MS, POLL_MOST)
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
   * @throws BrokerError `queue_full` (a `LaneFull`, or Redis has no memory left), `rate_limited` (`TooManyKept`, or a `LimitReached`), `quota_exceeded`, `key_reused`, `broker_unavailable`; then nothing was accepted
   */
  async submit(submission: Submission, sink: FrameSink, named?: (id: JobId) => void): Promise<Follow> {
    this.#checkUp()
    return inTurns(submission, (id) => this.#submit(submission, id, sink, named))
  }

  /**
   * Puts a job on its lane that goes on without anybody. Resolves when Redis has it.
   * @throws BrokerError as `submit` does
   */
  async handIn(submission: Submission): Promise<HandedIn> {
    this.#checkUp()
    return inTurns(submission, (id) => this.#handIn({ ...submission, background: true }, id))
  }

  /**
   * The id that a request with a key has, or will have, for what must be told before its job is submitted (with this `id`, too).
   * @throws BrokerError `key_reused`, `rate_limited`, `broker_unavailable`
   */
  idOf(once: Once): Promise<JobId> {
    return idInTurn(this.#options, once)
  }

  #checkUp(): void {
    if (this.#downSince !== undefined && performance.now() - this.#downSince > OUTAGE_MS) throw unavailable()
  }

  async #submit(submission: Submission, id: JobId, sink: FrameSink, named?: (id: JobId) => void): Promise<Follow | undefined> {
    const { once, background = false, charged } = submission
    named?.(id)
    const { lane, send } = this.#enter(submission, id, this.id)
    const follow = new Follow(id, lane, sink, this)
    // The job of this id may be there already, and may be another request's.
    // And how a key with limits stands is told first.
    if (once || charged) follow.pause()
    this.#follows.add(follow)
    try {
      const answer = await inTime(Promise.race([send(), follow.begun.then((): Answered => [1, -1, -1])]))
      const accepted = readAnswer(answer, charged)
      if (!accepted) {
        this.#follows.remove(follow)
        return undefined
      }
      const { ahead, next, repeated } = accepted
      if (ahead) follow.ahead = { ...ahead, at: performance.now() }
      else if (next !== undefined) follow.known(next)
      // It was there before, or this was sent twice: then it may be further on, and this gateway not among its followers.
      else if (submission.id !== undefined) await this.#join(follow)
      follow.repeated = repeated
      // Over already, or left: nothing to bring back, and its body need not be kept.
      if (this.#follows.has(id) && !(repeated && this.#recent.has(id))) this.#recent.keep(id, { send, background })
      if (once || charged) follow.resume()
      // Only saves waiting.
      if (submission.node !== undefined) void this.#options.redis.publish(this.#options.keys.control(submission.node), MODEL_WORK).catch(() => undefined)
      return follow
    } catch (thrown) {
      const error = refusalOf(thrown)
      this.#follows.remove(follow)
      // What was sent may still arrive. This comes behind it, on the same connection.
      if (!isRefusal(error) && !this.#follows.has(id)) void this.#ends.leave(id, this.id).catch(() => undefined)
      throw error
    }
  }

  async #handIn(submission: Submission, id: JobId): Promise<HandedIn | undefined> {
    const { send } = this.#enter(submission, id, '')
    try {
      const accepted = readAnswer(await inTime(send()), submission.charged)
      if (!accepted) return undefined
      const { ahead, repeated } = accepted
      if (ahead) this.#recent.keep(id, { send, background: true })
      return { id, repeated, ...(ahead && { ahead }) }
    } catch (thrown) {
      const error = refusalOf(thrown)
      // What was sent may still arrive. Under a key it is somebody's already, or found by who repeats it; else nobody knows its id.
      if (!isRefusal(error) && !submission.once && !submission.id) void this.#ends.end(id, 'cancelled').catch(() => undefined)
      throw error
    }
  }

  /** Follows a job that was submitted before, from its first frame on. */
  async #join(follow: Follow): Promise<void> {
    const { scripts, keys } = this.#options
    const [there, , , next] = (await inTime(scripts.follow([keys.job(follow.id)], [this.id, '']))) as [0] | [1, DialectId, 0 | 1, number]
    if (there === 1) follow.known(next)
  }

  /** The client no longer wants the job: when nobody else does, it ends as cancelled, and its engine is stopped. */
  async leave(follow: Follow): Promise<void> {
    if (!this.#follows.remove(follow) || this.#follows.has(follow.id)) return
    if (!this.#recent.isBackground(follow.id)) this.#recent.drop(follow.id)
    await this.#ends.leave(follow.id, this.id)
  }

  /**
   * Follows a job that may have been submitted elsewhere, from frame `from` on, also after its end while it is kept. Nothing comes before
   * `resume` of the follow.
   * @returns `undefined`: there is no such job that the caller may read, or none any more
   * @throws BrokerError `broker_unavailable`
   */
  async follow(id: JobId, caller: Caller, from: number, sink: FrameSink): Promise<Found | undefined> {
    const { scripts, keys } = this.#options
    const follow = new Follow(id, undefined, sink, this, from)
    follow.pause()
    this.#follows.add(follow)
    try {
      const [there, dialect, stream, next, ended, lane] = (await inTime(scripts.follow([keys.job(id)], [this.id, caller.scopes.has('admin') ? '' : caller.owner]))) as [0] | [1, DialectId, 0 | 1, number, 0 | 1, Lane]
      if (there === 1) {
        follow.known(next)
        return { follow, dialect, stream: stream === 1, next, ended: ended === 1, model: shownLane(lane).model }
      }
    } catch (error) {
      this.#follows.remove(follow)
      throw refusalOf(error)
    }
    this.#follows.remove(follow)
    return undefined
  }

  /** Ends a job, whoever follows it. `false`: it has ended before, or is not there. */
  end(id: JobId, outcome: 'cancelled' | 'expired'): Promise<boolean> {
    this.#recent.drop(id)
    return this.#ends.end(id, outcome)
  }

  /** As its owner asks, who has been told that it is theirs. @throws BrokerError `broker_unavailable` */
  cancel(id: JobId): Promise<boolean> {
    return soon(this.end(id, 'cancelled'))
  }

  /** @internal for `Follow` */
  completed({ lane, ahead }: Follow): void {
    if (lane !== undefined && ahead) this.#options.onEnded?.(lane, performance.now() - ahead.at, ahead)
  }

  /** @internal for `Follow` */
  done(follow: Follow): void {
    this.#follows.done(follow)
    this.#recent.drop(follow.id)
  }

  /** @internal for `Follow` */
  read(id: JobId, from: number, entries: number): Promise<unknown> {
    return this.#options.scripts.read([this.#options.keys.job(id), this.#options.keys.log(id)], [from, entries])
  }

  close(): void {
    clearInterval(this.#poll)
  }
}

import { BrokerError, ErrorInfo, fromErrorInfo, Job, toErrorInfo, type Frame, type JobId } from '@drover/core'
import type { Redis } from 'ioredis'
import { Appender } from './appender.ts'
import { JUDGE_AFTER_MS, upFor } from './connection.ts'
import { laneKeys, type Keys, type Lane } from './keys.ts'
import { LOCK_MS, type Lanes } from './lanes.ts'
import { Lease } from './lease.ts'
import { FORGETS_MS, LINGER_MS, MAX_STARTS } from './limits.ts'
import type { Scripts } from './scripts.ts'

/** All leases of a worker are renewed this often: three times in a lock's life. */
const RENEW_MS = 800
const RENEW_BATCH = 64

/** Log entries read at once by an attempt that goes on with an answer. */
const HISTORY_ENTRIES = 256

/** Keys of BullMQ's moveToActive, in its order; then our own of a lane. */
const TAKE_KEYS = ['wait', 'active', 'prioritized', 'events', 'stalled', 'limiter', 'delayed', 'paused', 'meta', 'pc', 'marker']
const OWN_KEYS = ['ranks', 'since']

export interface WorkerBrokerOptions {
  node: string
  /** Unguessable, one a process: lease tokens start with it. */
  instance: string
  redis: Redis
  subscriber: Redis
  /** Blocked most of the time, in `wait`. */
  blocking: Redis
  keys: Keys
  base: string
  lanes: Lanes
  scripts: Scripts
  onError(error: unknown): void
}

/** What waits in a lane. */
export interface LaneView {
  lane: Lane
  waiting: number
  /** ms that the job that waits longest has waited; by fair share it need not be the next. */
  headAge: number
  running: number
}

/** The lane's keys that a view needs. */
export const VIEW_KEYS = ['prioritized', 'wait', 'active', 'since']

const exhausted = JSON.stringify(toErrorInfo(new BrokerError('attempts_exhausted', `the job was started ${MAX_STARTS} times and its node was lost each time`)))
export const deadlineError = JSON.stringify(toErrorInfo(new BrokerError('deadline_exceeded', 'the job was not finished before its deadline')))

/** What a worker says to Redis about jobs: wait, take, renew. Three connections whatever the number of lanes. */
export class WorkerBroker {
  #options: WorkerBrokerOptions
  #leases = new Map<JobId, Lease>()
  /** Leases that have ended a moment ago, oldest first: Redis may yet forget how. */
  #recent: { lease: Lease; at: number }[] = []
  #reclaiming = new Set<Lease>()
  #appender: Appender
  #tokens = 0
  #renewing = false
  #timer: NodeJS.Timeout
  #up: () => number
  #ofLane: (lane: Lane) => readonly string[]
  #ownOfLane: (lane: Lane) => readonly string[]
  /** Redis has been away since this worker began. */
  #away = false

  constructor(options: WorkerBrokerOptions) {
    this.#options = options
    this.#ofLane = laneKeys(options.keys, TAKE_KEYS)
    this.#ownOfLane = laneKeys(options.keys, OWN_KEYS)
    options.redis.on('close', () => (this.#away = true))
    this.#up = upFor(options.redis)
    this.#appender = new Appender(options)
    this.#timer = setInterval(() => void this.#renew(), RENEW_MS)
    // After an outage locks may be about to run out, or have: the first thing to do is to hold on to them.
    options.redis.on('ready', () => {
      const now = performance.now()
      for (const lease of this.#leases.values()) lease.keepLonger(now)
      for (const recent of this.#recent) {
        recent.at = now
        void this.#reclaim(recent.lease)
      }
      void this.#renew()
    })
    options.subscriber.on('message', (_channel: string, text: string) => {
      const { ended } = JSON.parse(text) as { ended: JobId }
      const lease = this.#leases.get(ended)
      if (lease) this.#gone(lease)
    })
  }

  async listen(): Promise<void> {
    await this.#options.subscriber.subscribe(this.#options.keys.control(this.#options.node))
  }

  get leases(): Iterable<Lease> {
    return this.#leases.values()
  }

  /** Resolves when no lease is held. */
  async idle(): Promise<void> {
    while (this.#leases.size > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  }

  /**
   * Takes the next job of a lane and begins an attempt.
   * @returns the lease; `empty`: nothing waits there; `again`: what was there needed no attempt (it had ended, nobody wants it)
   */
  async take(lane: Lane): Promise<Lease | 'empty' | 'again'> {
    const { lanes, scripts, keys, base, node, instance } = this.#options
    await this.#holdersFirst()
    this.#tokens += 1
    const token = `${instance}.${this.#tokens.toString(36)}`
    const taken = (await scripts.take(
      [...this.#ofLane(lane), keys.took(token), ...this.#ownOfLane(lane)],
      [base, LINGER_MS, keys.ofLane(lane, ''), Date.now(), token, LOCK_MS, node, MAX_STARTS, exhausted, deadlineError, this.#mayJudge],
    )) as ['begun', JobId, string, number, number, number, string, number, string] | ['gone' | 'ended', JobId] | ['empty']
    if (taken[0] === 'empty') return 'empty'
    const id = taken[1]
    if (taken[0] !== 'begun') {
      await lanes.finish(lane, id, token)
      return 'again'
    }
    const [, , envelope, attempt, next, remainingMs, beside, starts, failure] = taken
    let job: Job
    try {
      job = Job.parse(JSON.parse(envelope))
    } catch (cause) {
      const error = new BrokerError('internal', 'the job was written by a version of Drover that this worker cannot read', { cause })
      await scripts.settle([keys.job(id)], [base, LINGER_MS, id, 'failed', JSON.stringify(toErrorInfo(error)), ''])
      await lanes.finish(lane, id, token)
      this.#options.onError(error)
      return 'again'
    }
    const body = 'inline' in job.body ? job.body.inline : beside
    job.body = { beside: true }
    const lease = new Lease(
      { job, lane, token, attempt, next, remainingMs, body, node, lastStart: starts >= MAX_STARTS, returned: attempt - starts, failure: failure === '' ? undefined : fromErrorInfo(ErrorInfo.parse(JSON.parse(failure))) },
      {
        appender: this.#appender,
        finish: () => void lanes.finish(lane, id, token).catch(this.#options.onError),
        release: async (_lease, counted, error) => {
          const info = error ? JSON.stringify(toErrorInfo(error)) : ''
          const released = await scripts.release([keys.job(id), keys.ofLane(lane, 'since')], [attempt, token, counted ? 1 : 0, info, id])
          return released === 1 && (await lanes.giveBack(lane, id, token))
        },
        history: (each) => this.#history(each),
        reclaim: (each) => void this.#reclaim(each),
        over: (each, recorded) => {
          this.#leases.delete(id)
          if (recorded) this.#recent.push({ lease: each, at: performance.now() })
        },
      },
    )
    this.#leases.set(id, lease)
    return lease
  }

  async #history({ job, attempt, next: end }: Lease): Promise<Frame[]> {
    const { scripts, keys } = this.#options
    const frames: Frame[] = []
    while (frames.length + 1 < end) {
      const [there, , , ...entries] = (await scripts.read([keys.job(job.id), keys.log(job.id)], [frames.length + 1, HISTORY_ENTRIES])) as [number, number, number, ...unknown[]]
      const before = frames.length
      for (let i = 0; i < entries.length; i += 3) {
        const [first, , text] = entries.slice(i, i + 3) as [number, string, string]
        if (first <= frames.length + 1) frames.push(...(JSON.parse(text) as Frame[]).slice(frames.length + 1 - first))
      }
      if (there === 0 || frames.length === before) throw new BrokerError('internal', `the log of job ${job.id} ends before attempt ${attempt} of it began`)
    }
    return frames.slice(0, end - 1)
  }

  /** Depth and head age of lanes, in one call. */
  async view(lanes: readonly Lane[]): Promise<LaneView[]> {
    const { scripts, keys, base } = this.#options
    if (lanes.length === 0) return []
    const names = lanes.flatMap((lane) => VIEW_KEYS.map((name) => keys.ofLane(lane, name)))
    const numbers = (await scripts.view(names, [base])) as number[]
    return lanes.map((lane, i) => ({ lane, waiting: numbers[3 * i]!, headAge: numbers[3 * i + 1]!, running: numbers[3 * i + 2]! }))
  }

  /**
   * Waits until one of these lanes may have a job.
   * @returns the lane; `woken`: this node's own wake key was hit; `unsure`: nothing was heard for a while, so any may have one
   */
  async wait(lanes: readonly Lane[]): Promise<Lane | 'woken' | 'unsure'> {
    const { keys, blocking, node } = this.#options
    const markers = new Map<string, Lane>(lanes.map((lane) => [keys.ofLane(lane, 'marker'), lane]))
    // A reconnect can leave a blocking read that never settles: then the connection is made anew.
    if (await this.#holdersFirst()) return 'unsure'
    const watchdog = setTimeout(() => blocking.disconnect(true), WAIT_S * 1000 + 3_000)
    try {
      const hit = await blocking.bzpopmin(keys.wake(node), ...markers.keys(), WAIT_S)
      if (!hit) return 'unsure'
      return markers.get(hit[0]) ?? 'woken'
    } catch (error) {
      this.#options.onError(error)
      await new Promise((resolve) => setTimeout(resolve, 200))
      return 'unsure'
    } finally {
      clearTimeout(watchdog)
    }
  }

  /** Ends this node's own `wait`: a slot is free, the inventory has changed, a drain has begun. */
  wake(): void {
    const { redis, keys, node } = this.#options
    void redis.zadd(keys.wake(node), 0, '0').catch(this.#options.onError)
  }

  /** Puts back the marker of a lane whose wake-up this worker cannot use, so that another hears it. */
  async pass(lane: Lane): Promise<void> {
    await this.#options.lanes.mark(lane).catch(this.#options.onError)
  }

  /** After an outage, waits until those that held attempts could say so. True when that took a while. */
  async #holdersFirst(): Promise<boolean> {
    if (!this.#away || this.#up() >= HOLDERS_FIRST_MS) return false
    while (this.#up() < HOLDERS_FIRST_MS) await new Promise((resolve) => setTimeout(resolve, 50))
    return true
  }

  get #mayJudge(): 0 | 1 {
    return this.#up() >= JUDGE_AFTER_MS ? 1 : 0
  }

  async #renew(): Promise<void> {
    if (this.#renewing) return
    this.#renewing = true
    const now = performance.now()
    if (this.#up() > 0) {
      while (this.#recent[0] && now - this.#recent[0].at > FORGETS_MS) this.#recent.shift()
      for (const lease of this.#leases.values()) lease.prune(now)
    }
    try {
      const leases = [...this.#leases.values()]
      const batches = Array.from({ length: Math.ceil(leases.length / RENEW_BATCH) }, (_, i) => leases.slice(i * RENEW_BATCH, (i + 1) * RENEW_BATCH))
      // All in one tick: one after the other they would take longer than a lock lives when there are thousands.
      await Promise.all(batches.map((batch) => this.#renewBatch(batch)))
    } catch (error) {
      this.#options.onError(error)
    } finally {
      this.#renewing = false
    }
  }

  async #renewBatch(batch: readonly Lease[]): Promise<void> {
    const { scripts, keys, base } = this.#options
    const names = batch.flatMap(({ job, lane }) => [
      keys.job(job.id),
      keys.ofLane(lane, `${job.id}:lock`),
      keys.ofLane(lane, 'stalled'),
      keys.ofLane(lane, 'active'),
    ])
    const answers = (await scripts.renew(names, [base, LOCK_MS, this.#mayJudge, ...batch.flatMap(({ job, token, attempt }) => [job.id, token, attempt])])) as string[]
    for (const [n, lease] of batch.entries()) {
      if (answers[n] === 'ended') this.#gone(lease)
      else if (answers[n] === 'behind' || answers[n] === 'gone') void this.#reclaim(lease)
      else if (answers[n] === 'lost') lease.abort({ kind: 'lost', why: 'lock' })
      else if (answers[n] === 'unwanted') lease.abort({ kind: 'cancelled' })
    }
  }

  /** Redis has been killed and has forgotten what it had answered: bring back the attempt, and then the frames. */
  async #reclaim(lease: Lease): Promise<void> {
    if (this.#reclaiming.has(lease)) return
    this.#reclaiming.add(lease)
    const { scripts, keys, node } = this.#options
    const { job, lane, token, attempt } = lease
    const names = [keys.job(job.id), keys.ofLane(lane, `${job.id}:lock`), ...['wait', 'prioritized', 'active', 'stalled', job.id, 'since'].map((name) => keys.ofLane(lane, name))]
    try {
      for (const end = performance.now() + RECLAIM_MS; ; await new Promise((resolve) => setTimeout(resolve, RECLAIM_PAUSE_MS))) {
        const answer = (await scripts.reclaim(names, [job.id, token, attempt, node, LOCK_MS])) as number | 'gone' | 'ended' | 'lost'
        if (answer === 'gone' && performance.now() < end) continue
        if (typeof answer === 'number' && lease.rewind(answer)) this.#leases.set(job.id, lease)
        else if (answer === 'ended') this.#gone(lease)
        else lease.lose(typeof answer === 'number' ? `frame ${answer} is no longer kept` : answer)
        return
      }
    } catch (error) {
      this.#options.onError(error)
    } finally {
      this.#reclaiming.delete(lease)
    }
  }

  /** The job has its record, not from this attempt. */
  #gone(lease: Lease): void {
    if (lease.signal.aborted) return
    lease.abort({ kind: 'lost', why: 'ended' })
    void this.#options.lanes.finish(lease.lane, lease.job.id, lease.token).catch(this.#options.onError)
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

/** A job that Redis has forgotten is waited for this long, ms: its gateway brings it again. */
const RECLAIM_MS = 4_000
const RECLAIM_PAUSE_MS = 100
/** After Redis was away nothing new is taken for this long, ms: more than the longest pause between two tries to reconnect. */
const HOLDERS_FIRST_MS = 500

/** Longest wait for a marker before all lanes are looked at, s: a node that died between pop and take has swallowed one. */
const WAIT_S = 1

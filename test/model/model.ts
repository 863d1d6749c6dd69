import { rankOf, RENUMBER_FROM, renumbered } from '../../libs/core/src/index.ts'

/** What the scripts of `libs/broker/src/lua` promise, as plain data and plain functions: no Redis, no clock. */
export interface ModelJob {
  lane: string
  owner: string
  followers: string[]
  background: boolean
  streamed: boolean
  /** Its deadline has passed. */
  late: boolean
  attempt: number
  starts: number
  token: string | undefined
  node: string | undefined
  /** Token of the lease that was given back last. */
  gave: string | undefined
  error: string
  next: number
  bytes: number
  log: Entry[]
  tail: string | undefined
  record: string | undefined
  /** Token of the lease that wrote the record. */
  writer: string | undefined
  /** Its body lies beside it. */
  beside: boolean
  /** Bytes of its envelope and body. */
  size: number
  /** Who is told of its end, '' for nobody. */
  hook: string
  /** Of a request that may be repeated: which it is, and who made it a job; else ''. */
  print: string
  by: string
}

/** One log entry: number of its first frame, token of its writer, frames as JSON text. */
export type Entry = [first: number, token: string, frames: string]

export interface ModelLane {
  prioritized: { id: string; score: number }[]
  /** The last one is taken first. */
  wait: string[]
  /** The first one was taken last. */
  active: string[]
  stalled: string[]
  /** BullMQ's counter of priorities. */
  count: number
  /** Who has paid how much, and `*`: the rank that is served. */
  ranks: Record<string, number>
  /** What is known to wait. */
  since: string[]
}

/** All that is in Redis, and so what a Redis that is killed may forget. */
export interface State {
  jobs: Record<string, ModelJob>
  lanes: Record<string, ModelLane>
  locks: Record<string, string>
  /** Jobs that BullMQ knows, each with its rank. */
  known: Record<string, number>
  took: Record<string, string>
  gateways: string[]
  /** Bytes of the living jobs of each lane. */
  bytes: Record<string, number>
  /** What webhooks are to be told. */
  events: string[]
  /** Somebody has the turn to sweep. */
  turn: boolean
}

/** A lease as its worker holds it, whatever Redis thinks of it by now. */
export interface HeldLease {
  job: string
  lane: string
  token: string
  attempt: number
  node: string
}

export interface Submission {
  lane: string
  owner: string
  entry: number
  cost: number
  follower: string
  background: boolean
  streamed: boolean
  beside: boolean
  /** Most jobs that may wait or run before it, or '': any number. */
  ahead: number | ''
  /** `*`: the webhooks of its owner are told of its end; the id of one; '': nobody is. */
  hook: string
  /** Fingerprint of a request that may be repeated, or '', and which submission of it this is. */
  print: string
  by: string
}

/** Published so far: channel and message. */
export type Told = [channel: string, message: unknown]

export interface Append {
  lease: HeldLease
  first: number
  count: number
  frames: string
  record: string
}

export const MOST_STARTS = 3
/** Small, so that a history reaches them. */
export const LANE_LIMIT = 3
export const LANE_BYTES = 12
export const LOG_LIMIT = 60
export const ENVELOPE = '{}'
export const BODY = 'body'
export const DIALECT = 'openai.chat'
/** Whose jobs there are. */
export const OWNERS = ['anna', 'bert']
export const EXHAUSTED = JSON.stringify({ code: 'attempts_exhausted', message: 'x' })
export const LATE = JSON.stringify({ code: 'deadline_exceeded', message: 'x' })

/** Of BullMQ's scores: the rank is above this, the order among equal ones below. */
const RANK = 2 ** 32
const emptyLane = (): ModelLane => ({ prioritized: [], wait: [], active: [], stalled: [], count: 0, ranks: {}, since: [] })
export const ordered = (jobs: ModelLane['prioritized']) => jobs.toSorted((a, b) => a.score - b.score || (a.id < b.id ? -1 : 1))
const without = (list: string[], id: string) => list.filter((each) => each !== id)

export class Model {
  state: State
  saved: State | undefined
  /** Every lease that was ever granted, the last one last. */
  leases: HeldLease[] = []
  told: Told[] = []
  /** What gateways have sent of each job, whatever Redis has kept of it. */
  submitted: Record<string, Submission> = {}
  /** Jobs whose time to be kept has passed. */
  forgotten: string[] = []
  #tokens = 0
  #words = 0

  constructor(lanes: readonly string[], gateways: readonly string[]) {
    this.state = {
      jobs: {},
      lanes: Object.fromEntries(lanes.map((name) => [name, emptyLane()])),
      locks: {},
      known: {},
      took: {},
      gateways: [...gateways],
      bytes: {},
      events: [],
      turn: false,
    }
  }

  newToken(node: string): string {
    return `${node}.${(this.#tokens += 1)}`
  }

  /** A text that was never said before. */
  newWord(): string {
    return `w${(this.#words += 1)}`
  }

  #living(id: string): ModelJob {
    return this.state.jobs[id]!
  }

  #wanted({ background, followers }: ModelJob): boolean {
    return background || followers.some((gateway) => this.state.gateways.includes(gateway))
  }

  #unmark(lane: ModelLane, id: string): void {
    lane.stalled = without(lane.stalled, id)
  }

  submit(id: string, { lane: name, owner, entry, cost, follower, background, streamed, beside, ahead, hook, print, by }: Submission): unknown[] {
    const { state } = this
    const job = state.jobs[id]
    if (job) {
      if (print === '') return [1, -1, -1]
      if (job.print !== print) return [2, 'other']
      const other = job.by !== by
      if (other && job.record?.includes('"outcome":"cancelled"')) return [2, 'over']
      if (job.record === undefined) {
        if (follower !== '' && !job.followers.includes(follower)) job.followers.push(follower)
        if (background && !job.background) Object.assign(job, { background, hook: hook || job.hook })
      }
      return [1, -1, -1, job.next, other ? 1 : 0]
    }
    const lane = state.lanes[name]!
    const [waiting, running] = [lane.prioritized.length + lane.wait.length, lane.active.length]
    const size = ENVELOPE.length + (beside ? BODY.length : 0)
    const bytes = waiting + running === 0 ? 0 : (state.bytes[name] ?? 0)
    if (waiting >= LANE_LIMIT) return [0, waiting, running, 'jobs']
    if (ahead !== '' && waiting + running >= ahead) return [0, waiting, running, 'wait']
    if (bytes + size > LANE_BYTES) return [0, waiting, running, 'bytes']
    state.bytes[name] = bytes + size
    if (waiting + running === 0) Object.assign(lane, { ranks: {}, since: [] })
    const { rank, paid } = this.#rank(lane, owner, { entry, cost })
    lane.ranks[owner] = paid
    state.jobs[id] = {
      lane: name, owner, followers: follower === '' ? [] : [follower], background, streamed, beside, size, hook, print, by: print && by, late: false,
      attempt: 0, starts: 0, token: undefined, node: undefined, gave: undefined, error: '',
      next: 1, bytes: 0, log: [], tail: undefined, record: undefined, writer: undefined,
    }
    state.known[id] = rank
    lane.since.push(id)
    lane.prioritized.push({ id, score: rank * RANK + (lane.count += 1) })
    return [1, waiting, running]
  }

  #rank(lane: ModelLane, owner: string, weight: { entry: number; cost: number }) {
    const served = lane.ranks['*'] ?? 0
    const over = served >= RENUMBER_FROM
    const isNew = lane.ranks[owner] === undefined
    lane.ranks = Object.fromEntries(Object.entries(lane.ranks).flatMap(([who, paid]) => (over ? (paid <= served ? [] : [[who, renumbered(paid, served)]]) : isNew && paid < served ? [] : [[who, paid]])))
    if (over) {
      for (const each of lane.prioritized) {
        const order = each.score % RANK
        each.score = renumbered((each.score - order) / RANK, served) * RANK + order
      }
      for (const id of [...lane.prioritized.map((each) => each.id), ...lane.wait, ...lane.active]) if (this.state.known[id] !== undefined) this.state.known[id] = renumbered(this.state.known[id], served)
    }
    return rankOf(over ? 0 : served, lane.ranks[owner], weight)
  }

  /** `owner`: whose it must be, '' for anybody's. */
  follow(id: string, gateway: string, owner: string): unknown[] {
    const job = this.state.jobs[id]
    if (!job || (owner !== '' && owner !== job.owner)) return [0]
    if (job.record === undefined && !job.followers.includes(gateway)) job.followers.push(gateway)
    return [1, DIALECT, job.streamed ? 1 : 0, job.next, job.record === undefined ? 0 : 1, job.lane]
  }

  /** What a take answers, less its times. */
  take(name: string, token: string, node: string, judge: boolean): unknown[] {
    const { state } = this
    let id = state.took[token]
    if (id !== undefined && state.locks[id] !== token) return ['empty']
    if (id === undefined) {
      const lane = state.lanes[name]!
      id = lane.wait.pop() ?? this.#first(lane)
      if (id === undefined) return ['empty']
      lane.active.unshift(id)
      const rank = state.known[id] ?? 0
      if (rank > (lane.ranks['*'] ?? 0)) lane.ranks['*'] = rank
      state.locks[id] = token
      state.took[token] = id
    }
    state.lanes[name]!.since = without(state.lanes[name]!.since, id)
    const job = state.jobs[id]
    if (!job || state.known[id] === undefined) return ['gone', id]
    if (job.record !== undefined) return ['ended', id]
    if (job.token !== token) {
      if (job.late) this.#finish(id, 'expired', LATE)
      else if (judge && !this.#wanted(job)) this.#finish(id, 'cancelled', '')
      else if (job.starts >= MOST_STARTS) this.#finish(id, 'failed', job.error || EXHAUSTED)
      if (job.record !== undefined) return ['ended', id]
      job.attempt += 1
      job.starts += 1
      job.token = token
      job.node = node
      this.leases.push({ job: id, lane: name, token, attempt: job.attempt, node })
    }
    return ['begun', id, ENVELOPE, job.attempt, job.next, job.beside ? BODY : '', job.starts, job.error]
  }

  #first(lane: ModelLane): string | undefined {
    lane.prioritized = ordered(lane.prioritized)
    const first = lane.prioritized.shift()
    if (!first) lane.count = 0
    return first?.id
  }

  append(all: readonly Append[]): (string | number)[] {
    const boxes = new Map<string, unknown[]>()
    const answers = all.map((each) => this.#append(each, boxes))
    for (const [gateway, box] of boxes) this.told.push([`replies:${gateway}`, box])
    return answers
  }

  #append({ lease, first, count, frames, record }: Append, boxes: Map<string, unknown[]>): string | number {
    const job = this.state.jobs[lease.job]
    if (!job) return 'gone'
    if (job.record !== undefined) return job.writer === lease.token && first < job.next ? 'ok' : 'ended'
    if (job.attempt < lease.attempt) return 'behind'
    if (job.attempt !== lease.attempt || job.token !== lease.token) return 'stale'
    if (first + count <= job.next) return 'ok'
    if (first !== job.next) return job.next
    if (job.bytes + frames.length > LOG_LIMIT && record === '') return 'full'
    if (record !== '' && job.next === 1) job.tail = frames
    else {
      job.log.push([first, lease.token, frames])
      job.bytes += frames.length
    }
    job.next += count
    if (record !== '') {
      job.record = record
      job.writer = lease.token
      this.#retire(lease.job, job)
      this.finishInLane(lease)
    }
    if (record !== '' || job.streamed) {
      const message = { job: lease.job, attempt: lease.attempt, lease: lease.token, first, frames: JSON.parse(frames) as unknown }
      for (const gateway of job.followers) boxes.set(gateway, [...(boxes.get(gateway) ?? []), message])
    }
    return 'ok'
  }

  #retire(id: string, job: ModelJob): void {
    const { outcome } = JSON.parse(job.record!) as { outcome: string }
    if (job.hook !== '') this.state.events.push(`job.${outcome} ${job.owner} ${job.hook} ${id} {"id":"${id}"}`)
    job.beside = false
    const lane = this.state.lanes[job.lane]!
    lane.since = without(lane.since, id)
    this.state.bytes[job.lane]! -= job.size
  }

  /** BullMQ's bookkeeping of an end, by the holder of a lease. */
  finishInLane({ job, lane: name, token }: Pick<HeldLease, 'job' | 'lane' | 'token'>): boolean {
    const { state } = this
    const lane = state.lanes[name]!
    if (state.known[job] === undefined || state.locks[job] !== token) return false
    delete state.locks[job]
    this.#unmark(lane, job)
    if (!lane.active.includes(job)) return false
    lane.active = without(lane.active, job)
    delete state.known[job]
    return true
  }

  /** The end of a job that has no record, from outside any attempt. */
  #finish(id: string, outcome: string, error: string): void {
    const job = this.#living(id)
    const record = `{"outcome":"${outcome}","attempt":${job.attempt}${error ? `,"error":${error}` : ''}}`
    const frames = `[{"end":${record}}]`
    const first = job.next
    if (first === 1) job.tail = frames
    else job.log.push([first, '', frames])
    job.record = record
    job.next += 1
    this.#retire(id, job)
    for (const gateway of job.followers)
      this.told.push([`replies:${gateway}`, [{ job: id, attempt: job.attempt, lease: '', first, frames: JSON.parse(frames) as unknown }]])
    if (job.token !== undefined && job.node !== undefined) this.told.push([`control:${job.node}`, { ended: id }])
  }

  settle(id: string, outcome: string, error: string, follower: string): unknown[] {
    const job = this.state.jobs[id]
    if (!job) return ['gone']
    if (follower !== '') {
      job.followers = without(job.followers, follower)
      if (job.record === undefined && (job.followers.length > 0 || job.background)) return ['followed']
    }
    if (job.record !== undefined) return ['ended']
    this.#finish(id, outcome, error)
    return ['settled', job.attempt, job.lane]
  }

  /** A job that nobody has leased leaves BullMQ. */
  remove(name: string, id: string): void {
    const { state } = this
    if (state.locks[id] !== undefined) return
    const lane = state.lanes[name]!
    lane.prioritized = lane.prioritized.filter((each) => each.id !== id)
    lane.wait = without(lane.wait, id)
    lane.active = without(lane.active, id)
    delete state.known[id]
  }

  release({ job: id, token, attempt }: HeldLease, counted: boolean, error: string): number {
    const job = this.state.jobs[id]
    if (!job || job.record !== undefined || job.attempt !== attempt) return 0
    if (job.token !== token) return job.gave === token ? 1 : 0
    job.token = undefined
    job.node = undefined
    job.gave = token
    this.state.lanes[job.lane]!.since.push(id)
    if (!counted) job.starts -= 1
    if (error) job.error = error
    return 1
  }

  giveBack({ job: id, lane: name, token }: HeldLease): boolean {
    const { state } = this
    const lane = state.lanes[name]!
    if (state.known[id] === undefined || state.locks[id] !== token) return false
    delete state.locks[id]
    this.#unmark(lane, id)
    if (lane.active.includes(id)) {
      lane.active = without(lane.active, id)
      lane.prioritized.push({ id, score: state.known[id] * RANK })
    }
    return true
  }

  renew(leases: readonly HeldLease[], judge: boolean): string[] {
    return leases.map(({ job: id, lane: name, token, attempt }) => {
      const job = this.state.jobs[id]
      const lane = this.state.lanes[name]!
      const holder = this.state.locks[id]
      if (!job) return 'gone'
      if (job.record !== undefined) return 'ended'
      if (job.attempt < attempt) return 'behind'
      if (job.token !== token || (holder === undefined ? !lane.active.includes(id) : holder !== token)) return 'lost'
      this.state.locks[id] = token
      this.#unmark(lane, id)
      return !judge || this.#wanted(job) ? 'ok' : 'unwanted'
    })
  }

  reclaim({ job: id, lane: name, token, attempt, node }: HeldLease): string | number {
    const { state } = this
    const job = state.jobs[id]
    const lane = state.lanes[name]!
    if (!job || state.known[id] === undefined) return 'gone'
    if (job.record !== undefined) return 'ended'
    const holder = state.locks[id]
    if (job.attempt > attempt || (job.attempt === attempt && job.token !== token)) return 'lost'
    if (holder !== undefined && holder !== token) return 'lost'
    if (!lane.active.includes(id)) {
      lane.prioritized = lane.prioritized.filter((each) => each.id !== id)
      lane.wait = without(lane.wait, id)
      lane.active.unshift(id)
    }
    state.locks[id] = token
    lane.since = without(lane.since, id)
    this.#unmark(lane, id)
    Object.assign(job, { attempt, token, node, starts: Math.max(1, job.starts) })
    return job.next
  }

  /** BullMQ's look for jobs without a lock; `order` is the one in which it moved them, which a Redis set leaves open. */
  recover(name: string, order: readonly string[]): string[] {
    const lane = this.state.lanes[name]!
    const lost = lane.stalled.filter((id) => this.state.locks[id] === undefined && lane.active.includes(id))
    const moved = [...lost].toSorted((a, b) => order.indexOf(a) - order.indexOf(b))
    lane.active = lane.active.filter((id) => !lost.includes(id))
    lane.wait.push(...moved)
    lane.stalled = [...lane.active]
    return moved
  }

  /** Ended jobs that no attempt had begun, each with its lane. */
  sweep(): unknown[] {
    if (this.state.turn) return [0]
    this.state.turn = true
    const late = Object.keys(this.state.jobs).filter((id) => this.#living(id).late && this.#living(id).record === undefined)
    return [1, ...late.toSorted().flatMap((id) => {
      const { token, lane } = this.#living(id)
      this.#finish(id, 'expired', LATE)
      return token === undefined ? [id, lane] : []
    })]
  }

  read(id: string, from: number, most: number): unknown[] {
    const job = this.state.jobs[id]
    if (!job) return [0]
    const head = [1, job.attempt, job.next]
    if (from >= job.next) return head
    if (job.tail !== undefined) return [...head, 1, job.writer ?? '', job.tail]
    const start = job.log.findLastIndex(([first]) => first <= from)
    return [...head, ...job.log.slice(Math.max(0, start)).slice(0, most).flat()]
  }

  places(ids: readonly string[], owner: string): number[][] {
    return ids.map((id) => this.#place(id, owner))
  }

  #place(id: string, owner: string): number[] {
    const job = this.state.jobs[id]
    if (!job || (owner !== '' && owner !== job.owner)) return []
    if (job.record !== undefined || job.token !== undefined) return [-1, 0]
    const { prioritized, wait, active } = this.state.lanes[job.lane]!
    const inOrder = [...wait.toReversed(), ...ordered(prioritized).map((each) => each.id)]
    return [inOrder.indexOf(id), active.length]
  }

  progress(ids: readonly string[]): number[] {
    return ids.map((id) => this.state.jobs[id]?.next ?? 0)
  }

  /** A while after its end nothing of a job is left but what BullMQ may still have of it. */
  forget(id: string): void {
    delete this.state.jobs[id]
    this.forgotten.push(id)
  }

  save(): void {
    this.saved = structuredClone(this.state)
  }

  /** Redis was killed and has forgotten all since `save`; what it had published is published. */
  rollBack(): void {
    if (this.saved) this.state = structuredClone(this.saved)
  }
}

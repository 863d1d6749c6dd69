export interface RunStats {
  /** Tokens that the partial answer already had. */
  from: number
  /** Tokens decoded in this run. */
  tokens: number
  /** `running`, `completed`, `aborted` (the client closed), or the fault that ended it. */
  end: string
}

interface Counts {
  requests: number
  running: number
  maxRunning: number
  /** Clients that closed while their run was going on. */
  aborts: number
  /** Clients that closed while they waited for a load or a slot. */
  left: number
  /** Tokens decoded. */
  tokens: number
}

export interface JobStats extends Counts {
  completed: number
  /** The last 16. */
  runs: RunStats[]
}

export interface ModelStats extends Counts {
  loaded: boolean
  waiting: number
  loads: number
  evictions: number
}

export interface SeenRequest {
  path: string
  headers: Record<string, string | string[] | undefined>
  body: string
  key?: string
}

export interface EngineStats extends Counts {
  kind: string
  /** The same moment by the clock of `created_at` (epoch ms) and by the machine's monotonic one. */
  clock: { epochMs: number; monotonicMs: number }
  loads: number
  evictions: number
  models: Record<string, ModelStats>
  jobs: Record<string, JobStats>
  /** The last 64 inference requests, bodies cut at 64 KB. */
  last: SeenRequest[]
}

const counts = (): Counts => ({ requests: 0, running: 0, maxRunning: 0, aborts: 0, left: 0, tokens: 0 })

const JOBS = 10_000
const RUNS = 16
const LAST = 64
const BODY = 64 * 1024

/** A run as it begins and ends, for a history of many processes: `t` is ms of the machine's monotonic clock. */
export type RunLine =
  | { t: number; who: 'engine'; type: 'start'; name: string; run: number; key: string; from: number }
  | { t: number; who: 'engine'; type: 'end'; name: string; run: number; key: string; tokens: number; end: string }

const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

/** Counts of everything; oldest jobs are forgotten beyond a bound, so that a long benchmark does not grow. */
export class Stats {
  readonly all = counts()
  readonly models = new Map<string, ModelStats>()
  #jobs = new Map<string, JobStats>()
  /** The generation before: what is not asked for again is forgotten with it. */
  #older = new Map<string, JobStats>()
  #last: SeenRequest[] = []
  #runs = 0
  readonly #numbers = new WeakMap<RunStats, number>()
  readonly #tell: (line: RunLine) => void
  readonly #name: string

  /** `tell` hears of every run at once: an engine that is killed has told all that it did. */
  constructor(name = '', tell: (line: RunLine) => void = () => {}) {
    this.#name = name
    this.#tell = tell
  }

  model(name: string): ModelStats {
    let stats = this.models.get(name)
    if (!stats) this.models.set(name, (stats = { ...counts(), loaded: false, waiting: 0, loads: 0, evictions: 0 }))
    return stats
  }

  job(key: string): JobStats {
    let stats = this.#jobs.get(key)
    if (stats) return stats
    if (this.#jobs.size >= JOBS) {
      const forgotten = this.#older
      this.#older = this.#jobs
      this.#jobs = new Map([...forgotten].filter(([, { running }]) => running > 0))
    }
    stats = this.#older.get(key) ?? { ...counts(), completed: 0, runs: [] }
    this.#jobs.set(key, stats)
    return stats
  }

  seen(request: SeenRequest) {
    if (request.body.length > BODY) request.body = request.body.slice(0, BODY)
    this.#last.push(request)
    if (this.#last.length >= 2 * LAST) this.#last = this.#last.slice(-LAST)
  }

  began(model: string, key: string, from: number): RunStats {
    const run = { from, tokens: 0, end: 'running' }
    const job = this.job(key)
    job.runs.push(run)
    if (job.runs.length > RUNS) job.runs.shift()
    for (const each of [this.all, this.model(model), job]) each.maxRunning = Math.max(each.maxRunning, ++each.running)
    this.#numbers.set(run, ++this.#runs)
    this.#tell({ t: monotonicMs(), who: 'engine', type: 'start', name: this.#name, run: this.#runs, key, from })
    return run
  }

  ended(model: string, key: string, run: RunStats, end: string) {
    run.end = end
    const job = this.job(key)
    for (const each of [this.all, this.model(model), job]) {
      each.running--
      each.tokens += run.tokens
      if (end === 'aborted') each.aborts++
    }
    if (end === 'completed') job.completed++
    this.#tell({ t: monotonicMs(), who: 'engine', type: 'end', name: this.#name, run: this.#numbers.get(run) ?? 0, key, tokens: run.tokens, end })
  }

  /** Forgets all that has ended; what runs goes on being counted. */
  reset() {
    this.#jobs = new Map([...this.#older, ...this.#jobs].filter(([, { running }]) => running > 0))
    this.#older.clear()
    for (const each of [this.all, ...this.models.values(), ...this.#jobs.values()]) {
      const { running } = each
      Object.assign(each, counts(), { running, maxRunning: running })
    }
    for (const model of this.models.values()) Object.assign(model, { loads: 0, evictions: 0 })
    this.#last = []
  }

  snapshot(kind: string, key?: string): EngineStats {
    const models = Object.fromEntries(this.models)
    const sum = (field: 'loads' | 'evictions') => Object.values(models).reduce((total, model) => total + model[field], 0)
    const jobs = key === undefined ? Object.fromEntries([...this.#older, ...this.#jobs]) : { [key]: this.job(key) }
    const clock = { epochMs: performance.timeOrigin + performance.now(), monotonicMs: monotonicMs() }
    return structuredClone({
      ...this.all, kind, clock, loads: sum('loads'), evictions: sum('evictions'), models, jobs, last: this.#last.slice(-LAST),
    })
  }
}

import { readPartial, verifyText } from '../engine/tokens.ts'
import { checkBatch, type BatchVerdict } from './check-batch.ts'
import type { ClientLine, FaultLine, Line, RecordLine } from './history.ts'
import { FAULT_NAMES, type FaultName } from './schedule.ts'

export type Rule = 'S1' | 'S2' | 'S3' | 'S4' | 'S5' | 'S7' | 'L1' | 'L2' | 'L3' | 'L4' | 'F18'

export interface Violation {
  rule: Rule
  /** The client's job, where there is one. */
  key?: string
  what: string
}

export interface Spread {
  count: number
  /** ms */
  p50: number
  p99: number
  most: number
}

export interface FaultRow {
  fault: FaultName
  times: number
  /** Jobs that it was done to: running there, or followed there, or under way at all where it concerns everything. */
  jobs: number
  violations: number
  /** Until the jobs ran elsewhere (or were over); for Redis and gateways, from the fault's end until the next answer began. */
  recovery: Spread | undefined
}

export interface Verdict {
  seconds: number
  /** Requests of clients, and those that a gateway took. */
  requests: number
  accepted: number
  completed: number
  /** Tokens of the answers that completed. */
  tokens: number
  left: number
  refused: number
  /** Errors that clients were told, by their text. */
  errors: Record<string, number>
  unknown: Record<string, number>
  /** Streams of which a client had read something when their worker was killed, and those of them that came to their good end all the same. */
  streams: { cut: number; survived: number; continued: number; restarted: number }
  faults: FaultRow[]
  /** Jobs of dead, frozen and partitioned workers, while nothing else concerned all: until they ran elsewhere. */
  recovery: Spread | undefined
  /** The longest silence that clients saw within answers that went on after their worker's death. */
  gap: Spread | undefined
  /** From a client's leaving to the engine's stop, while nothing else was wrong there. */
  stop: Spread | undefined
  /** Clients that were told an error although the record says `completed`. */
  toldLess: number
  /** Jobs that a killed Redis forgot although it had taken them, as `appendfsync everysec` allows. */
  forgotten: number
  /** What became of the batch, if one was handed in. */
  batch: Omit<BatchVerdict, 'wrong'> | undefined
  violations: Violation[]
}

/** Bounds of what is promised, ms. `deadline`: how long after it a client is told. */
export const BOUNDS = { recovery: 5_000, stop: 2_000, deadline: 3_000 } as const
/** What a client is told whose job was started as often as it may be, and always lost with its node. */
const LOST_EACH_TIME = /was started (\d+) times and its node was lost each time/
/** Fewer samples say nothing of the hundredth: of those the tenth is judged, and of too few nothing. */
const SAMPLES = { hundredth: 100, tenth: 20 }

type Timed<T> = T & { t: number }
type Of<T extends ClientLine['type']> = Timed<Extract<ClientLine, { type: T }>>
type End = Of<'ok'> | Of<'fail'> | Of<'info'>

interface Run {
  engine: string
  from: number
  start: number
  end: number
  how: string
}

interface Job {
  invoke: Of<'invoke'>
  head: Of<'head'> | undefined
  ends: End[]
  runs: Run[]
}

interface Fault extends FaultLine {
  begin: number
  /** Infinity: it was never lifted. */
  over: number
}

/** The sample that so large a share of all does not exceed. */
const quantile = (sorted: readonly number[], share: number): number => Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0)

export const spreadOf = (samples: readonly number[]): Spread | undefined => {
  if (samples.length === 0) return undefined
  const sorted = samples.toSorted((a, b) => a - b)
  return { count: sorted.length, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), most: quantile(sorted, 1) }
}

/** What is wrong with the samples of something that has a bound (ms). */
const exceeds = (samples: readonly number[], bound: number, of: string): string | undefined => {
  if (samples.length < SAMPLES.tenth) return undefined
  const share = samples.length < SAMPLES.hundredth ? 0.9 : 0.99
  const found = quantile(samples.toSorted((a, b) => a - b), share)
  return found > bound ? `p${100 * share} of ${samples.length} ${of} is ${found} ms, more than ${bound}` : undefined
}

const read = (lines: readonly Line[]) => {
  const jobs = new Map<string, Job>()
  const records = new Map<string, Timed<RecordLine>[]>()
  const faults = new Map<number, Fault>()
  const open = new Map<string, Map<number, Run>>()
  const runsOf = new Map<string, Run[]>()
  const rest: string[] = []
  for (const line of lines) {
    switch (line.who) {
      case 'client':
        if (line.type === 'invoke') jobs.set(line.key, { invoke: line, head: undefined, ends: [], runs: [] })
        else if (line.type === 'head') Object.assign(jobs.get(line.key) ?? {}, { head: line })
        else jobs.get(line.key)?.ends.push(line)
        break
      case 'engine': {
        const mine = open.get(line.name) ?? new Map<number, Run>()
        open.set(line.name, mine)
        if (line.type === 'start') {
          const run: Run = { engine: line.name, from: line.from, start: line.t, end: Infinity, how: 'running' }
          mine.set(line.run, run)
          runsOf.set(line.key, [...(runsOf.get(line.key) ?? []), run])
          break
        }
        const run = mine.get(line.run)
        if (run) Object.assign(run, { end: line.t, how: line.end })
        mine.delete(line.run)
        break
      }
      case 'site':
        if (line.type === 'up') break
        // An engine that has ended has ended all it did.
        for (const run of open.get(line.part)?.values() ?? []) Object.assign(run, { end: line.t, how: 'killed' })
        open.delete(line.part)
        break
      case 'fault': {
        const known = faults.get(line.id)
        if (line.type === 'begin') faults.set(line.id, { ...line, begin: line.t, over: Infinity })
        else if (known) known.over = line.t
        break
      }
      case 'redis':
        records.set(line.job, [...(records.get(line.job) ?? []), line])
        break
      case 'rest':
        if (line.type === 'wrong') rest.push(line.what)
        break
      case 'batch': // `checkBatch` reads them
        break
      default:
        line satisfies never
    }
  }
  for (const [key, job] of jobs) job.runs = runsOf.get(key) ?? []
  return { jobs, records, faults: [...faults.values()], rest }
}

const overlaps = ({ begin, over }: Fault, from: number, to: number): boolean => begin <= to && over >= from
const endOf = ({ ends }: Job): End | undefined => ends[0]

/** What a fault was done to. */
const touches = (fault: Fault, job: Job): boolean => {
  const ended = endOf(job)?.t ?? Infinity
  if (job.invoke.t > fault.begin || ended < fault.begin) return false
  if (fault.parts.length === 0) return true
  return fault.parts.some((part) =>
    part === `g${job.invoke.gateway}` || job.runs.some(({ engine, start, end }) => (engine === part || engine.startsWith(`${part}.`)) && start <= fault.begin && end >= fault.begin))
}

/** When a job that a fault was done to ran anew, or was over with an error: ms from the fault's begin. */
const recoveredAfter = ({ begin }: Fault, job: Job): number | undefined => {
  const next = job.runs.find(({ start }) => start > begin)?.start
  const end = endOf(job)
  const failed = end?.type === 'fail' && end.t > begin ? end.t : undefined
  const first = Math.min(next ?? Infinity, failed ?? Infinity)
  return first === Infinity ? undefined : first - begin
}

/**
 * The longest that a job waited after one fault until it ran anew or the next node or engine was struck, ms. Only for one of which more
 * attempts began than any engine heard of: another worker had it then, and what struck that one is recovered from by itself.
 */
const longestWait = ({ begin }: Fault, after: number, struck: readonly number[]): number => {
  const moments = [begin, ...struck.filter((t) => t > begin && t < begin + after), begin + after].toSorted((a, b) => a - b)
  return Math.max(...moments.slice(1).map((moment, i) => moment - (moments[i] ?? moment)))
}

/** Whether an attempt began that came to no engine, by Redis' record of the job. */
const wasUnheard = ({ runs }: Job, lines: readonly RecordLine[]): boolean => Math.max(0, ...lines.map(({ attempts = 0 }) => attempts)) > runs.length

const isOfWorker = ({ fault, parts }: Fault): boolean => (fault === 'F1' || fault === 'F2' || fault === 'F7') && (parts[0]?.startsWith('n') ?? false)
const isOfRuns = ({ parts }: Fault): boolean => parts[0]?.startsWith('n') ?? false

/** An error without what differs from one to the next. */
const kindOf = (status: number, error: string): string => `${status} ${error.replaceAll(/\b[ng]\d\b/g, 'N').replaceAll(/\d+(\.\d+)*/g, '#').slice(0, 100)}`

const count = (into: Record<string, number>, name: string): void => void (into[name] = (into[name] ?? 0) + 1)

/** S1, S2, S4 of one job, from how it stood in Redis. */
const ofRecord = (key: string, job: Job, lines: readonly Timed<RecordLine>[], redisKills: readonly Fault[], violations: Violation[]): 'forgotten' | 'told less' | undefined => {
  const say = (rule: Rule, what: string) => void violations.push({ rule, key, what })
  const end = endOf(job)
  const seen = lines.filter(({ record }) => record !== undefined)
  const texts = [...new Set(seen.map(({ record }) => record))]
  if (texts.length > 1) say('S2', `its record differs from one reading to the next: ${texts.join(' and ')}`)
  for (const { log = [] } of lines) {
    if (log.reduce((sum, { ends }) => sum + ends, 0) > 1) say('S2', 'its log has more than one end')
    const order = log.map(({ lease }) => lease)
    const stale = order.find((lease, i) => order[i - 1] !== lease && order.slice(0, i).includes(lease))
    if (stale !== undefined) say('S4', 'its log has entries of an attempt behind those of a later one')
    const gap = log.findIndex(({ first }, i) => i > 0 && first !== (log[i - 1]?.first ?? 0) + (log[i - 1]?.count ?? 0))
    if (gap > 0) say('S3', `its log has entry ${log[gap]?.first} behind entry ${log[gap - 1]?.first} of ${log[gap - 1]?.count} frames`)
  }
  const { outcome, attempt }: { outcome?: string; attempt?: number } = texts[0] === undefined ? {} : (JSON.parse(texts[0]) as { outcome: string; attempt: number })
  const attempts = Math.max(0, ...seen.map((line) => line.attempts ?? 0))
  if (attempt !== undefined && attempt < attempts) say('S4', `attempt ${attempt} wrote its record, although attempt ${attempts} had begun`)
  const last = lines.at(-1)
  const forgets = redisKills.some((fault) => overlaps(fault, job.invoke.t - 3_000, last?.t ?? Infinity))
  if (last?.state === 'live') say('S1', `it was accepted, and ${((last.t - (end?.t ?? last.t)) / 1000).toFixed(1)} s after its client's end it has none in Redis`)
  if (end?.type === 'info' && outcome === undefined && last?.state !== 'live') {
    if (last?.state === 'gone' && forgets) return 'forgotten'
    say('S1', last ? 'it was accepted, and is gone without a record' : 'it was accepted, and nobody knows how it ended')
  }
  if (end?.type === 'ok' && outcome !== undefined && outcome !== 'completed') say('S2', `its client was told all, and its record says ${outcome}`)
  // A gateway that gives a job up says why; this one was taken for dead.
  if (end?.type === 'fail' && outcome === 'cancelled' && /cancel/.test(end.error)) say('S1', 'it was cancelled although its client stayed')
  return end?.type === 'fail' && outcome === 'completed' ? 'told less' : undefined
}

/** L1 of one job: its client hears of its end in time. */
const ofTime = (key: string, { t, deadlineMs = Infinity }: Of<'invoke'>, end: End, violations: Violation[]): void => {
  const say = (what: string) => void violations.push({ rule: 'L1', key, what })
  const late = end.t - t - deadlineMs
  if (late > BOUNDS.deadline && end.type !== 'info') say(`its client was told its end ${(late / 1000).toFixed(1)} s after its deadline`)
  if (end.type !== 'info' || end.why !== 'time-out') return
  say(deadlineMs === Infinity ? 'it had no end within a minute' : `${(late / 1000).toFixed(1)} s after its deadline it had no end`)
}

/**
 * L2 of one job: nobody gives it up as lost so often when that was not done to it. Whatever happened to anything in its life counts, for where
 * it was without an engine's knowing is not in the history; deleted locks (F17) lose it more than once.
 */
const ofStarts = (key: string, job: Job, end: End, faults: readonly Fault[], violations: Violation[]): void => {
  const starts = end.type === 'fail' ? Number(LOST_EACH_TIME.exec(end.error)?.[1] ?? 0) : 0
  if (starts === 0) return
  const met = faults.filter((fault) => overlaps(fault, job.invoke.t - BOUNDS.recovery, end.t))
  if (met.length < starts && !met.some(({ fault }) => fault === 'F17')) violations.push({ rule: 'L2', key, what: `it was given up as lost with its node ${starts} times, and nothing was done to any part but ${met.length} times` })
}

/** S3 and S5 of one job, from what its client read. */
const ofText = (key: string, { invoke: { tokens } }: Job, end: End, violations: Violation[]): void => {
  const say = (rule: Rule, what: string) => void violations.push({ rule, key, what })
  if (end.type === 'ok') {
    const verdict = verifyText(key, end.text)
    if (!verdict.ok) say('S3', verdict.reason)
    else if (verdict.count !== tokens) say('S5', `it ended well with ${verdict.count} of ${tokens} tokens`)
  } else if (readPartial(key, end.text) === undefined) {
    const verdict = verifyText(key, end.text)
    say('S3', verdict.ok ? 'what its client read is no beginning of its text' : verdict.reason)
  }
  if (end.type === 'fail' && end.both) say('S5', 'its client was told both a good end and an error')
  if (end.type === 'info' && end.why === 'cut') say('S5', 'its answer ended without a good end and without an error')
  if (end.type === 'info' && end.why === 'form') say('S5', `its answer is not of its dialect: ${end.detail ?? ''}`)
}

/**
 * Decides from a history alone whether the promises were kept. A time-out, a lost connection or a client that left is "unknown",
 * never "failed": Redis' own record then says how the job ended.
 */
export const checkHistory = (lines: readonly Line[]): Verdict => {
  const { jobs, records, faults, rest } = read(lines)
  const violations: Violation[] = []
  const wide = faults.filter((fault) => fault.wide)
  const redisKills = faults.filter(({ fault }) => fault === 'F5')
  const errors: Record<string, number> = {}
  const unknown: Record<string, number> = {}
  const totals = { accepted: 0, completed: 0, tokens: 0, left: 0, refused: 0, toldLess: 0, forgotten: 0 }
  const stops: number[] = []

  for (const [key, job] of jobs) {
    const { invoke, head, ends, runs } = job
    const [end] = ends
    if (!end || ends.length > 1) {
      violations.push({ rule: 'S1', key, what: `its client was told ${ends.length} ends` })
      continue
    }
    const accepted = head?.job !== undefined
    if (accepted) totals.accepted += 1
    ofText(key, job, end, violations)
    if (head?.job !== undefined) {
      const found = ofRecord(key, job, records.get(head.job) ?? [], redisKills, violations)
      if (found === 'forgotten') totals.forgotten += 1
      if (found === 'told less') totals.toldLess += 1
    }
    if (end.type === 'ok') {
      totals.completed += 1
      totals.tokens += invoke.tokens
    } else if (end.type === 'fail') count(errors, kindOf(end.status, end.error))
    else if (end.why === 'left') totals.left += 1
    else if (end.why === 'refused') totals.refused += 1
    else count(unknown, end.why)
    if (key.startsWith('probe-') && end.type !== 'ok') violations.push({ rule: 'L4', key, what: `after all faults: ${end.type === 'fail' ? end.error : end.why}` })
    ofTime(key, invoke, end, violations)
    ofStarts(key, job, end, faults, violations)
    if (invoke.poison && runs.length > 3) violations.push({ rule: 'F18', key, what: `it was started ${runs.length} times` })
    if (end.type === 'info' && end.why === 'left') {
      const near = faults.some((fault) => overlaps(fault, end.t - 6_000, end.t + 3_000) && (fault.parts.length === 0 || fault.wide || fault.parts.some((part) => part === `g${invoke.gateway}` || runs.some(({ engine }) => engine === part || engine.split('.')[0] === part))))
      if (!near) {
        for (const run of runs) if (run.end > end.t) stops.push(run.end === Infinity ? 60_000 : run.end - end.t)
        if (runs.some(({ start }) => start > end.t + BOUNDS.stop)) violations.push({ rule: 'L3', key, what: 'its client had left more than 2 s before an engine began it' })
      }
    }
  }

  const struck = faults.filter(isOfRuns).map(({ begin }) => begin)
  const quiet: number[] = []
  const gaps: number[] = []
  const streams = { cut: 0, survived: 0, continued: 0, restarted: 0 }
  const touched = new Map<FaultName, { times: number; jobs: number; keys: Set<string>; samples: number[] }>()
  const heads = [...jobs.values()].flatMap(({ head, invoke }) => (head?.status === 200 ? [{ t: head.t, gateway: `g${invoke.gateway}` }] : [])).toSorted((a, b) => a.t - b.t)
  for (const fault of faults) {
    const row = touched.get(fault.fault) ?? { times: 0, jobs: 0, keys: new Set(), samples: [] }
    touched.set(fault.fault, row)
    row.times += 1
    for (const [key, job] of jobs) {
      if (!touches(fault, job)) continue
      row.jobs += 1
      row.keys.add(key)
      if (!isOfRuns(fault)) continue
      const after = recoveredAfter(fault, job)
      const end = endOf(job)
      if (after !== undefined && end?.type !== 'info') {
        row.samples.push(after)
        if (isOfWorker(fault) && !wide.some((other) => overlaps(other, fault.begin - 1_000, fault.begin + Math.min(after, 10_000)))) quiet.push(wasUnheard(job, records.get(job.head?.job ?? '') ?? []) ? longestWait(fault, after, struck) : after)
      }
      if (fault.fault !== 'F1' || !job.invoke.stream || end?.type === 'info' || after === undefined) continue
      const next = job.runs.find(({ start }) => start > fault.begin)
      streams.cut += 1
      if (end?.type !== 'ok') continue
      streams.survived += 1
      if (next && next.from > 0) streams.continued += 1
      else streams.restarted += 1
      if (end.gapEnd > fault.begin) gaps.push(end.gapMs)
    }
    if (!isOfRuns(fault) && fault.over < Infinity && fault.fault !== 'F18' && fault.fault !== 'F17') {
      const [part] = fault.parts
      const next = heads.find(({ t, gateway }) => t > fault.over && (part === undefined || gateway === part))
      if (next) row.samples.push(next.t - fault.over)
    }
  }
  const recovery = spreadOf(quiet)
  const stop = spreadOf(stops)
  const late = exceeds(quiet, BOUNDS.recovery, 'recoveries')
  const deaf = exceeds(stops, BOUNDS.stop, 'stops')
  if (late !== undefined) violations.push({ rule: 'L2', what: late })
  if (deaf !== undefined) violations.push({ rule: 'L3', what: deaf })
  for (const what of rest) violations.push({ rule: 'L4', what })
  const { wrong = [], ...batch } = checkBatch(lines) ?? {}
  violations.push(...wrong)

  const ofClients = { F14: [...jobs.values()].filter((job) => { const end = endOf(job); return end?.type === 'info' && end.why === 'left' }), F15: [...jobs.values()].filter(({ invoke }) => invoke.slow) }
  return {
    seconds: Math.round(((lines.at(-1)?.t ?? 0) - (lines[0]?.t ?? 0)) / 1000),
    requests: jobs.size,
    ...totals,
    errors,
    unknown,
    streams,
    faults: FAULT_NAMES.flatMap((fault): FaultRow[] => {
      if (fault === 'F14' || fault === 'F15') {
        const keys = new Set(ofClients[fault].map(({ invoke: { key } }) => key))
        const found = violations.filter(({ key }) => key !== undefined && keys.has(key)).length
        return keys.size === 0 ? [] : [{ fault, times: keys.size, jobs: keys.size, violations: found, recovery: fault === 'F14' ? stop : undefined }]
      }
      const row = touched.get(fault)
      if (!row) return []
      return [{ fault, times: row.times, jobs: row.jobs, violations: violations.filter(({ key }) => key !== undefined && row.keys.has(key)).length, recovery: spreadOf(row.samples) }]
    }),
    recovery,
    gap: spreadOf(gaps),
    stop,
    batch: 'lines' in batch ? batch : undefined,
    violations,
  }
}


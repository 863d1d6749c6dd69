import { random, type Random } from './random.ts'

/** What can be done to a running installation, by its number in the fault matrix, and how often a minute. */
export const FAULTS = {
  F1: { what: 'worker killed (SIGKILL)', perMinute: 11.5 },
  F2: { what: 'worker frozen 5–20 s, then woken', perMinute: 0.8 },
  F3: { what: 'worker or gateway frozen for less than a lease (a blocked event loop, as near as it can be had from outside)', perMinute: 1 },
  F4: { what: 'gateway killed (SIGKILL)', perMinute: 1.3 },
  F5: { what: 'Redis killed (SIGKILL) and started again', perMinute: 1.3 },
  F6: { what: 'Redis slow, reset, half-open, paused, clients cut off', perMinute: 1.5 },
  F7: { what: 'partition from Redis, both ways or one', perMinute: 1.2 },
  F8: { what: 'Redis at maxmemory', perMinute: 0.3 },
  F10: { what: 'engine refuses: connection, 500, 503, 404', perMinute: 1 },
  F11: { what: 'engine answers what is not its protocol', perMinute: 1 },
  F12: { what: 'engine hangs, before the first token, between two, or loads slowly', perMinute: 1 },
  F13: { what: 'engine killed (SIGKILL)', perMinute: 3 },
  F14: { what: 'client leaves: in the queue, in prefill, in mid-stream', perMinute: 0 },
  F15: { what: 'slow client', perMinute: 0 },
  F16: { what: 'worker or gateway with a clock an hour off, which then steps to the other side', perMinute: 0.3 },
  F17: { what: 'locks of running jobs deleted (a job delivered twice)', perMinute: 1 },
  F18: { what: 'poison job: its engine dies of it each time', perMinute: 0.4 },
  F21: { what: 'many jobs queued at once', perMinute: 0.4 },
  F22: { what: 'all workers killed at once, and many clients at once', perMinute: 0.2 },
  F23: { what: 'rolling restart of workers and gateways (SIGTERM)', perMinute: 0.25 },
} as const satisfies Record<string, { what: string; perMinute: number }>
export type FaultName = keyof typeof FAULTS
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[]

/** These are what some clients do all the time, not what the schedule does. */
export const OF_CLIENTS: readonly FaultName[] = ['F14', 'F15']

export type ScriptedFault = Record<string, number | string>

/** What is done. Workers are numbered from 0, and so are gateways; an engine is one of a worker's node. */
export type Deed =
  | { fault: 'F1'; worker: number }
  | { fault: 'F2'; worker: number; ms: number }
  | { fault: 'F3'; part: 'worker' | 'gateway'; which: number; ms: number }
  | { fault: 'F4'; gateway: number }
  /** `forgetsMs`: what was written in so many ms before is not there any more, as after a power failure. */
  | { fault: 'F5'; downMs: number; forgetsMs?: number }
  | { fault: 'F6'; how: 'slow'; part: 'worker' | 'gateway'; which: number; delay: number; ms: number }
  | { fault: 'F6'; how: 'reset' | 'half-open'; part: 'worker' | 'gateway'; which: number; ms: number }
  | { fault: 'F6'; how: 'pause'; ms: number }
  | { fault: 'F6'; how: 'client-kill'; type: 'normal' | 'pubsub' }
  | { fault: 'F7'; part: 'worker' | 'gateway'; which: number; way: 'up' | 'down' | 'both'; ms: number }
  | { fault: 'F8'; ms: number }
  | { fault: 'F10'; worker: number; engine: EngineName; how: 'refused' | 500 | 503 | 404; ms: number }
  | { fault: 'F11'; worker: number; engine: EngineName; script: ScriptedFault; ms: number }
  | { fault: 'F12'; worker: number; engine: EngineName; how: 'silent' | 'stall' | 'slow-load'; ms: number }
  | { fault: 'F13'; worker: number; engine: EngineName }
  | { fault: 'F16'; part: 'worker' | 'gateway'; which: number; skewMs: number; stepAfterMs: number }
  | { fault: 'F17'; ms: number }
  | { fault: 'F18'; model: EngineName }
  | { fault: 'F21'; jobs: number }
  | { fault: 'F22'; jobs: number }
  | { fault: 'F23' }

export const ENGINES = ['ollama', 'llama'] as const
export type EngineName = (typeof ENGINES)[number]

/** A deed and when it is done, ms from the campaign's begin. */
export type Timed = { at: number } & Deed
export type Appointment = { id: number } & Timed

export interface ScheduleOptions {
  seed: number
  minutes: number
  workers: number
  gateways: number
  /** Only these; all by default. */
  only?: readonly FaultName[] | undefined
}

const HOUR = 3_600_000

const MANGLED: readonly ScriptedFault[] = [
  { garbage_at: 3 }, { split_at: 2 }, { bad_byte_at: 4 }, { eof_at: 5 }, { eof_at: 0 }, { error_at: 4 }, { giant_at: 3 }, { cut_at: 6 }, { nonsense: 'html' },
]

const deed = (fault: FaultName, r: Random, { workers, gateways }: ScheduleOptions): Deed | undefined => {
  const worker = r.int(0, workers - 1)
  const gateway = r.int(0, gateways - 1)
  const engine = r.pick(ENGINES)
  const some: { part: 'worker' | 'gateway'; which: number } = r.chance(0.7) ? { part: 'worker', which: worker } : { part: 'gateway', which: gateway }
  switch (fault) {
    case 'F1': return { fault, worker }
    case 'F2': return { fault, worker, ms: r.chance(0.7) ? r.int(5_000, 8_000) : r.int(8_000, 20_000) }
    case 'F3': return { fault, ...some, ms: r.int(300, 2_000) }
    case 'F4': return { fault, gateway }
    case 'F5': return { fault, downMs: r.chance(0.6) ? 0 : r.int(100, 1_500) }
    case 'F6': {
      const how = r.pick(['slow', 'slow', 'reset', 'half-open', 'pause', 'client-kill'] as const)
      if (how === 'slow') return { fault, how, ...some, delay: r.int(5, 500), ms: r.int(1_000, 5_000) }
      if (how === 'pause') return { fault, how, ms: r.int(200, 2_000) }
      if (how === 'client-kill') return { fault, how, type: r.pick(['normal', 'pubsub'] as const) }
      return { fault, how, ...some, ms: how === 'reset' ? 0 : r.int(1_000, 7_000) }
    }
    case 'F7': return { fault, ...some, way: r.pick(['up', 'down', 'both', 'both'] as const), ms: r.int(3_000, 9_000) }
    case 'F8': return { fault, ms: r.int(1_000, 3_000) }
    case 'F10': return { fault, worker, engine, how: r.pick(['refused', 500, 503, 404] as const), ms: r.int(500, 3_000) }
    case 'F11': return { fault, worker, engine, script: r.pick(MANGLED), ms: r.int(300, 1_500) }
    case 'F12': return { fault, worker, engine, how: r.pick(['silent', 'stall', 'slow-load'] as const), ms: r.int(1_000, 4_000) }
    case 'F13': return { fault, worker, engine }
    case 'F16': return { fault, ...some, skewMs: r.pick([HOUR, -HOUR]), stepAfterMs: r.int(2_000, 5_000) }
    case 'F17': return { fault, ms: r.int(1_000, 2_500) }
    case 'F18': return { fault, model: engine }
    case 'F21': return { fault, jobs: r.int(150, 400) }
    case 'F22': return { fault, jobs: r.int(100, 200) }
    case 'F23': return { fault }
    case 'F14':
    case 'F15': return undefined
    default: return fault satisfies never
  }
}

export const inOrder = (list: readonly Timed[]): Appointment[] => list.toSorted((a, b) => a.at - b.at).map((each, i) => ({ id: i + 1, ...each }))

/**
 * All faults of a campaign in their order: a pure function of its options. Each fault has its share of every minute, and what is due
 * less than once in the whole time is due once. They do overlap, as they do in life; the last 8 s are left to what is under way.
 */
export const scheduleOf = (options: ScheduleOptions): Appointment[] => {
  const { seed, minutes, only = FAULT_NAMES } = options
  const source = random(seed)
  const end = Math.max(5_000, minutes * 60_000 - 8_000)
  const list: Timed[] = []
  for (const fault of FAULT_NAMES) {
    const r = source.fork(fault)
    const { perMinute } = FAULTS[fault]
    if (perMinute === 0 || !only.includes(fault)) continue
    const count = Math.max(1, Math.round(perMinute * minutes))
    for (let i = 0; i < count; i += 1) {
      const made = deed(fault, r, options)
      // Each in its own part of the time, anywhere within it.
      if (made) list.push({ at: Math.round(2_000 + ((i + r.next()) * (end - 2_000)) / count), ...made })
    }
  }
  return inOrder(list)
}

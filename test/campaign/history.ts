import { createWriteStream } from 'node:fs'
import { once } from 'node:events'
import type { RunLine } from '../engine/stats.ts'
import type { FaultName } from './schedule.ts'
import type { DialectName } from './formats.ts'

/** What a client did or was told. Each `invoke` is followed by one `ok`, `fail` or `info`, `head` between them where there was one. */
export type ClientLine =
  | {
      who: 'client'
      type: 'invoke'
      key: string
      gateway: number
      model: string
      dialect: DialectName
      stream: boolean
      /** Tokens that the whole answer must have. */
      tokens: number
      sampling: 'zero' | 'seed' | 'free'
      /** Its engine dies of it. */
      poison?: true
      /** Its client reads slowly. */
      slow?: true
      /** Its job must be over by then, ms: what its gateway has as time-out. */
      deadlineMs?: number
    }
  | { who: 'client'; type: 'head'; key: string; status: number; job?: string; node?: string }
  /** The answer came to its good end. `gapMs`: the longest silence within it; `gapEnd`: when that ended, 0 without one. */
  | { who: 'client'; type: 'ok'; key: string; text: string; gapMs: number; gapEnd: number }
  /** An error was told, with a status or in the stream; `both`: and the end of a good answer, too. */
  | { who: 'client'; type: 'fail'; key: string; status: number; error: string; text: string; both?: true }
  /**
   * Nobody knows how it ended: it took too long, the connection broke, the client left. `cut`: the body ended as a whole one does, but with
   * neither an end event nor an error.
   */
  | { who: 'client'; type: 'info'; key: string; why: 'time-out' | 'connection' | 'left' | 'refused' | 'cut' | 'form'; text: string; detail?: string }

/** What was done to the installation. `wide`: it concerns every job, whoever runs it. */
export interface FaultLine {
  who: 'fault'
  type: 'begin' | 'end'
  id: number
  fault: FaultName
  /** Names of the parts it was done to; none: Redis, or everything. */
  parts: string[]
  wide: boolean
  detail: string
}

/** A process came up or ended. */
export interface SiteLine {
  who: 'site'
  type: 'up' | 'down'
  part: string
  pid: number
  code?: number | string
}

/** How a job stood in Redis. `attempts`: how many had begun. `leases`: whose entries its log has, in their order. */
export interface RecordLine {
  who: 'redis'
  type: 'job'
  job: string
  state: 'gone' | 'live' | 'ended'
  record?: string
  attempts?: number
  log?: { first: number; count: number; lease: string; ends: number }[]
}

/** At the campaign's end: what was not as it is when all is well. */
export interface RestLine {
  who: 'rest'
  type: 'wrong' | 'right'
  what: string
}

/** What a client read of the batch that it had handed in. Tokens: of each of its lines, whose keys are `batch-0`, `batch-1` and so on. */
export type BatchLine =
  | { who: 'batch'; type: 'begin'; tokens: number[] }
  | { who: 'batch'; type: 'line'; file: 'output' | 'error'; key: string; text: string; error?: string }
  | { who: 'batch'; type: 'end'; status: string; counts: { total: number; completed: number; failed: number } }
  | { who: 'batch'; type: 'lost'; why: string }

export type Line = ({ t: number } & Untimed) | RunLine
/** A line before it is told. */
export type Untimed = ClientLine | FaultLine | SiteLine | RecordLine | RestLine | BatchLine

/** ms of the machine's monotonic clock, the same in every process. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

export type Tell = (line: Untimed) => void

/** A history's own file: one JSON line for each event, with the time it was told. */
export const openHistory = (path: string): { tell: Tell; close(): Promise<void> } => {
  const file = createWriteStream(path)
  return {
    tell: (line) => void file.write(`${JSON.stringify({ t: Math.round(monotonicMs() * 1000) / 1000, ...line })}\n`),
    async close() {
      file.end()
      await once(file, 'finish')
    },
  }
}

import type { AnswerFormat } from './formats/format.ts'
import type { Script } from './script.ts'
import type { RunStats } from './stats.ts'
import { nextMultibyte, type Partial } from './tokens.ts'

export interface RunPlan {
  key: string
  script: Script
  partial: Partial
  /** Most tokens that the request allows this run. */
  limit: number
  stops: string[]
  stream: boolean
  format: AnswerFormat
  promptTokens: number
  /** Time that the request has waited for the model to load. */
  loadMs: number
  /** `performance.now()` at the request's arrival. */
  since: number
  stats: RunStats
  /** Whether the connection is closed behind the stream. */
  closes: boolean
}

const FAULTS = ['stall', 'die', 'cut', 'eof', 'error', 'garbage', 'split', 'bad_byte', 'giant'] as const
type FaultKind = (typeof FAULTS)[number]
export interface Fault {
  kind: FaultKind
  at: number
}

/** Where a run's faults lie, in order. A run that begins at or behind a place has passed it. */
export const faultsOf = (script: Script, from: number, stream: boolean): Fault[] =>
  FAULTS.flatMap((kind) => {
    const given = script[`${kind}_at`]
    const streamOnly = kind === 'garbage' || kind === 'split' || kind === 'bad_byte' || kind === 'giant'
    if (given === undefined || (given > 0 && given <= from) || (given === 0 && from > 0) || (streamOnly && !stream)) return []
    return [{ kind, at: kind === 'split' ? nextMultibyte(given) : given }]
  }).toSorted((a, b) => a.at - b.at)

export interface RunEnd {
  /** The first token that is not sent. */
  until: number
  reason: 'stop' | 'length'
  /** The last token's text, where a stop string cuts it. */
  last?: string
}

/** Where the answer ends. */
export const endOf = (plan: RunPlan, tokens: (i: number) => string): RunEnd => {
  const { script, partial, limit, stops } = plan
  const whole = script.tokens ?? 16
  const begin = partial.rest === '' ? partial.have : partial.have - 1
  const until = Math.max(begin, Math.min(whole, begin + limit))
  const reason = until < whole ? 'length' : 'stop'
  if (stops.length === 0) return { until, reason }
  const ends: number[] = []
  let text = ''
  for (let i = begin; i < until; i++) ends.push((text += i < partial.have ? partial.rest : tokens(i)).length)
  const found = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0)
  if (found.length === 0) return { until, reason }
  const place = Math.min(...found)
  const index = ends.findIndex((end) => end > place)
  const start = ends[index - 1] ?? 0
  return place === start
    ? { until: begin + index, reason: 'stop' }
    : { until: begin + index + 1, reason: 'stop', last: text.slice(start, place) }
}

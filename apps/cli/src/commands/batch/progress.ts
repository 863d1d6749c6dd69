import { span } from '../units.ts'
import type { Batch } from './batch-client.ts'

/** How far a batch was, and when (`performance.now()`). */
export interface Mark {
  at: number
  done: number
}

/** Of so much of the past the rate is made, ms. */
const WINDOW_MS = 60_000
const WIDTH = 24

const doneOf = ({ request_counts: counts }: Batch): number => (counts?.completed ?? 0) + (counts?.failed ?? 0)

/** The marks that the next rate is made of: those of the last minute, and this one. */
export const marked = (marks: readonly Mark[], batch: Batch, now: number): Mark[] => [
  ...marks.filter(({ at }) => now - at <= WINDOW_MS),
  { at: now, done: doneOf(batch) },
]

/** Lines a second; `undefined`: too early to say. */
const rateOf = (marks: readonly Mark[]): number | undefined => {
  const [first, last] = [marks[0], marks.at(-1)]
  if (!first || !last || last.at - first.at < 1_000 || last.done === first.done) return undefined
  return (1_000 * (last.done - first.done)) / (last.at - first.at)
}

/** `in_progress 1,200 of 10,000, 3 failed, 45/s, 3 min left`: one line for people. */
export const progressLine = (batch: Batch, marks: readonly Mark[], { bar = false } = {}): string => {
  const { status, request_counts: counts } = batch
  if (!counts || counts.total === 0) return status
  const done = doneOf(batch)
  const rate = rateOf(marks)
  const filled = Math.floor((WIDTH * done) / counts.total)
  const words = [
    `${bar ? `[${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}] ` : `${status} `}${done.toLocaleString('en')} of ${counts.total.toLocaleString('en')}`,
    ...(counts.failed > 0 ? [`${counts.failed.toLocaleString('en')} failed`] : []),
    ...(rate === undefined ? [] : [`${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`]),
    ...(rate === undefined || done >= counts.total ? [] : [`${span((1_000 * (counts.total - done)) / rate)} left`]),
  ]
  return words.join(', ')
}

import { expect, test } from 'vitest'
import type { Batch } from './batch-client.ts'
import { marked, progressLine, type Mark } from './progress.ts'

const batch = (completed: number, failed = 0, total = 10_000): Batch => ({
  id: 'batch_1', endpoint: '/v1/chat/completions', status: 'in_progress', input_file_id: 'file-1', created_at: 0, request_counts: { total, completed, failed },
})

test('rate and time left are those of the last minute', () => {
  let marks: Mark[] = []
  for (const [at, done] of [[0, 0], [50_000, 10], [100_000, 1_010], [105_000, 1_510]] as const) marks = marked(marks, batch(done), at)
  expect(marks.map(({ at }) => at)).toEqual([50_000, 100_000, 105_000])
  expect(progressLine(batch(1_500, 10), marks)).toBe('in_progress 1,510 of 10,000, 10 failed, 27/s, 5 min left')
})

test('nothing is guessed before anything was done', () => {
  expect(progressLine(batch(0), marked([], batch(0), 0))).toBe('in_progress 0 of 10,000')
  expect(progressLine({ ...batch(0), status: 'validating', request_counts: null }, [])).toBe('validating')
})

test('the bar is as full as the batch', () => {
  expect(progressLine(batch(5_000), [], { bar: true })).toBe(`[${'#'.repeat(12)}${'.'.repeat(12)}] 5,000 of 10,000`)
})

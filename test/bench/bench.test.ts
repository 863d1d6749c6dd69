import { afterAll, beforeAll, expect, test } from 'vitest'
import { bench } from './bench.ts'
import { readOptions } from './options.ts'
import { openStage, type Stage } from './stage.ts'

let stage: Stage
let close = async () => {}

beforeAll(async () => {
  stage = await openStage((end) => (close = end))
}, 60_000)
afterAll(() => close())

test('a quick run has a figure for each of its measures, and every token arrived in order', async () => {
  const options = readOptions(['--quick', '--only', 'first32,short'])
  if (options === 'help') throw new Error('asked for help')
  const { figures, turns, wrong, faults } = await bench(stage, options, () => undefined)
  expect(faults).toEqual([])
  expect(wrong).toBe(0)
  for (const name of ['first token, 32 streams, p50', 'token delay, 32 × 50 tokens/s, p99', 'short jobs, 64 in flight (judged: of BullMQ alone)']) {
    const figure = figures.find((each) => each.name === name)
    expect(figure?.drover, name).toBeGreaterThan(0)
    expect(figure?.judged, name).toBeDefined()
  }
  expect(Object.keys(turns['short'] ?? {})).toEqual(['direct', 'proxy', 'drover', 'bullmq'])
  for (const turn of Object.values(turns['first32'] ?? {}).flat()) {
    expect(turn.delay.count).toBe(turn.tokens)
    expect(turn.allTokens).toBe(32 * turn.allAnswers)
    expect(turn.allAnswers).toBeGreaterThan(32)
  }
}, 120_000)

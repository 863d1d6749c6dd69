import { BrokerError, type Frame, type TerminalRecord } from '@drover/core'
import type { FrameSink } from '@drover/broker'
import type { Inputs } from '@drover/dialects'
import { describe, expect, test } from 'vitest'
import { cutInputs, Pieces, type Cut } from './pieces.ts'

const SHORT = 1_000

describe('inputs are cut', () => {
  test.each<[string, number[], number, number[]]>([
    ['few short ones not at all', Array(20).fill(SHORT) as number[], 8, [20]],
    ['by what is worth a job', Array(100).fill(SHORT) as number[], 8, [17, 16, 17, 17, 16, 17]],
    ['by the slots there are', Array(1_000).fill(SHORT) as number[], 10, Array(20).fill(50) as number[]],
    ['so that each answer fits its log', Array(300).fill(SHORT) as number[], 1, [64, 64, 22, 64, 64, 22]],
    ['where nobody has a slot, too', Array(100).fill(SHORT) as number[], 0, [64, 36]],
    ['by weight', [100_000, SHORT, SHORT, SHORT, 100_000, SHORT], 1, [3, 3]],
  ])('%s', (_name, weights, slots, lengths) => {
    const cuts = cutInputs(weights, slots)
    expect(cuts.map(([from, to]) => to - from)).toEqual(lengths)
    expect(cuts.flatMap(([from, to]) => weights.slice(from, to))).toEqual(weights)
  })
})

const cuts: Cut[] = [[0, 2], [2, 3], [3, 5], [5, 6]]

const inputs: Inputs = {
  weights: [],
  part: (from, to) => ({ from, to }),
  join: (parts) => parts.join('+'),
}

const head = (node: string) => ({ status: 200, contentType: 'application/json', node })
const done = (node: string, promptTokens: number): TerminalRecord => ({ outcome: 'completed', attempt: 1, node, usage: { promptTokens, completionTokens: 0 } })

const open = (slots = 1) => {
  const jobs: { body: string; sink: FrameSink; left: boolean }[] = []
  const frames: { frame: Frame; attempt: number }[] = []
  const losses: BrokerError[] = []
  let refusal: BrokerError | undefined
  const pieces = new Pieces({
    inputs, cuts, slots, timeoutMs: 1_000,
    submit: async (body, _timeoutMs, sink) => {
      if (refusal) throw refusal
      const job = { body, sink, left: false }
      jobs.push(job)
      return { pause() {}, resume() {}, leave: async () => void (job.left = true) }
    },
    sink: { frame: (frame, attempt) => void frames.push({ frame, attempt }), lost: (error) => void losses.push(error) },
  })
  return { pieces, jobs, frames, losses, refuse: (error: BrokerError) => (refusal = error) }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

test('that a piece was taken up by another attempt is told', async () => {
  const { pieces, jobs, frames } = open()
  await pieces.start()
  jobs[0]?.sink.frame({ reset: true, resumed: 'restart' }, 2)
  expect(frames).toEqual([{ frame: { resumed: 'restart' }, attempt: 2 }])
})

test('two pieces for each slot are under way, and the answers are joined in order, whoever comes first', async () => {
  const { pieces, jobs, frames } = open()
  await pieces.start()
  await settled()
  expect(jobs.map(({ body }) => body)).toEqual(['{"from":0,"to":2}', '{"from":2,"to":3}'])
  jobs[1]?.sink.frame({ head: head('b'), text: 'B', end: done('b', 2) }, 1)
  await settled()
  expect(jobs).toHaveLength(3)
  jobs[2]?.sink.frame({ head: head('a'), text: 'C', end: done('a', 3) }, 1)
  await settled()
  jobs[3]?.sink.frame({ head: head('a'), text: 'half' }, 1)
  jobs[3]?.sink.frame({ reset: true, head: head('c'), text: 'D', end: done('c', 4) }, 2)
  expect(frames).toEqual([])
  jobs[0]?.sink.frame({ head: head('a'), text: 'A' }, 1)
  jobs[0]?.sink.frame({ text: 'a', end: done('a', 1) }, 1)
  const end = { outcome: 'completed', attempt: 1, node: 'a', usage: { promptTokens: 10, completionTokens: 0 } }
  expect(frames).toEqual([{ frame: { head: head('a, b, c'), text: 'Aa+B+C+D', end }, attempt: 2 }])
})

test('the first piece that fails fails all, and the others are left', async () => {
  const { pieces, jobs, frames, losses } = open(2)
  await pieces.start()
  await settled()
  const end: TerminalRecord = { outcome: 'failed', attempt: 3, error: { code: 'engine_refused', message: 'no', status: 400 } }
  jobs[2]?.sink.frame({ head: head('b'), end }, 3)
  jobs[1]?.sink.frame({ head: head('a'), text: 'B', end: done('a', 2) }, 1)
  jobs[0]?.sink.lost(new BrokerError('internal', 'gone'))
  expect(frames).toEqual([{ frame: { head: head('b'), text: '', end }, attempt: 3 }])
  expect(losses).toEqual([])
  expect(jobs.map(({ left }) => left)).toEqual([true, true, false, true])
})

test('a piece that is not accepted any more ends the whole', async () => {
  const { pieces, jobs, losses, refuse } = open()
  await pieces.start()
  await settled()
  refuse(new BrokerError('queue_full', 'busy'))
  jobs[0]?.sink.frame({ head: head('a'), text: 'A', end: done('a', 1) }, 1)
  await settled()
  expect(losses).toMatchObject([{ code: 'queue_full' }])
  expect(jobs.map(({ left }) => left)).toEqual([false, true])
})

test('when not even the first is accepted, that is what the caller is told', async () => {
  const { pieces, losses, refuse } = open()
  refuse(new BrokerError('broker_unavailable', 'away'))
  await expect(pieces.start()).rejects.toMatchObject({ code: 'broker_unavailable' })
  expect(losses).toEqual([])
})

test('who leaves leaves every piece, also one whose submit is still under way', async () => {
  const { pieces, jobs, frames } = open(2)
  const starting = pieces.start()
  await pieces.leave()
  await starting
  await settled()
  expect(jobs.map(({ left }) => left)).toEqual([true])
  jobs[0]?.sink.frame({ head: head('a'), text: 'A', end: done('a', 1) }, 1)
  expect(frames).toEqual([])
})

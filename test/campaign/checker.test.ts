import { expect, test } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { checkHistory, spreadOf, type Rule } from './checker.ts'
import type { Line } from './history.ts'

const KEY = 'a'
const TOKENS = 6
const invoke = (t: number, key = KEY, more: object = {}): Line =>
  ({ t, who: 'client', type: 'invoke', key, gateway: 0, model: 'm', dialect: 'ollama.chat', stream: true, tokens: TOKENS, sampling: 'free', ...more }) as Line
const head = (t: number, key = KEY): Line => ({ t, who: 'client', type: 'head', key, status: 200, job: `job-${key}` })
const ok = (t: number, text = expectedText(KEY, TOKENS), key = KEY): Line => ({ t, who: 'client', type: 'ok', key, text, gapMs: 0, gapEnd: 0 })
const fail = (t: number, text: string, more: object = {}): Line => ({ t, who: 'client', type: 'fail', key: KEY, status: 200, error: 'gone', text, ...more }) as Line
const info = (t: number, why: 'left' | 'connection' | 'time-out' | 'cut' | 'form', text = '', key = KEY): Line => ({ t, who: 'client', type: 'info', key, why, text })
const start = (t: number, name: string, run: number, key = KEY, from = 0): Line => ({ t, who: 'engine', type: 'start', name, run, key, from })
const end = (t: number, name: string, run: number, how = 'completed', key = KEY): Line => ({ t, who: 'engine', type: 'end', name, run, key, tokens: TOKENS, end: how })
const record = (outcome: string, attempt = 1) => JSON.stringify({ outcome, attempt })
const redis = (t: number, state: 'gone' | 'live' | 'ended', more: object = {}, key = KEY): Line => ({ t, who: 'redis', type: 'job', job: `job-${key}`, state, ...more }) as Line
const ended = (t: number, outcome = 'completed', more: object = {}) => redis(t, 'ended', { record: record(outcome), ...more })
const fault = (t: number, over: number, name: string, parts: string[], id = 1, wide = false): Line[] =>
  (['begin', 'end'] as const).map((type) => ({ t: type === 'begin' ? t : over, who: 'fault', type, id, fault: name, parts, wide, detail: '' }) as Line)

/** What a client is told whose job's starts are used up. */
const LOST = 'the job was started 3 times and its node was lost each time'

const rulesOf = (lines: readonly Line[]): Rule[] => [...new Set(checkHistory(lines.toSorted((a, b) => a.t - b.t)).violations.map(({ rule }) => rule))].toSorted()
const half = expectedText(KEY, 3)

test('a job that is answered in full and ended in Redis keeps all promises', () => {
  const lines = [invoke(0), head(5), start(3, 'n0.ollama', 1), end(40, 'n0.ollama', 1), ok(50), ended(60), ended(4_000)]
  expect(rulesOf(lines)).toEqual([])
  expect(checkHistory(lines)).toMatchObject({ requests: 1, accepted: 1, completed: 1, tokens: TOKENS })
})

test('an honest error with a beginning of the text is allowed, and counted', () => {
  const verdict = checkHistory([invoke(0), head(5), fail(50, half), ended(60, 'failed')])
  expect(verdict.violations).toEqual([])
  expect(verdict.errors).toEqual({ '200 gone': 1 })
})

test.for<[what: string, rules: Rule[], lines: Line[]]>([
  ['a client without an end', ['S1'], [invoke(0), head(5)]],
  ['a client with two ends', ['S1'], [invoke(0), head(5), ok(50), ok(60)]],
  ['a lost connection, and no end in Redis either', ['S1'], [invoke(0), head(5), info(50, 'connection', half), redis(60, 'live'), redis(9_000, 'live')]],
  ['a lost connection, and a job that is gone without a record', ['S1'], [invoke(0), head(5), info(50, 'connection', half), redis(60, 'live'), redis(9_000, 'gone')]],
  ['a lost connection, and nobody looked', ['S1'], [invoke(0), head(5), info(50, 'connection', half)]],
  ['a client with its answer, and a job that goes on', ['S1'], [invoke(0), head(5), ok(50), redis(60, 'live')]],
  ['a job that is cancelled although its client stays', ['S1'], [invoke(0), head(5), fail(50, half, { error: 'request canceled' }), ended(60, 'cancelled')]],
  ['a record that changes', ['S2'], [invoke(0), head(5), ok(50), ended(60), redis(4_000, 'ended', { record: record('completed', 2) })]],
  ['a whole answer of a job that failed', ['S2'], [invoke(0), head(5), ok(50), ended(60, 'failed')]],
  ['a log with two ends', ['S2'], [invoke(0), head(5), ok(50), ended(60, 'completed', { log: [{ first: 1, count: 2, lease: 'x', ends: 1 }, { first: 3, count: 1, lease: '', ends: 1 }] })]],
  ['a token that is missing', ['S3'], [invoke(0), head(5), ok(50, expectedText(KEY, 2) + expectedText(KEY, TOKENS, 3)), ended(60)]],
  ['a token twice', ['S3'], [invoke(0), head(5), ok(50, half + expectedText(KEY, TOKENS, 2)), ended(60)]],
  ['tokens of another job', ['S3'], [invoke(0), head(5), ok(50, expectedText('b', TOKENS)), ended(60)]],
  ['a token twice before an error', ['S3'], [invoke(0), head(5), fail(50, half + half), ended(60, 'failed')]],
  ['a token missing before the client left', ['S3'], [invoke(0), head(5), info(50, 'left', expectedText(KEY, 3, 1)), ended(60, 'cancelled')]],
  ['a log with a hole', ['S3'], [invoke(0), head(5), ok(50), ended(60, 'completed', { log: [{ first: 1, count: 1, lease: 'x', ends: 0 }, { first: 3, count: 1, lease: 'x', ends: 1 }] })]],
  ['an attempt that writes behind a later one', ['S4'], [invoke(0), head(5), ok(50), ended(60, 'completed', { log: ['x', 'y', 'x'].map((lease, i) => ({ first: i + 1, count: 1, lease, ends: 0 })) })]],
  ['a record that an attempt wrote after the next one had begun', ['S4'], [invoke(0), head(5), ok(50), ended(60, 'completed', { attempts: 2 })]],
  ['a good end that comes too early', ['S5'], [invoke(0), head(5), ok(50, half), ended(60)]],
  ['a good end behind an error', ['S5'], [invoke(0), head(5), fail(50, half, { both: true }), ended(60, 'failed')]],
  ['an end without a word', ['S5'], [invoke(0), head(5), info(50, 'cut', half), ended(60, 'failed')]],
  ['what is not of the dialect', ['S5'], [invoke(0), head(5), info(50, 'form', half), ended(60, 'failed')]],
  ['no end within a minute', ['L1'], [invoke(0), head(5), info(60_000, 'time-out', half), ended(60_100, 'cancelled')]],
  ['an end that is told long after the deadline', ['L1'], [invoke(0, KEY, { deadlineMs: 5_000 }), head(5), fail(8_100, half), ended(8_050, 'expired')]],
  ['no end long after the deadline', ['L1'], [invoke(0, KEY, { deadlineMs: 5_000 }), head(5), info(11_000, 'time-out', half), ended(11_100, 'cancelled')]],
  ['a job given up as lost three times that was lost once', ['L2'], [invoke(0), head(5), start(10, 'n0.ollama', 1), ...fault(20, 30, 'F1', ['n0']), fail(12_000, half, { error: LOST }), ended(12_010, 'failed')]],
  ['a poison that is started a fourth time', ['F18'], [invoke(0, KEY, { poison: true }), head(5), ...[1, 2, 3, 4].map((n) => start(n * 10, `n${n}.ollama`, 1)), fail(90, ''), ended(95, 'failed')]],
  ['an engine that begins what nobody waits for any more', ['L3'], [invoke(0), head(5), info(50, 'left'), start(3_000, 'n0.ollama', 1), end(3_010, 'n0.ollama', 1), ended(60, 'cancelled')]],
  ['something left when all is over', ['L4'], [{ t: 0, who: 'rest', type: 'wrong', what: 'a lane has 1 waiting' }]],
  ['a probe that fails', ['L4'], [invoke(0, 'probe-1'), info(50, 'connection', '', 'probe-1')]],
])('%s is found', ([, rules, lines]) => {
  expect(rulesOf(lines)).toEqual(rules)
})

test('an end in time, by the last attempt, after as many losses as it says, is what was promised', () => {
  expect(rulesOf([invoke(0, KEY, { deadlineMs: 5_000 }), head(5), fail(7_900, half), ended(7_950, 'expired')])).toEqual([])
  expect(rulesOf([invoke(0), head(5), ok(50), redis(60, 'ended', { record: record('completed', 2), attempts: 2 })])).toEqual([])
  const given = [invoke(0), head(5), fail(12_000, half, { error: LOST }), ended(12_010, 'failed')]
  expect(rulesOf([...given, ...[100, 3_600, 7_000].flatMap((t, i) => fault(t, t + 200, 'F1', [`n${i}`], i + 1))])).toEqual([])
  expect(rulesOf([...given, ...fault(100, 2_600, 'F17', [])])).toEqual([])
})

test('what is unknown to a client is judged by its record alone', () => {
  for (const why of ['left', 'connection'] as const) expect(rulesOf([invoke(0), head(5), info(50, why, half), redis(60, 'live'), ended(4_000, 'cancelled')])).toEqual([])
})

test('what a killed Redis forgot is counted and not called lost', () => {
  const lines = [invoke(0), head(5), info(50, 'connection', half), ...fault(100, 300, 'F5', [], 1, true), redis(9_000, 'gone')]
  const verdict = checkHistory(lines)
  expect(verdict.violations).toEqual([])
  expect(verdict.forgotten).toBe(1)
})

/** So many jobs on a worker that dies, each running elsewhere after `ms`, when so many attempts had begun. */
const recovering = (ms: number, wide: Line[] = [], attempts = 2): Line[] =>
  [...Array.from({ length: 25 }, (_, i) => `j${i}`).flatMap((key, i) => [
    invoke(0, key), head(5, key), start(10, 'n0.ollama', i, key), start(1_000 + ms, 'n1.ollama', i, key, 3), end(1_100 + ms, 'n1.ollama', i, 'completed', key),
    ok(1_200 + ms, expectedText(key, TOKENS), key), redis(1_300 + ms, 'ended', { record: record('completed', attempts), attempts }, key),
  ]), ...fault(1_000, 1_500, 'F1', ['n0']), ...wide].toSorted((a, b) => a.t - b.t)

test('recovery is measured, and judged where nothing else was wrong', () => {
  const good = checkHistory(recovering(3_000))
  expect(good.violations).toEqual([])
  expect(good.recovery).toEqual({ count: 25, p50: 3_000, p99: 3_000, most: 3_000 })
  expect(good.streams).toEqual({ cut: 25, survived: 25, continued: 25, restarted: 0 })
  expect(good.faults).toMatchObject([{ fault: 'F1', times: 1, jobs: 25, violations: 0, recovery: { p50: 3_000 } }])
  expect(rulesOf(recovering(6_000))).toEqual(['L2'])
  expect(rulesOf(recovering(6_000, fault(2_000, 3_000, 'F5', [], 2, true)))).toEqual([])
})

test('a second worker that had taken the job and was struck is recovered from on its own, and nothing else hides a late one', () => {
  const second = fault(3_500, 4_000, 'F1', ['n2'], 2)
  expect(rulesOf(recovering(6_000, second, 3))).toEqual([])
  // No attempt but the two that engines heard of.
  expect(rulesOf(recovering(6_000, second))).toEqual(['L2'])
  expect(rulesOf(recovering(6_000, [], 3))).toEqual(['L2'])
  expect(rulesOf(recovering(6_000, fault(1_500, 2_000, 'F1', ['n2'], 2), 3))).toEqual(['L2'])
})

/** So many clients that leave, whose engines stop `ms` later. */
const leaving = (ms: number) => Array.from({ length: 25 }, (_, i) => `j${i}`).flatMap((key, i) => [
  invoke(0, key), head(5, key), start(10, 'n0.ollama', i, key), info(100, 'left', '', key), end(100 + ms, 'n0.ollama', i, 'aborted', key), redis(9_000, 'ended', { record: record('cancelled') }, key),
])

test('an engine that goes on for a client that has left is found', () => {
  expect(rulesOf(leaving(500))).toEqual([])
  expect(rulesOf(leaving(2_500))).toEqual(['L3'])
})

test('a spread of nothing is nothing', () => {
  expect(spreadOf([])).toBeUndefined()
  expect(spreadOf([3, 1, 2])).toEqual({ count: 3, p50: 2, p99: 3, most: 3 })
})

const batchLine = (t: number, i: number, file: 'output' | 'error' = 'output', text = expectedText(`batch-${i}`, 2)): Line => ({ t, who: 'batch', type: 'line', file, key: `batch-${i}`, text })
const batchBegin: Line = { t: 0, who: 'batch', type: 'begin', tokens: [2, 2] }
const batchEnd = (completed: number, failed: number, status = 'completed'): Line => ({ t: 90, who: 'batch', type: 'end', status, counts: { total: 2, completed, failed } })

test('a batch with each of its lines in one of its files keeps what is promised', () => {
  expect(checkHistory([batchBegin, batchLine(80, 0), batchLine(81, 1, 'error', ''), batchEnd(1, 1)])).toMatchObject({ violations: [], batch: { lines: 2, completed: 1, failed: 1 } })
})

test.for<[what: string, rules: Rule[], lines: Line[]]>([
  ['without an end', ['S1'], [batchBegin, { t: 90, who: 'batch', type: 'lost', why: 'no answer' }]],
  ['with a line in neither file', ['S7'], [batchBegin, batchLine(80, 0), batchEnd(1, 0)]],
  ['with a line in both files', ['S7'], [batchBegin, batchLine(80, 0), batchLine(81, 1), batchLine(82, 1, 'error', ''), batchEnd(2, 1)]],
  ['with a line twice in one file', ['S7'], [batchBegin, batchLine(80, 0), batchLine(81, 0), batchLine(82, 1), batchEnd(3, 0)]],
  ['that counts otherwise than its files', ['S7'], [batchBegin, batchLine(80, 0), batchLine(81, 1), batchEnd(1, 1)]],
  ['with a line that nobody sent', ['S7'], [batchBegin, batchLine(80, 0), batchLine(81, 1), batchLine(82, 7), batchEnd(3, 0)]],
  ['with the answer of another line', ['S3'], [batchBegin, batchLine(80, 0), batchLine(81, 1, 'output', expectedText('batch-0', 2)), batchEnd(2, 0)]],
  ['with half an answer', ['S3'], [batchBegin, batchLine(80, 0), batchLine(81, 1, 'output', expectedText('batch-1', 1)), batchEnd(2, 0)]],
  ['that expired', ['S7'], [batchBegin, batchLine(80, 0), batchLine(81, 1), batchEnd(2, 0, 'expired')]],
])('a batch %s is seen', ([, rules, lines]) => {
  expect(rulesOf(lines)).toEqual(rules)
})

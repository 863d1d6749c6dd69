import { median, medianInterval } from './samples.ts'
import { microsOf, table } from './report.ts'
import type { LoadName } from './scenarios.ts'
import type { Rounds, Turn } from './turns.ts'

/** After in relation to before: the median of the pairs' ratios and an interval that holds the true one with 95 %. */
export interface Comparison {
  scenario: string
  name: string
  before: number
  after: number
  pairs: number
  ratio: number
  interval: [number, number]
}

type Kind = 'alone' | 'first' | 'relay' | 'short'

const measures: { name: string; of: Kind[]; value: (turn: Turn) => number }[] = [
  { name: 'first token p50, ms', of: ['alone', 'first'], value: ({ firstToken }) => firstToken.p50 },
  { name: 'first token p99, ms', of: ['alone', 'first'], value: ({ firstToken }) => firstToken.p99 },
  { name: 'token delay p50, ms', of: ['first', 'relay'], value: ({ delay }) => delay.p50 },
  { name: 'token delay p99, ms', of: ['first', 'relay'], value: ({ delay }) => delay.p99 },
  { name: 'tokens/s', of: ['relay'], value: ({ tokens, windowMs }) => (1000 * tokens) / windowMs },
  { name: 'answers/s', of: ['short'], value: ({ answers, windowMs }) => (1000 * answers) / windowMs },
]

const kindOf = (name: LoadName): Kind =>
  name === 'short' ? 'short' : name.startsWith('relay') ? 'relay' : name === 'first1' ? 'alone' : 'first'

export const compare = (scenario: LoadName, { before = [], after = [] }: Rounds): Comparison[] => {
  const one = (name: string, value: (turn: Turn) => number): Comparison[] => {
    const pairs = before.map((turn, i): [number, number] => [value(turn), value(after[i] ?? turn)])
    const ratios = pairs.filter(([a]) => a > 0).map(([a, b]) => b / a)
    if (ratios.length === 0) return []
    const facts = { before: median(pairs.map(([a]) => a)), after: median(pairs.map(([, b]) => b)) }
    return [{ scenario, name, ...facts, pairs: ratios.length, ratio: median(ratios), interval: medianInterval(ratios) }]
  }
  const kind = kindOf(scenario)
  const measured = measures.filter(({ of }) => of.includes(kind)).flatMap(({ name, value }) => one(name, value))
  // By what was done, not by time: it hardly depends on what else the machine does.
  const each = kind === 'short' ? 'answer' : 'token'
  const cpu = ['gateway', 'worker', 'redis'].flatMap((name) => one(`CPU of ${name} per ${each}, µs`, (turn) => microsOf(turn, name)))
  return [...measured, ...cpu]
}

export const comparisonTable = (comparisons: readonly Comparison[]): string =>
  table(
    ['scenario', 'figure', 'before', 'after', 'pairs', 'ratio', '95 % of it', ''],
    comparisons.map(({ scenario, name, before, after, pairs, ratio, interval: [from, to] }) => [
      scenario, name, before.toFixed(2), after.toFixed(2), String(pairs), ratio.toFixed(3), `${from.toFixed(3)}–${to.toFixed(3)}`,
      from <= 1 && to >= 1 ? 'no difference shown' : '',
    ]),
  )

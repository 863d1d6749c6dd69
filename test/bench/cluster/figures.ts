import { table } from '../report.ts'
import { median, medianInterval } from '../samples.ts'
import type { Pair, Turn } from './rounds.ts'

export interface ClusterFigure {
  members: number
  name: string
  plain: number
  drover: number
  pairs: number
  /** Drover in relation to plain, pair by pair: the median, and an interval that holds the true one with 95 %. */
  ratio: number
  interval: [number, number]
}

const MEASURES: { name: string; value: (turn: Turn) => number }[] = [
  { name: 'from nothing to the first token, ms', value: ({ loadMs }) => loadMs },
  { name: 'first token, ms', value: ({ firstMs }) => firstMs },
  { name: 'tokens/s', value: ({ tokensPerSecond }) => tokensPerSecond },
]

export const clusterFigures = (pairs: readonly Pair[]): ClusterFigure[] =>
  [...new Set(pairs.map(({ members }) => members))].flatMap((members) =>
    MEASURES.map(({ name, value }) => {
      const values = pairs.filter((pair) => pair.members === members).map(({ plain, drover }) => ({ plain: value(plain), drover: value(drover) }))
      const ratios = values.map(({ plain, drover }) => drover / plain)
      return {
        members, name, plain: median(values.map(({ plain }) => plain)), drover: median(values.map(({ drover }) => drover)),
        pairs: values.length, ratio: median(ratios), interval: medianInterval(ratios),
      }
    }),
  )

export const clusterTable = (figures: readonly ClusterFigure[]): string =>
  table(
    ['figure', 'members', 'plain', 'drover', 'pairs', 'ratio', '95 % of it'],
    figures.map(({ members, name, plain, drover, pairs, ratio, interval: [from, to] }) => [
      name, String(members), plain.toFixed(1), drover.toFixed(1), String(pairs), ratio.toFixed(3), pairs < 6 ? 'too few pairs' : `${from.toFixed(3)}–${to.toFixed(3)}`,
    ]),
  )

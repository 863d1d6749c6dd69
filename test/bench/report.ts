import { verdict, type Figure } from './figures.ts'
import { median } from './samples.ts'
import type { Rounds, Turn } from './turns.ts'

const number = (value: number | undefined): string => {
  if (value === undefined) return ''
  const size = Math.abs(value)
  return size >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

/** Lines of a table; the first column is text, the others are numbers. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd()
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}

export const figureTable = (figures: readonly Figure[]): string =>
  table(
    ['figure', 'unit', 'direct', 'proxy', 'floor', 'drover', 'added', 'bar', 'goal', 'met'],
    figures.map((figure) => {
      const { name, unit, direct, proxy, floor, drover, judged, bar, goal } = figure
      return [name, unit, number(direct), number(proxy), number(floor), number(drover), number(judged), number(bar), number(goal), verdict(figure)]
    }),
  )

/** CPU of one process for each streamed token, or each answer that is not streamed. */
export const microsOf = ({ cpu, windowMs, answers, tokens, delay }: Turn, name: string): number => {
  const done = delay.count > 0 ? tokens : answers
  return done === 0 ? 0 : ((cpu[name] ?? 0) * 10 * windowMs) / done
}

/** The same of all that lies between client and engine. */
const microsBetween = (turn: Turn): number =>
  Object.keys(turn.cpu).reduce((sum, name) => (name === 'client' || name === 'engine' ? sum : sum + microsOf(turn, name)), 0)

/** Medians over the rounds, percent of a core; last, what a token (or an unstreamed answer) takes of it in between. */
export const cpuTable = (all: Record<string, Rounds>): string => {
  const rows = Object.entries(all).flatMap(([scenario, rounds]) => Object.entries(rounds).map(([target, turns]) => ({ scenario, target, turns })))
  const names = [...new Set(rows.flatMap(({ turns }) => Object.keys(turns[0]?.cpu ?? {})))]
  return table(
    ['CPU, % of a core', 'way', ...names, 'µs each'],
    rows.map(({ scenario, target, turns }) => [
      scenario, target, ...names.map((name) => (turns[0]?.cpu[name] === undefined ? '' : median(turns.map(({ cpu }) => cpu[name] ?? 0)).toFixed(0))),
      median(turns.map(microsBetween)).toFixed(1),
    ]),
  )
}

import { stripVTControlCharacters } from 'node:util'

export interface Column<Row> {
  title: string
  cell(row: Row): string
  /** Numbers stand to the right. */
  right?: boolean
}

const GAP = '   '
/** A column is never cut below this, and a table never below the sum. */
const LEAST = 6

const cut = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, Math.max(1, width - 1))}…`)

/** Takes what is too much from whichever column is the widest, until the whole fits. */
const fit = (wanted: readonly number[], width: number): number[] => {
  const widths = [...wanted]
  const room = width - GAP.length * (widths.length - 1)
  for (let over = widths.reduce((sum, each) => sum + each, 0) - room; over > 0; over -= 1) {
    const widest = widths.indexOf(Math.max(...widths))
    if ((widths[widest] ?? 0) <= LEAST) break
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  return widths
}

/** Lines of a table with a header, at most `width` characters wide where that can be; an empty cell shows as a dash. */
export const tableLines = <Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number): string[] => {
  // What nodes and engines say of themselves is shown on a terminal: it must not steer it.
  const cells = rows.map((row) => columns.map(({ cell }) => stripVTControlCharacters(cell(row)).replaceAll(/\s+/g, ' ') || '-'))
  const wanted = columns.map(({ title }, at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)))
  const widths = Number.isFinite(width) ? fit(wanted, width) : wanted
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, at) => {
        const shown = cut(text, widths[at] ?? 0)
        return columns[at]?.right ? shown.padStart(widths[at] ?? 0) : shown.padEnd(widths[at] ?? 0)
      })
      .join(GAP)
      .trimEnd()
  return [line(columns.map(({ title }) => title)), ...cells.map(line)]
}

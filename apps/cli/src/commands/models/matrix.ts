import type { Tag } from '../../gateway-client.ts'
import type { Place } from '../places.ts'
import { type Column, tableLines } from '../table.ts'
import { expiry, size } from '../units.ts'

/** A model, and where it is. */
export interface MatrixRow {
  tag: Tag
  places: readonly Place[]
}

/** Tokens as they are spoken of: `128k`. */
export const tokens = (count: number): string => (count > 0 && count % 1024 === 0 ? `${count / 1024}k` : `${count}`)

const LOADED = '●'
const HELD = '○'
/** What the signs mean. */
export const LEGEND = `${LOADED} in memory, with its context   ${HELD} held`

/** On a terminal a node's column, and a model's name, are no wider. */
const NODE_WIDTH = 12
const NAME_WIDTH = 32
const GAP = 3

const at = ({ places }: MatrixRow, node: string): Place[] => places.filter((place) => place.node === node)

const cell = (here: readonly Place[]): string => {
  const loaded = here.find(({ held }) => held.loaded)?.held
  if (!loaded) return here.length > 0 ? HELD : ''
  const context = loaded.memory?.context_length
  return `${LOADED}${context === undefined ? '' : tokens(context)}`
}

/** What stands for nodes that have no column: how many of them have it in memory, and how many hold it besides. */
const summary = (row: MatrixRow, nodes: readonly string[]): string => {
  const there = nodes.map((node) => cell(at(row, node))).filter(Boolean)
  const loaded = there.filter((text) => text !== HELD).length
  const parts = [...(loaded > 0 ? [`${loaded}${LOADED}`] : []), ...(there.length > loaded ? [`${there.length - loaded}${HELD}`] : [])]
  return parts.join(' ')
}

const short = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`)

const FACTS: Column<MatrixRow>[] = [
  { title: 'SIZE', cell: ({ tag }) => size(tag.size), right: true },
  { title: 'QUANT', cell: ({ tag }) => tag.details.quantization_level ?? '' },
  { title: 'CONTEXT', cell: ({ tag }) => (tag.details.context_length === undefined ? '' : tokens(tag.details.context_length)), right: true },
]

const widthOf = (column: Column<MatrixRow>, rows: readonly MatrixRow[]): number => Math.max(column.title.length, ...rows.map((row) => column.cell(row).length || 1))

/**
 * Lines of models by nodes. Where they are to fit a width, as many nodes have a column as there is room for, one at least; the last column
 * then counts the others.
 */
export const matrixLines = (rows: readonly MatrixRow[], nodes: readonly string[], width: number): string[] => {
  const fits = Number.isFinite(width)
  const name: Column<MatrixRow> = { title: 'MODEL', cell: ({ tag }) => (fits ? short(tag.name, NAME_WIDTH) : tag.name) }
  const facts = [name, ...FACTS]
  const columns = nodes.map((node): Column<MatrixRow> => ({ title: fits ? short(node, NODE_WIDTH) : node, cell: (row) => cell(at(row, node)) }))
  const rest = (shown: number): Column<MatrixRow>[] => (shown === nodes.length ? [] : [{ title: `+${nodes.length - shown}`, cell: (row) => summary(row, nodes.slice(shown)) }])
  const needs = (shown: number): number => [...facts, ...columns.slice(0, shown), ...rest(shown)].reduce((sum, column) => sum + widthOf(column, rows) + GAP, -GAP)
  let shown = nodes.length
  while (shown > 1 && needs(shown) > width) shown -= 1
  return tableLines([...facts, ...columns.slice(0, shown), ...rest(shown)], rows, width)
}

/** The same for programs. */
export const matrixJson = ({ tag, places }: MatrixRow, now: number) => ({
  name: tag.name,
  size: tag.size,
  quantization: tag.details.quantization_level || null,
  context_length: tag.details.context_length ?? null,
  nodes: places.map(({ node, engine, held }) => ({ node, engine, loaded: held.loaded, context_length: held.memory?.context_length ?? null, expires_at: expiry(held.memory?.expires_at, now) ?? null })),
})

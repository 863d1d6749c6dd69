import { z } from 'zod'
import type { Column } from '../table.ts'
import { size } from '../units.ts'

/** A part of a model, as the gateway tells it: layers `from` to, but without, `to`; bytes. */
export const Member = z.looseObject({
  node: z.string(),
  device: z.string(),
  from: z.number(),
  to: z.number(),
  output: z.boolean(),
  weights: z.number(),
  kv: z.number(),
  compute: z.number(),
  total: z.number(),
})
export type Member = z.infer<typeof Member>

/** How many layers, and which: `8 (0-7)`; the last of them come with what is behind them. */
export const layersOf = ({ from, to, output }: Member): string => `${to - from} (${from}-${to - 1}${output ? ', output' : ''})`

/** What a part takes; nothing of it for a device without one. */
export const sizeColumns: Column<{ member: Member | undefined }>[] = [
  { title: 'LAYERS', cell: ({ member }) => (member ? layersOf(member) : '') },
  { title: 'WEIGHTS', cell: ({ member }) => (member ? size(member.weights) : ''), right: true },
  { title: 'KV', cell: ({ member }) => (member ? size(member.kv) : ''), right: true },
  { title: 'COMPUTE', cell: ({ member }) => (member ? size(member.compute) : ''), right: true },
  { title: 'TOTAL', cell: ({ member }) => (member ? size(member.total) : ''), right: true },
]

import { verifyText } from '../engine/tokens.ts'
import type { BatchLine, Line } from './history.ts'

export interface BatchVerdict {
  lines: number
  completed: number
  failed: number
  /** What was not as it must be, each with its rule. */
  wrong: { rule: 'S1' | 'S3' | 'S7'; key?: string; what: string }[]
}

const isOfBatch = (line: Line): line is BatchLine & { t: number } => line.who === 'batch'

/** S7, and S1 and S3 of the lines, from what the batch's files held at its end; `undefined` for a history without a batch. */
export const checkBatch = (history: readonly Line[]): BatchVerdict | undefined => {
  const said = history.filter(isOfBatch)
  if (said.length === 0) return undefined
  const wrong: BatchVerdict['wrong'] = []
  const begin = said.find((line) => line.type === 'begin')
  const end = said.find((line) => line.type === 'end')
  const lost = said.find((line) => line.type === 'lost')
  if (lost) wrong.push({ rule: 'S1', what: `the batch has no end: ${lost.why}` })
  if (!begin || !end) return { lines: begin?.tokens.length ?? 0, completed: 0, failed: 0, wrong }
  const results = said.filter((line) => line.type === 'line')
  const byKey = Map.groupBy(results, ({ key }) => key)
  for (const [i, tokens] of begin.tokens.entries()) {
    const key = `batch-${i}`
    const [result, ...more] = byKey.get(key) ?? []
    if (!result) wrong.push({ rule: 'S7', key, what: 'its line is in neither file' })
    else if (more.length > 0) wrong.push({ rule: 'S7', key, what: `its line is in the files ${more.length + 1} times: ${[result, ...more].map(({ file }) => file).join(', ')}` })
    else if (result.file === 'output') {
      const verdict = verifyText(key, result.text)
      if (!verdict.ok) wrong.push({ rule: 'S3', key, what: verdict.reason })
      else if (verdict.count !== tokens) wrong.push({ rule: 'S3', key, what: `it has ${verdict.count} of ${tokens} tokens` })
    }
  }
  const known = results.filter(({ key }) => !/^batch-\d+$/.test(key) || Number(key.slice('batch-'.length)) >= begin.tokens.length)
  for (const { key } of known) wrong.push({ rule: 'S7', key, what: 'nobody has sent such a line' })
  const { counts } = end
  const [completed, failed] = (['output', 'error'] as const).map((file) => results.filter((line) => line.file === file).length) as [number, number]
  if (counts.total !== begin.tokens.length || counts.completed !== completed || counts.failed !== failed)
    wrong.push({ rule: 'S7', what: `it counts ${JSON.stringify(counts)}, and its files have ${completed} and ${failed} of ${begin.tokens.length} lines` })
  if (end.status !== 'completed') wrong.push({ rule: 'S7', what: `it ended as ${end.status}` })
  return { lines: begin.tokens.length, completed, failed, wrong }
}

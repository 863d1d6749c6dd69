import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError } from '@drover/service'
import type { Gateway } from '../../gateway-client.ts'
import { print } from '../output.ts'
import { type Batch, createBatch, download, hasEnded, readBatch, upload } from './batch-client.ts'
import { endpointOf } from './input.ts'
import { marked, progressLine, type Mark } from './progress.ts'
import { mustBeWritable, noteDone, noteUnderWay, underWay } from './under-way.ts'

/** Exit code of a program that Ctrl-C has ended. */
const INTERRUPTED = 130
const FIRST_LOOK_MS = 100
const LOOK_MS = 1_000
/** Without a terminal a line is written this often, ms. */
const LINE_MS = 10_000
/** A gateway that is being restarted is asked again for so long, ms. */
const PATIENCE_MS = 120_000

export interface BatchRun {
  input: string
  output: string
  /** Go on with the batch that an earlier run has left. */
  resume: boolean
}

/** What is said while a batch runs: one line that changes on a terminal, lines elsewhere. */
const progressView = () => {
  const { stderr } = process
  let marks: Mark[] = []
  let saidAt = -Infinity
  return {
    show(batch: Batch): void {
      const now = performance.now()
      marks = marked(marks, batch, now)
      if (stderr.isTTY) stderr.write(`\r\u001B[K${progressLine(batch, marks, { bar: true }).slice(0, (stderr.columns || 80) - 1)}`)
      else if (now - saidAt >= LINE_MS || hasEnded(batch)) {
        saidAt = now
        stderr.write(`${progressLine(batch, marks)}\n`)
      }
    },
    end: () => void (stderr.isTTY && stderr.write('\n')),
  }
}

const untilEnded = async (gateway: Gateway, id: string, show: (batch: Batch) => void): Promise<Batch> => {
  let answeredAt = performance.now()
  for (let pause = FIRST_LOOK_MS; ; pause = Math.min(LOOK_MS, pause * 1.5)) {
    try {
      const batch = await readBatch(gateway, id)
      answeredAt = performance.now()
      show(batch)
      if (hasEnded(batch)) return batch
    } catch (error) {
      if (performance.now() - answeredAt > PATIENCE_MS) throw error
    }
    await sleep(pause)
  }
}

/** The batch that answers this input: the one under way, or a new one. */
const batchFor = async (gateway: Gateway, { input, output, resume }: BatchRun): Promise<string> => {
  const before = await underWay(output)
  if (resume && before === undefined) throw new ExitError(`there is nothing to resume: no batch is under way for ${output}`)
  if (before !== undefined && !resume) throw new ExitError(`batch ${before} is under way for ${output}: go on with it by --resume, or remove ${output}.batch to begin anew`)
  if (before !== undefined) return before
  await mustBeWritable(output)
  const endpoint = await endpointOf(input)
  const { id } = await createBatch(gateway, await upload(gateway, input), endpoint)
  await noteUnderWay(output, id)
  return id
}

/** `out.jsonl` → `out.errors.jsonl` */
const errorsPath = (output: string): string => output.replace(/(\.[^./]+)?$/, (ending) => `.errors${ending}`)

/**
 * Sends a file, waits, and writes the answers. Ctrl-C leaves the batch to go on by itself, for a later run with `resume`.
 * @throws ExitError when not every line was answered
 */
export const runBatch = async (gateway: Gateway, run: BatchRun): Promise<void> => {
  const { output } = run
  const id = await batchFor(gateway, run)
  process.once('SIGINT', () => {
    process.stderr.write(`\nbatch ${id} goes on; "drover batch run ${run.input} -o ${output} --resume" waits for it again, "drover batch cancel ${id}" ends it\n`)
    process.exit(INTERRUPTED)
  })
  const view = progressView()
  const batch = await untilEnded(gateway, id, view.show)
  view.end()
  if (batch.status === 'failed') {
    await noteDone(output)
    const reasons = (batch.errors?.data ?? []).map(({ line, message }) => `  ${line == null ? '' : `line ${line}: `}${message ?? ''}`)
    throw new ExitError([`batch ${id} is refused:`, ...reasons].join('\n'), EXIT.failed)
  }
  if (batch.output_file_id) await download(gateway, batch.output_file_id, output)
  if (batch.error_file_id) await download(gateway, batch.error_file_id, errorsPath(output))
  await noteDone(output)
  const { total = 0, completed = 0 } = batch.request_counts ?? {}
  if (completed === total && batch.status === 'completed') return print(`${completed} answers are in ${output}`)
  throw new ExitError(`batch ${id} is ${batch.status}: ${completed} of ${total} are answered${batch.output_file_id ? `, in ${output}` : ''}${batch.error_file_id ? `; the others are in ${errorsPath(output)}` : ''}`, EXIT.failed)
}

import { canBring, canonicalName, type ModelWork } from '@drover/core'
import { workFailure, type Progress } from '@drover/dialects'
import { NoRoom } from '../copies/bring.ts'
import type { Brought } from '../copies/copies.ts'
import { engineLines } from './engine-lines.ts'
import type { ModelAttemptDeps } from './model-attempt.ts'
import type { ProgressWriter } from './progress-writer.ts'

type Bringing = Extract<ModelWork, { call: 'pull' | 'transfer' }>

/** Brings a model's files here without an engine: from another node, or from the hub into the models folder. Answers `false` where an engine is to bring it. */
export const brought = async (order: Bringing, writer: ProgressWriter, signal: AbortSignal, deps: ModelAttemptDeps): Promise<boolean> =>
  (await copied(order, writer, signal, deps)) || (order.call === 'pull' && (await fromHub(order, writer, signal, deps)))

/** The model's files are here: its engine is to see it. */
const made = async ({ engine, from, make }: Brought, model: string, writer: ProgressWriter, signal: AbortSignal, { seats, tellHeld }: ModelAttemptDeps): Promise<void> => {
  if (make) {
    const call = { method: 'POST' as const, path: '/api/create', body: JSON.stringify({ model, files: make, stream: true }), streams: true }
    await engineLines(engine, call, { signal, onProgress: (progress) => writer.take(progress) })
  }
  await tellHeld(engine)
  const isHeld = [...seats()].some((seat) => seat.engine === engine && seat.view.held.some((held) => held.model === canonicalName(model)))
  if (!isHeld) throw workFailure(`what came from ${from} is not listed by ${engine.id}: OLLAMA_MODELS of the worker and of its Ollama are to be the same folder`)
}

/** Has another node's copy brought here. */
const copied = async (order: Bringing, writer: ProgressWriter, signal: AbortSignal, deps: ModelAttemptDeps): Promise<boolean> => {
  const { copies } = deps
  const name = canonicalName(order.model)
  const [from, must] = order.call === 'transfer' ? [order.from, true] : [undefined, false]
  if (!name) return false
  if (must && !copies) throw workFailure('this node copies no model files')
  const progress = (line: Progress) => writer.take(line)
  if (!must && [...deps.seats()].some(({ view }) => view.held.some(({ model }) => model === name))) return false
  try {
    const found = await copies?.bring(name, { ...(from !== undefined && { from }), must, signal, onProgress: progress })
    if (found) await made(found, order.model, writer, signal, deps)
    return found !== undefined
  } catch (error) {
    // An engine may get elsewhere what no node could send; room on the disk it does not.
    if (!must && !signal.aborted && !(error instanceof NoRoom)) return false
    throw error
  }
}

/** No Ollama of this node could pull it, and it is of the hub. */
const fromHub = async ({ model }: Bringing, writer: ProgressWriter, signal: AbortSignal, deps: ModelAttemptDeps): Promise<boolean> => {
  const name = canonicalName(model)
  if (!name || [...deps.seats()].some(({ engine }) => canBring(engine, name))) return false
  const found = await deps.copies?.bringFromHub(model, name, { signal, onProgress: (line) => writer.take(line) })
  if (found) await made(found, model, writer, signal, deps)
  return found !== undefined
}

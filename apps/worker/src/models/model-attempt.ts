import type { Lease } from '@drover/broker'
import { BrokerError, canBring, canonicalName, subjectOf, toBrokerError, type AttemptOutcome, type ModelWork } from '@drover/core'
import { engineCall, type HoldingWork } from '@drover/dialects'
import type { Engine, EngineView } from '@drover/engines'
import type { Copies } from '../copies/copies.ts'
import { brought } from './brought.ts'
import { engineLines } from './engine-lines.ts'
import { changeMemory } from './loading.ts'
import type { Pins } from './pins.ts'
import { ProgressWriter } from './progress-writer.ts'

export interface ModelAttemptDeps {
  /** This node's engines that are there. */
  seats(): Iterable<{ engine: Engine; view: EngineView }>
  /** Files of models from other nodes; absent: none are had. */
  copies?: Copies | undefined
  /** What the engine holds is looked at, and told to the others, before the job ends: its client asks for it next. */
  tellHeld(engine: Engine): Promise<void>
  /** How models are kept that were loaded by order. */
  pins: Pins
}

/** An Ollama of this node, and its own name for the model where it holds it. */
interface Doer {
  engine: Engine
  held?: string
}

/** Which Ollamas have a part in the work: all that hold what is to go or to be copied, else one. */
const doersOf = (work: HoldingWork, { seats }: ModelAttemptDeps): Doer[] => {
  const model = canonicalName(subjectOf(work))
  const brought = canonicalName(work.call === 'copy' ? work.destination : work.model)
  const all = [...seats()].flatMap(({ engine, view }): Doer[] => {
    if (brought === undefined || !canBring(engine, brought)) return []
    const held = view.held.find((each) => each.model === model)?.engineName
    return [{ engine, ...(held !== undefined && { held }) }]
  })
  if (all.length === 0) throw new BrokerError('engine_failed', 'no Ollama answers on this node that may hold it')
  const holders = all.filter(({ held }) => held !== undefined)
  if (work.call === 'delete' || work.call === 'copy') return holders
  // A name that is there under other letters is pulled under its own.
  const [first] = holders.length > 0 ? holders : all
  return first ? [first] : []
}

const work = async (lease: Lease, order: ModelWork | undefined, deps: ModelAttemptDeps): Promise<AttemptOutcome> => {
  const { signal } = lease
  if (signal.aborted) throw signal.reason
  if (!order) throw new BrokerError('internal', 'the work was written by a version of Drover that this worker cannot read')
  // What an earlier attempt has told is not told again: whoever sums it up takes nothing back.
  if (lease.next > 1) lease.resumed('continue')
  lease.head({ status: 200, contentType: 'application/x-ndjson' })
  const writer = new ProgressWriter(lease)
  if (order.call === 'load' || order.call === 'unload') {
    writer.take({ status: `${order.call}ing model` })
    for (const engine of await changeMemory(order, deps.seats(), deps.pins, signal)) await deps.tellHeld(engine)
    return { kind: 'completed' }
  }
  if (order.call === 'transfer' || order.call === 'pull') {
    try {
      if (await brought(order, writer, signal, deps)) return { kind: 'completed' }
    } finally {
      writer.flush()
    }
  }
  if (order.call === 'transfer') throw new BrokerError('internal', 'a copy ended without its end')
  const doers = doersOf(order, deps)
  if (doers.length === 0 && order.call === 'copy') throw new BrokerError('model_not_found', `model '${order.source}' is no longer there`)
  for (const { engine, held } of doers) {
    try {
      await engineLines(engine, engineCall(order, held), { signal, onProgress: (progress) => writer.take(progress) })
    } catch (error) {
      // Several Ollamas may have one folder: what one has deleted is gone for all.
      if (!(order.call === 'delete' && error instanceof BrokerError && error.status === 404)) throw error
    } finally {
      writer.flush()
    }
    const model = order.call === 'delete' ? canonicalName(order.model) : undefined
    if (model !== undefined) deps.pins.clear(engine, model)
    await deps.tellHeld(engine)
  }
  return { kind: 'completed' }
}

/** One attempt of work on this node's models, from lease to outcome. Everything that goes wrong in it is an outcome. */
export const modelAttempt = (lease: Lease, order: ModelWork | undefined, deps: ModelAttemptDeps): Promise<AttemptOutcome> =>
  work(lease, order, deps).catch((thrown: unknown): AttemptOutcome => {
    if (lease.signal.aborted) return lease.signal.reason as AttemptOutcome
    const error = toBrokerError(thrown)
    return error.retry === 'broker' && !lease.lastStart ? { kind: 'retry', error } : { kind: 'failed', error }
  })

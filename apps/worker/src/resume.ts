import type { Lease } from '@drover/broker'
import { BrokerError, type Frame, type Rung, type Usage } from '@drover/core'
import { renderedPrompt, resumption, type Begun, type Exchange, type ExchangeRequest } from '@drover/dialects'
import type { EnginePolicy } from './attempt.ts'
import type { Continuations } from './continuations.ts'
import type { Slot } from './slots.ts'
import type { Watchdog } from './watchdog.ts'

/** What a later attempt does with what an earlier one has written. */
export type Start =
  /** Nobody has read anything: as if nothing had been. `again`: what was written is to be forgotten. */
  | { kind: 'afresh'; again: boolean }
  | { kind: 'resumed'; rung: Rung; conversation: Exchange }
  /** The whole answer had been written. */
  | { kind: 'complete'; usage?: Usage }
  | { kind: 'impossible'; error: BrokerError }

export interface ResumeDeps {
  watchdog: Pick<Watchdog, 'watch'>
  policy: EnginePolicy
  partials: Pick<Continuations, 'probe'>
  /** Half answers are continued at all. */
  resume: boolean
}

/** What was written so far, by whoever it was. */
const begunIn = (frames: readonly Frame[]): Begun & { digest: string | undefined } => {
  const saved = { text: '', thinking: '', tokens: 0 }
  for (const frame of frames) {
    if (!frame.saved) continue
    saved.text += frame.saved.text ?? ''
    saved.thinking += frame.saved.thinking ?? ''
    saved.tokens += frame.saved.tokens
  }
  return {
    sent: frames.map(({ text = '' }) => text).join(''),
    ...(saved.tokens > 0 && { saved }),
    digest: frames.findLast(({ head }) => head)?.head?.digest,
  }
}

/**
 * The ladder: start again where nothing was read, continue the text, make it again and send the rest, or say honestly that it cannot be.
 * @throws BrokerError `engine_failed` when the engine cannot say what it must be asked, `engine_stalled` when it says nothing; the reason of
 *   the lease's signal when that ends it
 */
export const takeUp = async (lease: Lease, slot: Slot, request: ExchangeRequest, deps: ResumeDeps): Promise<Start> => {
  if (lease.next === 1) return { kind: 'afresh', again: false }
  // An engine that hangs while it is asked for a prompt is as stuck as one that hangs in its answer.
  const stuck = new AbortController()
  const watch = deps.watchdog.watch(slot, (error) => stuck.abort(error))
  try {
    return await climb(lease, slot, request, { ...deps, signal: AbortSignal.any([lease.signal, stuck.signal]) })
  } finally {
    watch.stop()
  }
}

const climb = async (lease: Lease, slot: Slot, request: ExchangeRequest, { policy, partials, resume, signal }: ResumeDeps & { signal: AbortSignal }): Promise<Start> => {
  const { job } = lease
  const { digest, ...begun } = begunIn(await lease.history())
  if (job.stream ? begun.sent === '' : !begun.saved) return { kind: 'afresh', again: true }
  const { engine, held } = slot
  const sameModel = digest === held.digest
  const continues = sameModel ? await partials.probe(engine, held, signal, policy.numCtx) : 'none'
  const found = resumption(request, begun, { sameModel, continues, thinks: held.capabilities?.includes('thinking') === true })
  if (found.kind === 'complete') return found
  // What nobody reads before its end may as well be made anew.
  if (!job.stream && (found.kind !== 'resumed' || found.rung !== 'continue' || !resume || job.resume === false)) return { kind: 'afresh', again: true }
  if (found.kind === 'impossible') return { kind: 'impossible', error: lease.failure ?? found.error }
  if ((!resume || job.resume === false) && found.rung !== 'restart')
    return { kind: 'impossible', error: lease.failure ?? new BrokerError('node_lost', 'the node that was answering has gone, and the answer was already half sent') }
  if (!found.render) return { kind: 'resumed', rung: found.rung, conversation: found.exchange() }
  const { status, json } = await engine.ask({ ...found.render, model: held.engineName }, signal)
  const prompt = status === 200 ? renderedPrompt(engine.kind, json) : undefined
  if (prompt === undefined) throw new BrokerError('engine_failed', `engine ${engine.id} answered POST ${found.render.path} with status ${status} and no prompt`)
  return { kind: 'resumed', rung: found.rung, conversation: found.exchange(prompt) }
}

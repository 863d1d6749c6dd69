import { setTimeout as sleep } from 'node:timers/promises'
import { readLane, type Lease } from '@drover/broker'
import { BrokerError, type AttemptOutcome, type ModelName, type Requirements } from '@drover/core'
import type { Engine } from '@drover/engines'
import type { Slot, Slots } from './slots.ts'

export interface AftermathDeps {
  slots: Slots
  /** Has an engine looked at now. */
  lookNow(engine: Engine): void
  /** Whether other nodes could run a job of a model, on an engine that is required: now, later, not at all. */
  others(model: ModelName, required: Requirements): Promise<'free' | 'busy' | 'none'>
  /** Ends pauses: jobs are to be gone from here. */
  hurry(): AbortSignal
  /** How long an engine leaves its lanes to others that should take what it gives back, ms. */
  leaveMs: number
}

/** How long a job whose engine has failed stays away from its lane, ms, longer each time. */
const PAUSE_MS = { first: 500, most: 2_000 }
/** The connection was refused or lost: the engine may be gone altogether, which a look tells. */
const UNREACHABLE = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'])

/**
 * What follows from how an attempt ended, before it is settled: the engine is told, the slot is free. A job that others can have goes back
 * at once, and the engine leaves its lanes to them for a moment. Where nobody else has a free slot it waits first: one that fails by
 * its own fault would stand at the head of the lane and keep the others from it. The wait ends early when the lease does, or on `hurry`.
 */
export const aftermath =
  ({ slots, lookNow, others, hurry, leaveMs }: AftermathDeps) =>
  async (lease: Lease, slot: Slot, outcome: AttemptOutcome): Promise<void> => {
    const error = engineErrorOf(outcome)
    if (outcome.kind === 'completed') slot.worked()
    if (!error) return slot.release()
    const { engine, held: { model } } = slot
    const unreachable = isUnreachable(error)
    if (unreachable) slots.lost(engine)
    if (unreachable || error.status === 404) lookNow(engine)
    const required = readLane(lease.lane)
    const elsewhere = await others(model, required)
    // 501: it does well what it was started for, and was asked for something else.
    if (error.status !== 501) slot.failed({ unreachable, first: lease.attempt === 1, shared: elsewhere !== 'none' })
    const atOnce = elsewhere === 'free' || slots.isFree(model, required, engine)
    const leave = () => setTimeout(slots.leave(engine, model), leaveMs).unref()
    if (outcome.kind === 'retry' && atOnce) leave()
    slot.release()
    if (outcome.kind !== 'retry' || atOnce) return
    const pause = Math.min(PAUSE_MS.first * 2 ** (lease.attempt - 1), PAUSE_MS.most)
    await sleep(pause, undefined, { signal: AbortSignal.any([lease.signal, hurry()]) }).catch(() => undefined)
    if (elsewhere === 'busy') leave()
  }

/** An error of a host name with several addresses has one of each inside. */
const isUnreachable = ({ code, cause }: BrokerError): boolean => {
  if (code !== 'engine_failed') return false
  const inner = cause instanceof AggregateError ? (cause.errors as unknown[]) : [cause]
  return inner.some((error) => error instanceof Error && 'code' in error && UNREACHABLE.has(String(error.code)))
}

/** What an attempt's end says against its engine, if anything. */
const engineErrorOf = (outcome: AttemptOutcome): BrokerError | undefined => {
  if (outcome.kind === 'retry') return outcome.error
  return outcome.kind === 'failed' && outcome.error.retry === 'broker' ? outcome.error : undefined
}

/** A job's last start has failed as those before it: its record says that no more are made, and the reason. */
export const exhausted = (outcome: AttemptOutcome, { lastStart }: Pick<Lease, 'lastStart'>): AttemptOutcome => {
  if (outcome.kind !== 'failed' || outcome.error.retry !== 'broker' || !lastStart) return outcome
  const { message, status, body } = outcome.error
  return { kind: 'failed', error: new BrokerError('attempts_exhausted', message, { status, ...(body !== undefined && { body }), cause: outcome.error }) }
}

import type { Lease } from '@drover/broker'
import { BrokerError, toBrokerError, type AttemptOutcome } from '@drover/core'
import { exchange, type Exchange } from '@drover/dialects'
import type { EngineCall } from '@drover/engines'
import { resumption } from './resume.ts'
import type { Slot } from './slots.ts'
import type { Watchdog } from './watchdog.ts'

/** How an engine on this node is used. */
export interface EnginePolicy {
  keepAlive?: string | number
  numCtx?: number
}

export interface AttemptDeps {
  watchdog: Watchdog
  policy: EnginePolicy
  now(): number
}

/** Most characters that are kept of an engine's refusal. */
const REFUSAL_LIMIT = 64 * 1024

/** One attempt from lease to outcome. Everything that goes wrong in it is an outcome. */
export const runAttempt = async (lease: Lease, slot: Slot, deps: AttemptDeps): Promise<AttemptOutcome> =>
  generate(lease, slot, deps).catch((error: unknown) => outcomeOf(error, lease))

const generate = async (lease: Lease, slot: Slot, { watchdog, policy, now }: AttemptDeps): Promise<AttemptOutcome> => {
  const { job, signal } = lease
  if (signal.aborted) throw signal.reason
  const start = resumption(lease)
  if (start.kind === 'impossible') return { kind: 'failed', error: start.error }
  if (start.kind === 'afresh') lease.reset()
  const conversation = exchange({
    dialect: job.dialect,
    body: JSON.parse(lease.takeBody()) as Record<string, unknown>,
    stream: job.stream,
    asked: job.asked,
    engine: { kind: slot.engine.kind, speaks: slot.engine.speaks, model: slot.held.engineName },
    policy,
    id: job.id,
    createdAt: now(),
  })
  if (!conversation.call) {
    lease.head({ status: 200, contentType: conversation.contentType })
    lease.append(conversation.finish())
    return { kind: 'completed' }
  }
  await converse(conversation, conversation.call, lease, slot, watchdog)
  return { kind: 'completed', ...(conversation.usage && { usage: conversation.usage }) }
}

/** Resolves when the engine has really ended its answer. */
const converse = (conversation: Exchange, request: { path: string; body: string }, lease: Lease, slot: Slot, watchdog: Watchdog): Promise<void> =>
  new Promise<void>((resolve, reject) => {
    let refused: number | undefined
    let refusal = ''
    let call: EngineCall | undefined
    const watch = watchdog.watch(slot, (error) => call?.abort(error))
    const stop = () => call?.abort(lease.signal.reason)
    const over = (settle: () => void) => {
      watch.stop()
      lease.signal.removeEventListener('abort', stop)
      settle()
    }
    call = slot.engine.post({ ...request, model: slot.held.engineName }, {
      loading: watch.pause,
      loaded: watch.resume,
      head: (status) => {
        if (status === 200) lease.head({ status: 200, contentType: conversation.contentType })
        else refused = status
        watch.alive()
      },
      text: (chunk) => {
        watch.alive()
        if (refused !== undefined) {
          if (refusal.length < REFUSAL_LIMIT) refusal += chunk
          return
        }
        if (lease.append(conversation.push(chunk))) return
        call?.pause()
        watch.pause()
        lease.room(() => {
          watch.resume()
          call?.resume()
        })
      },
      end: () => {
        if (refused !== undefined) throw conversation.refusal(refused, refusal)
        lease.append(conversation.finish())
        over(resolve)
      },
      fail: (error) => over(() => reject(error)),
    })
    lease.signal.addEventListener('abort', stop)
    if (lease.signal.aborted) stop()
  })

/** A job whose client has read nothing may start again elsewhere; one that has been read may not, until answers can be continued. */
const outcomeOf = (thrown: unknown, lease: Lease): AttemptOutcome => {
  if (lease.signal.aborted) return lease.signal.reason as AttemptOutcome
  const error = toBrokerError(thrown)
  const readable = lease.job.stream && lease.readable
  return transient(error) && !readable && !lease.lastStart ? { kind: 'retry', error } : { kind: 'failed', error }
}

/** The engine's fault or its moment's: busy, gone, model just deleted there, started without what is asked. Another may do better. */
const transient = (error: BrokerError): boolean =>
  error.retry === 'broker' || (error.code === 'engine_refused' && [404, 408, 429, 501].includes(error.status))

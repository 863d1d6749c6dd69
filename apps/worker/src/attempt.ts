import type { Lease } from '@drover/broker'
import { toBrokerError, type AttemptOutcome, type BrokerError, type Head } from '@drover/core'
import { exchange, type Exchange, type ExchangeRequest } from '@drover/dialects'
import type { EngineCall } from '@drover/engines'
import type { CheckPoints } from './check-points.ts'
import { takeUp, type ResumeDeps } from './resume.ts'
import type { Slot } from './slots.ts'
import type { Watchdog } from './watchdog.ts'

/** How an engine on this node is used. */
export interface EnginePolicy {
  keepAlive?: string | number
  numCtx?: number
}

export interface AttemptDeps extends ResumeDeps {
  watchdog: Watchdog
  checkPoints: CheckPoints
  now(): number
}

/** Most characters that are kept of an engine's refusal. */
const REFUSAL_LIMIT = 64 * 1024

/** One attempt from lease to outcome. Everything that goes wrong in it is an outcome. */
export const runAttempt = async (lease: Lease, slot: Slot, deps: AttemptDeps): Promise<AttemptOutcome> =>
  generate(lease, slot, deps).catch((error: unknown) => outcomeOf(error, lease, deps))

const generate = async (lease: Lease, slot: Slot, deps: AttemptDeps): Promise<AttemptOutcome> => {
  const { job, signal } = lease
  const { engine, held } = slot
  if (signal.aborted) throw signal.reason
  const request: ExchangeRequest = {
    dialect: job.dialect,
    body: JSON.parse(lease.takeBody()) as Record<string, unknown>,
    stream: job.stream,
    asked: job.asked,
    engine: { kind: engine.kind, speaks: engine.speaks, model: held.engineName },
    policy: deps.policy,
    id: job.id,
    createdAt: deps.now(),
  }
  const start = await takeUp(lease, slot, request, deps)
  if (start.kind === 'impossible') return { kind: 'failed', error: start.error }
  if (start.kind === 'complete') return { kind: 'completed', ...(start.usage && { usage: start.usage }) }
  if (start.kind === 'resumed') lease.resumed(start.rung)
  else if (start.again) lease.reset()
  const conversation = start.kind === 'resumed' ? start.conversation : exchange(request)
  const head = { status: 200, contentType: conversation.contentType, digest: held.digest }
  if (!conversation.call) {
    lease.head(head)
    lease.append(conversation.finish())
  } else await converse({ conversation, request: conversation.call, head, lease, slot, deps })
  return { kind: 'completed', ...(conversation.usage && { usage: conversation.usage }) }
}

interface Conversation {
  conversation: Exchange
  request: { path: string; body: string }
  /** Said when the engine has accepted the request. */
  head: Omit<Head, 'node'>
  lease: Lease
  slot: Slot
  deps: AttemptDeps
}

/** Why a call ends whose answer is complete although the engine would say more. */
const SATISFIED = Symbol('satisfied')

/** Resolves when the engine has really ended its answer. */
const converse = ({ conversation, request, head, lease, slot, deps }: Conversation): Promise<void> =>
  new Promise<void>((resolve, reject) => {
    let refused: number | undefined
    let refusal = ''
    let call: EngineCall | undefined
    const watch = deps.watchdog.watch(slot, (error) => call?.abort(error))
    const saving = lease.job.stream ? undefined : deps.checkPoints.of(lease, conversation)
    const stop = () => call?.abort(lease.signal.reason)
    const over = (settle: () => void) => {
      watch.stop()
      saving?.stop()
      lease.signal.removeEventListener('abort', stop)
      settle()
    }
    call = slot.engine.post({ ...request, model: slot.held.engineName }, {
      loading: watch.pause,
      loaded: watch.resume,
      head: (status) => {
        if (status === 200) lease.head(head)
        else refused = status
        watch.alive()
      },
      text: (chunk) => {
        watch.alive()
        if (refused !== undefined) {
          if (refusal.length < REFUSAL_LIMIT) refusal += chunk
          return
        }
        const room = lease.append(conversation.push(chunk))
        if (conversation.satisfied) {
          lease.append(conversation.finish())
          return call?.abort(SATISFIED)
        }
        if (room) return
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
      fail: (error) => over(() => (error === SATISFIED ? resolve() : reject(error))),
    })
    lease.signal.addEventListener('abort', stop)
    if (lease.signal.aborted) stop()
  })

/** What the engine's fault or its moment's is may go better on another attempt, also in mid-answer: that takes up what was said. */
const outcomeOf = (thrown: unknown, lease: Lease, { resume }: AttemptDeps): AttemptOutcome => {
  const { job, signal, readable, lastStart } = lease
  if (signal.aborted) return signal.reason as AttemptOutcome
  const error = toBrokerError(thrown)
  const broken = job.stream && readable && (!resume || job.resume === false)
  return transient(error) && !broken && !lastStart ? { kind: 'retry', error } : { kind: 'failed', error }
}

/** Busy, gone, model just deleted there, started without what is asked. Another engine may do better. */
const transient = (error: BrokerError): boolean =>
  error.retry === 'broker' || (error.code === 'engine_refused' && [404, 408, 429, 501].includes(error.status))

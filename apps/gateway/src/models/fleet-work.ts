import type { GatewayConnection } from '@drover/broker'
import { BrokerError, toBrokerError, type ErrorCode, type JobId, type ModelName, type ModelWork } from '@drover/core'
import { NodesProgress, type Progress } from '@drover/dialects'
import type { RegistryView } from '../registry-view.ts'
import { NodeWork } from './node-work.ts'
import { untilGone } from './until-gone.ts'

export interface FleetDeps {
  broker: Pick<GatewayConnection, 'jobs' | 'mayJudge' | 'pulls' | 'tickets'>
  view: RegistryView
}

/** A node that is to do it. */
export interface Assignment {
  node: string
  /** Of a job that others may have begun. */
  id?: JobId
  /** It is not known that others have. */
  fresh?: boolean
}

export interface FleetWork {
  work: ModelWork
  model: ModelName
  on: readonly Assignment[]
  timeoutMs: number
  /** In place of a node that is gone, or whose engine is; `undefined`: there is none. Absent: none is to be. */
  another?(used: ReadonlySet<string>): Promise<Assignment | undefined>
  /** The job of that node anew, of a job that its others have given up as we came. Absent: it has no others. */
  again?(node: string): Promise<Assignment | undefined>
  /** How long a node that has gone is waited for, ms, where only that node can do it. */
  patienceMs?: number
  /** Nobody wants it any more. */
  signal: AbortSignal
  /** How all of them are getting on, as one engine would tell it. */
  onLine?(line: Progress): void
}

export interface FleetOutcome {
  done: string[]
  failed: { node: string; error: BrokerError }[]
}

/** What another node may do better; the rest is the engine's own word. */
const ELSEWHERE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['engine_failed', 'engine_protocol', 'engine_stalled', 'attempts_exhausted', 'node_lost', 'internal'])
/** A job that ends as cancelled so soon after we came was given up by its others at that moment, ms. */
const AS_WE_CAME_MS = 2_000
/** Times that such a job is asked for anew. */
const MOST_AGAIN = 3

const cancelled = () => new BrokerError('cancelled', 'request canceled')

/** Has several nodes do the same work. Resolves when each has done it, or will not; never rejects. */
export const workOnNodes = async (deps: FleetDeps, { work, model, on, timeoutMs, another, again, patienceMs, signal, onLine }: FleetWork): Promise<FleetOutcome> => {
  const progress = new NodesProgress(on.length)
  const outcome: FleetOutcome = { done: [], failed: [] }
  const used = new Set(on.map(({ node }) => node))
  const tell = (lines: readonly Progress[]) => {
    if (!signal.aborted) for (const line of lines) onLine?.(line)
  }

  /** One node's try. Answers why it has not done it. */
  const attempt = async ({ node, id, fresh = true }: Assignment, number: number): Promise<BrokerError | 'again' | undefined> => {
    const over = new AbortController()
    const cameAt = performance.now()
    const job = await NodeWork.start(deps.broker, { node, id, work, model, timeoutMs, onProgress: (line) => tell(progress.take(number, line)) })
    try {
      const left = new Promise<BrokerError>((resolve) => {
        const leave = () => resolve(cancelled())
        if (signal.aborted) leave()
        else signal.addEventListener('abort', leave, { once: true, signal: over.signal })
      })
      const error = await Promise.race([job.ended, untilGone(deps, { node, begun: () => job.begun, patienceMs, signal: over.signal }), left])
      const isGivenUp = error?.code === 'cancelled' && !fresh && performance.now() - cameAt < AS_WE_CAME_MS
      return isGivenUp && !signal.aborted ? 'again' : error
    } finally {
      over.abort()
      await job.leave()
    }
  }

  const nextAfter = async (error: BrokerError | 'again', { node }: Assignment, tries: number): Promise<Assignment | undefined> => {
    if (signal.aborted) return undefined
    if (error === 'again') return tries < MOST_AGAIN ? again?.(node) : undefined
    return ELSEWHERE.has(error.code) ? another?.(used) : undefined
  }

  const turn = async (first: Assignment, number: number): Promise<void> => {
    for (let at: Assignment | undefined = first, tries = 0; at; tries += 1) {
      const { node } = at
      used.add(node)
      const error: BrokerError | 'again' | undefined = await attempt(at, number).catch((thrown: unknown) => toBrokerError(thrown))
      if (error === undefined) return void outcome.done.push(node)
      at = await nextAfter(error, at, tries).catch(() => undefined)
      if (!at) outcome.failed.push({ node, error: error === 'again' ? cancelled() : error })
    }
  }

  await Promise.all(on.map((first, number) => turn(first, number).then(() => tell(progress.over(number)))))
  return outcome
}

/** What is said of work that some of its nodes have not done. `verb`: what those that have did. */
export const failureOf = ({ done, failed }: FleetOutcome, verb: string): BrokerError | undefined => {
  const [first] = failed
  if (!first) return undefined
  const isSame = done.length === 0 && failed.every(({ error }) => error.message === first.error.message)
  if (isSame && (first.error.code === 'engine_refused' || first.error.retry === 'caller')) return first.error
  const reasons = failed.map(({ node, error }) => `node ${node}: ${error.message}`).join('; ')
  return new BrokerError('engine_failed', done.length === 0 ? reasons : `${verb} on ${done.toSorted().join(', ')}, but not on all nodes: ${reasons}`, { status: 500 })
}

import { setTimeout as sleep } from 'node:timers/promises'
import { nodeLane, type Lease, type WorkerConnection } from '@drover/broker'
import { canonicalName, ModelWork, type AttemptOutcome, type ModelCall } from '@drover/core'
import type { Log } from '@drover/service'
import { exhausted } from '../aftermath.ts'
import { modelAttempt, type ModelAttemptDeps } from './model-attempt.ts'
import { modelLoop } from './model-loop.ts'

export interface ModelWorkOptions extends ModelAttemptDeps {
  node: string
  connection: WorkerConnection
  paused(): boolean
  draining: AbortSignal
  log: Log
  onError(error: unknown): void
}

/** What another node may do instead, or this one when it is back; the rest is over soon. */
const RETURNED: ReadonlySet<ModelCall> = new Set<ModelCall>(['pull', 'push', 'load'])

/** How long work whose engine has failed waits for its next start, ms. */
const PAUSE_MS = 1_500

/**
 * Work on this node's models: pulls, deletes and the like.
 * @returns `over` resolves when nothing more is taken; `giveBack` gives back at once what is taken up again by itself
 */
export const modelWork = ({ node, connection, paused, draining, log, onError, ...deps }: ModelWorkOptions): { over: Promise<void>; giveBack(): void } => {
  const { jobs } = connection
  const lane = nodeLane(node)
  /** What was ordered, by those that are held. */
  const orders = new Map<Lease, ModelWork | undefined>()

  const settle = async (lease: Lease, outcome: AttemptOutcome, startedAt = performance.now()) => {
    const written = await lease.settle(exhausted(outcome, lease))
    log.info(
      {
        job: lease.job.id,
        attempt: lease.attempt,
        call: orders.get(lease)?.call,
        model: lease.job.model,
        outcome: written ? outcome.kind : 'lost',
        ms: Math.round(performance.now() - startedAt),
        ...('error' in outcome && { reason: outcome.error.code }),
        ...('why' in outcome && { reason: outcome.why }),
      },
      'model work over',
    )
  }
  const kept = (act: (lease: Lease) => Promise<void>) => (lease: Lease) => act(lease).catch(onError).finally(() => orders.delete(lease))

  const over = modelLoop({
    take: () => jobs.take(lane),
    onHeard: (then) => connection.onModelWork(then),
    subjects: (lease) => {
      const order = ModelWork.safeParse(JSON.parse(lease.takeBody())).data
      orders.set(lease, order)
      return subjectsOf(order, lease)
    },
    run: kept(async (lease) => {
      const startedAt = performance.now()
      const outcome = await modelAttempt(lease, orders.get(lease), deps)
      if (outcome.kind === 'retry') await sleep(PAUSE_MS, undefined, { signal: lease.signal }).catch(() => undefined)
      await settle(lease, outcome, startedAt)
    }),
    giveUp: kept((lease) => settle(lease, lease.signal.reason as AttemptOutcome)),
    paused,
    draining,
    onError,
  })
  return {
    over,
    giveBack: () => {
      for (const [lease, order] of orders) if (order && RETURNED.has(order.call)) lease.abort({ kind: 'returned', why: 'drained' })
    },
  }
}

/** Models that a job changes. One that cannot be read ends when its turn comes. */
const subjectsOf = (order: ModelWork | undefined, { job }: Pick<Lease, 'job'>): string[] => {
  if (!order) return [job.model]
  return (order.call === 'copy' ? [order.source, order.destination] : [order.model]).map((name) => canonicalName(name) ?? name)
}

import { openWorker, type Lease, type WorkerConnection } from '@drover/broker'
import type { Layout, NodeRecord } from '@drover/core'
import { llamaServer, ollama, type Engine } from '@drover/engines'
import { onTestFinished } from 'vitest'
import { aftermath, exhausted } from '../../apps/worker/src/aftermath.ts'
import { runAttempt } from '../../apps/worker/src/attempt.ts'
import { checkPoints } from '../../apps/worker/src/check-points.ts'
import { continuations } from '../../apps/worker/src/continuations.ts'
import { heartbeat } from '../../apps/worker/src/heartbeat.ts'
import { inventory } from '../../apps/worker/src/inventory.ts'
import { pullLoop } from '../../apps/worker/src/pull-loop.ts'
import { Slots, type Slot } from '../../apps/worker/src/slots.ts'
import { watchdog } from '../../apps/worker/src/watchdog.ts'
import type { ScriptedEngine } from '../engine/server.ts'

/** An engine on the wire that says of itself how it runs models. */
export interface LaidOut {
  engine: Engine
  /** Whether what it holds is only for jobs that ask for its layout. It is looked at within a moment. */
  onlyAsked(value: boolean): void
}

export const laidOut = (id: string, server: Pick<ScriptedEngine, 'url'>, { kind, layout }: { kind: 'ollama' | 'llama-server'; layout?: Layout }): LaidOut => {
  const adapter = kind === 'ollama' ? ollama({ id, url: server.url, slots: 2 }) : llamaServer({ id, url: server.url })
  let onlyAsked = false
  const engine: Engine = {
    ...adapter,
    ...(layout && { layout }),
    get speaks() {
      return adapter.speaks
    },
    async look(signal) {
      const view = await adapter.look(signal)
      return { ...view, held: view.held.map((held) => (onlyAsked ? { ...held, onlyAsked } : held)) }
    },
  }
  return { engine, onlyAsked: (value) => void (onlyAsked = value) }
}

export interface OwnWorkerOptions {
  node: string
  redis: { url: string; prefix: string }
  engines: readonly Engine[]
  /** What its record says besides. */
  says?: Partial<NodeRecord>
}

/** A registry to which a node says more than its heartbeat knows. */
const saying = (registry: WorkerConnection['registry'], says: Partial<NodeRecord>): WorkerConnection['registry'] =>
  new Proxy(registry, {
    get(target, name) {
      if (name === 'nodeLives') return (record: NodeRecord, ...rest: [string, string?]) => target.nodeLives({ ...record, ...says }, ...rest)
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })

const onError = (error: unknown) => void console.error(error)

/** A worker in this process, made of the product's own parts, with engines that no setting could name. It ends with the test. */
export const ownWorker = async ({ node, redis, engines, says = {} }: OwnWorkerOptions): Promise<void> => {
  const opened = await openWorker(node, { ...redis, onError })
  const connection = { ...opened, registry: saying(opened.registry, says) }
  const slots = new Slots()
  const partials = continuations({ slots, onFound: () => undefined, onFailure: () => undefined })
  const facts: Pick<NodeRecord, 'id' | 'version' | 'labels' | 'preference' | 'startedAt'> = { id: node, version: '0', labels: {}, preference: 0, startedAt: Date.now() }
  const alive = heartbeat({ connection, slots, continues: partials.continues, facts, local: false, gpus: () => [], lending: () => undefined, coordinating: () => ({}), copies: () => ({}), draining: () => false, siblings: [], onDrain: () => undefined, onTaken: () => undefined, onError })
  const stock = inventory({
    slots,
    intervalMs: 50,
    onChange: () => {
      void alive.beat()
      connection.jobs.wake()
    },
  })
  await Promise.all(engines.map((engine) => stock.add(engine)))
  if (!(await alive.start())) throw new Error(`the name ${node} is taken`)
  const [watch, saving, draining] = [watchdog({ first: 30_000, load: 30_000, gap: 30_000 }), checkPoints(), new AbortController()]
  const follow = aftermath({ slots, lookNow: stock.lookNow, others: alive.others, hurry: () => draining.signal, leaveMs: 500 })
  const run = async (lease: Lease, slot: Slot) => {
    const outcome = await runAttempt(lease, slot, { watchdog: watch, checkPoints: saving, policy: {}, partials, resume: true, now: Date.now })
    await follow(lease, slot, outcome)
    await lease.settle(exhausted(outcome, lease))
  }
  const pulling = pullLoop({
    source: connection.jobs,
    slots,
    run: (lease, slot) => void run(lease, slot).catch(onError).finally(() => slot.release()),
    peerPreference: alive.peerPreference,
    preference: 0,
    bounds: { wait: 10_000, batchWait: 60_000, leave: 300, preempt: 15 },
    paused: () => false,
    draining: draining.signal,
    onError,
  })
  onTestFinished(async () => {
    draining.abort()
    await pulling
    await connection.jobs.idle()
    alive.stop()
    stock.stop()
    partials.stop()
    watch.close()
    saving.close()
    await connection.close()
    await Promise.all(engines.map((engine) => engine.close()))
  })
}

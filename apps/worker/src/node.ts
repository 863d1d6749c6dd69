import { setTimeout as sleep } from 'node:timers/promises'
import { openWorker, type Lease } from '@drover/broker'
import { BrokerError, type NodeRecord } from '@drover/core'
import { findEngines, readGpus, usableMemory, type Engine, type EngineConfig } from '@drover/engines'
import { childEnvironment, EXIT, ExitError, VERSION, type Log, type RedisTarget, type ShutdownStep } from '@drover/service'
import { aftermath, exhausted } from './aftermath.ts'
import { runAttempt } from './attempt.ts'
import { checkPoints } from './check-points.ts'
import type { WorkerConfig } from './config.ts'
import { continuations } from './continuations.ts'
import { coordinatorOf } from './coordinating/settings.ts'
import { descriptions } from './descriptions.ts'
import { heartbeat, type Sibling } from './heartbeat.ts'
import { inventory } from './inventory.ts'
import { Lending } from './lending/lending.ts'
import { offerOf } from './lending/offer.ts'
import { MemoryBudget } from './memory-budget.ts'
import { modelWork } from './models/model-work.ts'
import { keepAliveOf, Pins } from './models/pins.ts'
import { ownModels } from './own-models.ts'
import { pullLoop } from './pull-loop.ts'
import { Slots, type Slot } from './slots.ts'
import { watchdog } from './watchdog.ts'

/** How often engines that were not there are looked for again, ms. */
const SEARCH_MS = 10_000
const GPU_MS = 5_000
/** The name of a worker that was killed is free after four seconds without a word. */
const NAME_TRIES = 24
const NAME_TRY_MS = 250
/** Longest that a node's last word may take, ms. */
const FAREWELL_MS = 1_000
/** A job is left to a preferred node for this long at most, ms. */
const LEAVE_MS = 300
/** An engine leaves a lane to others after a job has failed there, ms: for longer than they would leave it to us, were this the preferred node. */
const STEP_BACK_MS = LEAVE_MS + 200

/** A batch job that was given back so often runs to its end: it is not to be begun for ever. */
const MOST_RETURNED = 4

export interface NodeOptions {
  id: string
  preference: number
  labels: Record<string, string>
  /** Engines by URL. */
  engines: readonly EngineConfig[]
  /** Where else Ollama is looked for. */
  look: { ports: readonly number[]; ollamaHost?: string | undefined }
  /** Whether the engines run on this machine, so that its cards are theirs. */
  local: boolean
  /** All nodes of this process; this one joins them. */
  siblings: Sibling[]
  config: WorkerConfig
  redis: RedisTarget
  log: Log
}

/**
 * One node: its engines, its place in the registry, and the loop that pulls jobs for it.
 * @returns what ends it, in order
 * @throws ExitError when Redis cannot be used, or the node's name is taken
 */
export const startNode = async ({ id, preference, labels, engines: named, look, local, siblings, config, redis, log }: NodeOptions): Promise<ShutdownStep[]> => {
  const onError = (error: unknown) => log.error({ err: error }, 'unexpected')
  const stopping = new AbortController()
  /** Somebody wants this node drained: it takes nothing until that is taken back, and goes on living. */
  let drained = false
  /** Aborted while jobs are not to wait here for another try. */
  let pauses = new AbortController()

  const budget = new MemoryBudget(config.llamaMemory ?? (local ? await usableMemory() : 0))
  const rpc = { program: config.rpcServer, env: childEnvironment({}) }
  const offer = local ? await offerOf(config, rpc, budget, log) : undefined

  const connection = await openWorker(id, {
    ...redis,
    allowEviction: config.allowEviction,
    sendTwice: config.sendTwice,
    onError,
    onRecovered: (lane, jobs) => log.warn({ lane, jobs }, 'jobs of a lost worker are back in their lane'),
  }).catch((error: unknown) => {
    // A Redis that cannot be reached may be there on the next try.
    throw error instanceof BrokerError ? new ExitError(error.message, error.code === 'broker_unavailable' ? EXIT.failed : EXIT.refused) : error
  })

  const slots = new Slots(({ engine, ended, model, failures, forMs }) => {
    const facts = { engine: engine.id, ...(model !== undefined && { model }), failures }
    if (ended) log.info(facts, 'engine is given jobs again')
    else log.warn({ ...facts, ms: forMs }, 'engine keeps failing and is given no jobs for now')
    void alive.beat()
  }, { batchShare: config.batchShare, batchSpare: config.batchSpare, preempt: config.preempt })
  const takesNothing = () => drained || stopping.signal.aborted
  siblings.push({ id, preference, slots, draining: takesNothing })
  const engines = new Map<string, Engine>()
  let cards: NodeRecord['gpus'] = []
  const partials = continuations({
    slots,
    onFound: () => void alive.beat(),
    onFailure: (engine, { model }, error) =>
      log.warn({ engine: engine.id, model, reason: error instanceof Error ? error.message : undefined }, 'engine does not say how it goes on with a half answer'),
  })
  const alive = heartbeat({
    connection,
    slots,
    continues: partials.continues,
    facts: { id, version: VERSION, labels, preference, startedAt: Date.now() },
    local,
    gpus: () => cards,
    lending: () => lending.record(),
    coordinating: () => coordinator?.told() ?? {},
    draining: takesNothing,
    siblings,
    supervisor: process.env['DROVER_SUPERVISOR'],
    onDrain: (wanted) => {
      drained = wanted
      if (wanted) pauses.abort()
      else if (!stopping.signal.aborted) pauses = new AbortController()
      log.info({ node: id }, wanted ? 'drained: takes nothing until it is undrained' : 'undrained: takes jobs again')
      connection.jobs.wake()
    },
    onTaken: () => log.error({ node: id }, 'another worker has this node’s name'),
    onError,
  })
  const lending = new Lending({ node: id, loans: connection.loans, budget, offer, rpc, cards: () => cards, log, onChange: () => void alive.beat() })
  const coordinator = local
    ? coordinatorOf(config, {
        node: id,
        connection,
        lending,
        memory: budget.total,
        cards: () => cards,
        log,
        onLent: (engine) => {
          engines.set(engine.id, engine)
          void stock.add(engine)
          for (const each of engines.values()) stock.lookNow(each)
        },
        onChange: (engine) => {
          stock.lookNow(engine)
          void alive.beat()
          connection.jobs.wake()
        },
        onError,
      })
    : undefined
  const told = descriptions({
    registry: connection.registry,
    slots,
    onFailure: (engine, { model }, error) =>
      log.warn({ engine: engine.id, model, reason: error instanceof Error ? error.message : undefined }, 'engine does not describe its model'),
    onError,
  })
  connection.onReady(() => told.tell())
  const stock = inventory({
    slots,
    adjusted: (engine, view) => coordinator?.adjusted(engine, view) ?? view,
    onChange: (engine, view, reason) => {
      if (view) log.info({ engine: engine.id, kind: engine.kind, models: view.held.map(({ model }) => model) }, 'engine holds')
      else log.warn({ engine: engine.id, reason: reason instanceof Error ? reason.message : undefined }, 'engine cannot be used')
      void alive.beat()
      told.tell()
      partials.look()
      connection.jobs.wake()
    },
  })
  const problems = new Set<string>()
  const search = async () => {
    const found = await findEngines(
      {
        engines: named,
        ports: look.ports,
        ...(look.ollamaHost !== undefined && { ollamaHost: look.ollamaHost }),
        found: { slots: config.slots },
        known: new Set(engines.keys()),
      },
      stopping.signal,
    )
    for (const engine of found.engines) engines.set(engine.id, engine)
    for (const { url, reason } of found.problems) {
      if (!problems.has(url + reason)) log.warn({ url, reason }, 'engine not taken')
      problems.add(url + reason)
    }
    await Promise.all(found.engines.map((engine) => stock.add(engine)))
  }

  const lookAtGpus = async () => (cards = local ? await readGpus() : [])
  await Promise.all([search(), lookAtGpus()])
  // After the others: the spare model is for a worker none of whose engines, remote ones included, has a model.
  const alone = () => siblings.every((node) => [...node.slots.seats()].every(({ engine, view }) => engine === own || view.held.length === 0))
  const own: Engine | undefined = local ? ownModels(config, budget.share('models', () => lending.miss()), log, alone, () => connection.jobs.wake()) : undefined
  if (own) {
    engines.set(own.id, own)
    await stock.add(own)
  }
  const timers = [setInterval(() => void search().catch(onError), SEARCH_MS)]
  // Asking means starting a program each time: not where there is nothing to ask.
  if (cards.length > 0) timers.push(setInterval(() => void lookAtGpus().catch(onError), GPU_MS))

  for (let tries = 1; !(await alive.start()); tries += 1) {
    if (tries === NAME_TRIES) throw new ExitError(`a living worker is called ${id} already: give this one another name with --node`)
    await new Promise((resolve) => setTimeout(resolve, NAME_TRY_MS))
  }

  await Promise.all([lending.start(), coordinator?.start()])

  const watch = watchdog({ first: config.firstToken, load: config.loadTime, gap: config.tokenGap })
  const saving = checkPoints()
  const pins = new Pins({
    ...(config.keepAlive !== undefined && { keepAlive: keepAliveOf(config.keepAlive) }),
    ...(config.numCtx !== undefined && { numCtx: config.numCtx }),
  })
  const follow = aftermath({ slots, lookNow: stock.lookNow, others: alive.others, hurry: () => pauses.signal, leaveMs: STEP_BACK_MS })
  const run = async (lease: Lease, slot: Slot): Promise<void> => {
    if (lease.job.slots > 1) slot.widen(lease.job.slots - 1)
    if (lease.job.class === 'batch' && lease.returned < MOST_RETURNED) slot.mayYield(() => lease.abort({ kind: 'returned', why: 'preempted' }))
    try {
      await slot.claim?.()
      const outcome = await runAttempt(lease, slot, { watchdog: watch, checkPoints: saving, policy: pins.policyFor(slot.engine, slot.held.model), partials, resume: config.resume, now: Date.now })
      // The engine is free as soon as it has ended; what is left is between Redis and us.
      await follow(lease, slot, outcome)
      const written = await lease.settle(exhausted(outcome, lease))
      if (outcome.kind === 'completed' && written) return
      log.info(
        {
          job: lease.job.id,
          attempt: lease.attempt,
          model: lease.job.model,
          engine: slot.engine.id,
          outcome: written ? outcome.kind : 'lost',
          ...('error' in outcome && { reason: outcome.error.code }),
          ...('why' in outcome && { reason: outcome.why }),
        },
        'attempt over',
      )
    } catch (error) {
      onError(error)
    } finally {
      slot.release()
    }
  }

  const draining = new AbortController()
  const pulling = pullLoop({
    source: connection.jobs,
    slots,
    run: (lease, slot) => void run(lease, slot),
    peerPreference: alive.peerPreference,
    preference,
    bounds: { wait: config.starveAfter, batchWait: config.batchStarveAfter, leave: LEAVE_MS, preempt: config.preemptAfter },
    paused: () => drained,
    draining: draining.signal,
    onError,
  })
  const models = modelWork({
    node: id,
    connection,
    seats: () => slots.seats(),
    tellHeld: async (engine) => {
      await stock.look(engine)
      await alive.beat()
    },
    pins,
    paused: () => drained,
    draining: draining.signal,
    log,
    onError,
  })
  log.info({ node: id, engines: [...engines.keys()], redis: connection.facts.version }, 'working')
  if (engines.size === 0) log.warn('no engine was found: start Ollama, or name one with --engine URL; this worker goes on looking')

  return [
    {
      name: 'take nothing new',
      limitMs: 3_000,
      run: async () => {
        draining.abort()
        stopping.abort()
        pauses.abort()
        models.giveBack()
        const taken = lending.close('others')
        // The others are told, but a Redis that is just going, too, is not waited for.
        await Promise.race([alive.beat(), sleep(FAREWELL_MS, undefined, { ref: false })])
        await Promise.all([pulling, models.over, taken])
      },
    },
    // Reaching the limit is no failure of the shutdown: what is left is given back next.
    { name: 'let jobs end', limitMs: config.drainLimit + 1_000, run: () => Promise.race([connection.jobs.idle(), sleep(config.drainLimit, undefined, { ref: false })]) },
    {
      name: 'give the rest back',
      limitMs: 3_000,
      run: async () => {
        for (const lease of connection.jobs.leases) lease.abort({ kind: 'returned' })
        await connection.jobs.idle()
      },
    },
    {
      name: 'leave Redis',
      limitMs: 2_000,
      run: async () => {
        timers.forEach(clearInterval)
        alive.stop()
        stock.stop()
        told.stop()
        partials.stop()
        watch.close()
        saving.close()
        await coordinator?.close()
        await lending.close('all')
        await connection.close()
        await Promise.all([...engines.values()].map((engine) => engine.close()))
      },
    },
  ]
}

import { setTimeout as sleep } from 'node:timers/promises'
import { laneOf, type WorkerConnection } from '@drover/broker'
import {
  BrokerError, bytesOf, inGigabytes, planCluster, planShared, runsAlone,
  type ClusterRecord, type HeldModel, type ModelName, type NodeRecord, type PlanVerdict, type PlanWish, type ShortOf,
} from '@drover/core'
import { clusterEngine, memoryNeeded, type ClusterEngine, type Engine, type EngineView, type ModelFile, type ResidencyEvent, type RunningServer } from '@drover/engines'
import type { Log } from '@drover/service'
import { Cluster, type FormOptions } from './cluster.ts'
import { Fleet, type FleetOptions } from './fleet.ts'
import { wishFor, type ClusterWishes } from './wishes.ts'

/** How often the others' records are read while somebody lends, and else, ms. */
const LOOK_MS = { lent: 1_000, else: 5_000 }
const RENEW_MS = 1_000
/** Memory that was given back is free when its process has gone and its lender has said so: waited for so long, ms. */
const FREE_MS = 5_000
const FREE_POLL_MS = 100
/** What has never fitted for so long will not: its jobs end with the reason, ms. A lender that is started anew is back before. */
const HOPE_MS = 30_000
/** Tries to form a cluster in one start: of two who ask for the same memory at once one is refused. */
const TRIES = 3

export interface CoordinatorOptions {
  node: string
  connection: Pick<WorkerConnection, 'loans' | 'registry' | 'jobs'>
  lending: FleetOptions['lending']
  /** The model files of this machine. */
  files(): Promise<ModelFile[]>
  wishes: ClusterWishes
  slots: number
  context: number
  /** Bytes that a model of the models folder may take here, and one of an engine that is found here. */
  memory: { own: number; found(): number }
  server: FormOptions['server']
  keepAliveMs: number
  turnMs: number
  log: Log
  /** There are model files, and memory is lent: from now on the engine may hold models. Called once. */
  onLent(engine: Engine): void
  /** What this node says of itself has changed, or jobs may be taken that could not be. */
  onChange(engine: Engine): void
  onError(error: unknown): void
}

/** How a model of a file is run here. */
interface Placed {
  /** Others run it better: on one node. */
  onlyAsked: boolean
  /** What is missing; absent: nothing, or it runs already. */
  short?: { reason: string; never: boolean; since: number }
}

/** Runs models of this node's files over the memory of several nodes: decides which, borrows, starts, watches, and gives back. */
export class Coordinator {
  readonly engine: ClusterEngine
  #options: CoordinatorOptions
  #fleet: Fleet
  #files: readonly ModelFile[] = []
  #placed = new Map<ModelName, Placed>()
  #clusters = new Map<ModelName, Cluster>()
  #lentAt = -Infinity
  #closed = new AbortController()
  #renewing = false
  #again = false
  #timer: NodeJS.Timeout
  /** The engine is looked at. */
  #hasBegun = false
  #told = ''

  constructor(options: CoordinatorOptions) {
    this.#options = options
    const { node, lending, slots, keepAliveMs, turnMs, connection } = options
    const inUse = () => new Set([...this.#clusters.values()].flatMap(({ plan }) => plan.members.map((member) => member.node)))
    this.#fleet = new Fleet({ node, lending, registry: connection.registry, inUse, onCut: (lender) => this.#cut(lender), onReached: () => this.#decide() })
    this.#timer = setInterval(() => this.#renew(), RENEW_MS)
    connection.loans.onNews(() => this.#renew())
    this.engine = clusterEngine({
      files: async () => {
        this.#files = await options.files()
        this.#decide()
        return [...this.#files]
      },
      holds: (held, { model }) => this.#held(held, model),
      bytesOf: (file) => memoryNeeded(file, { slots: this.#wish(file).slots, ctx: this.#wish(file).context }),
      slots,
      slotsOf: (file) => this.#wish(file).slots,
      ctxOf: (file) => this.#wish(file).context,
      room: {
        refusal: ({ model }) => this.#refusal(model),
        fits: (file, beside) => this.#plan(file, beside).kind === 'planned',
        holds: () => undefined,
        short: () => this.#miss(),
      },
      mayStart: (model) => this.#mayStart(model),
      onStalled: (model) => this.#clusters.get(model)?.fail('it has said nothing for too long'),
      start: (file, signal) => this.#start(file, signal),
      keepAliveMs,
      turnMs,
      onEvent: (event) => this.#tell(event),
    })
  }

  /** Looks at the others from now on. Resolves after the first look. */
  async start(): Promise<void> {
    await this.#look()
    void this.#keepLooking()
  }

  /** What this node says of models over several nodes. */
  told(): Pick<NodeRecord, 'clusters' | 'shortOf' | 'coordinates'> {
    const { slots, context, lending } = this.#options
    const [clusters, shortOf] = [this.#records(), this.#short()]
    return { ...(this.#files.length > 0 && this.#isLent() && { coordinates: { devices: lending.own(), slots, context } }), ...(clusters.length > 0 && { clusters }), ...(shortOf.length > 0 && { shortOf }) }
  }

  #records(): ClusterRecord[] {
    return [...this.#clusters.values()].map(({ file: { model }, state, plan: { members, slots, context }, since }) => {
      const tokensPerSecond = this.engine.tokensPerSecond(model)
      return { model, state, members, slots, context, since, ...(tokensPerSecond !== undefined && { tokensPerSecond }) }
    })
  }

  #short(): ShortOf[] {
    return [...this.#placed].flatMap(([model, { short }]) => (short ? [{ model, reason: short.reason, never: short.never }] : []))
  }

  /** What another engine of this node says of itself: models that are too large for the node are left to the memory of several, unless somebody asks. */
  adjusted(engine: Engine, view: EngineView): EngineView {
    if (engine === this.engine || !this.#isLent()) return view
    const tooLarge = new Set(this.#files.filter((file) => this.#needs(file) > this.#memoryOf(engine)).map(({ model }) => model))
    if (tooLarge.size === 0) return view
    return { ...view, held: view.held.map((held) => (tooLarge.has(held.model) ? { ...held, onlyAsked: true } : held)) }
  }

  #memoryOf({ id }: Pick<Engine, 'id'>): number {
    const { own, found } = this.#options.memory
    return id === OWN_MODELS ? own : found()
  }

  #wish(file: ModelFile): PlanWish {
    const { wishes, slots, context } = this.#options
    return wishFor(file, wishes, { slots, context })
  }

  #needs(file: ModelFile): number {
    const { slots, context } = this.#options
    return memoryNeeded(file, { slots, ctx: Math.min(context, file.facts.contextLength ?? context) })
  }

  /** Somebody lends, or did a moment ago and may again. */
  #isLent(): boolean {
    return performance.now() - this.#lentAt < HOPE_MS
  }

  #held(held: HeldModel, model: ModelName): HeldModel | undefined {
    const placed = this.#placed.get(model)
    if (!placed) return undefined
    return placed.onlyAsked ? { ...held, onlyAsked: true } : held
  }

  #refusal(model: ModelName): BrokerError | undefined {
    const short = this.#placed.get(model)?.short
    if (!short?.never || performance.now() - short.since < HOPE_MS) return undefined
    return new BrokerError('cannot_run', `${model} cannot be run: ${short.reason}`)
  }

  #mayStart(model: ModelName): boolean {
    const placed = this.#placed.get(model)
    return placed !== undefined && (!placed.short || this.#refusal(model) !== undefined)
  }

  async #keepLooking(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      await sleep(this.#isLent() || this.#clusters.size > 0 ? LOOK_MS.lent : LOOK_MS.else, undefined, { signal: this.#closed.signal }).catch(() => undefined)
      if (!this.#closed.signal.aborted) await this.#look()
    }
  }

  async #look(): Promise<void> {
    const { onLent, onError } = this.#options
    if (!(await this.#fleet.look()) || this.#closed.signal.aborted) return
    if (this.#fleet.lenders.length > 0) {
      this.#lentAt = performance.now()
      if (!this.#hasBegun) this.#files = await this.#options.files()
      if (this.#files.length > 0 && !this.#hasBegun) {
        this.#hasBegun = true
        onLent(this.engine)
      }
    }
    this.#decide()
    await this.#missWhatWaits().catch(onError)
  }

  /** Which models are held here, how, and what is missing for them. */
  #decide(): void {
    const now = performance.now()
    const placed = new Map<ModelName, Placed>()
    for (const file of this.#isLent() ? this.#files : []) {
      const onlyAsked = this.#runsElsewhere(file)
      const before = this.#placed.get(file.model)?.short
      const verdict = this.#clusters.has(file.model) ? undefined : this.#plan(file, [])
      const short = verdict?.kind === 'refused' ? { reason: verdict.reason, never: verdict.never, since: before?.never === verdict.never ? before.since : now } : undefined
      placed.set(file.model, { onlyAsked, ...(short && { short }) })
    }
    this.#placed = placed
    this.#changed()
  }

  /** One node runs it better: this one or another. */
  #runsElsewhere(file: ModelFile): boolean {
    const bytes = this.#needs(file)
    const { model, facts: { parameters } } = file
    return this.#fleet.nodes.some(({ id, memory, gpus, engines, draining }) =>
      engines.some((engine) => {
        const isHeld = engine.layout !== 'cluster' && engine.held.some((held) => held.model === model && !held.onlyAsked)
        if (id === this.#options.node) return isHeld && bytes <= this.#memoryOf(engine)
        return isHeld && !draining && runsAlone({ memory, gpus }, { bytes, parameters })
      }),
    )
  }

  #changed(): void {
    const told = JSON.stringify([[...this.#placed], [...this.#clusters.values()].map(({ id, state }) => [id, state])], (key, value: unknown) => (key === 'since' ? undefined : value))
    if (told === this.#told) return
    this.#told = told
    this.#options.onChange(this.engine)
  }

  /** How a model would be spread now; what models that are not `beside` it have is free. */
  #plan(file: ModelFile, beside: readonly ModelFile[]): PlanVerdict {
    const staying = new Set(beside.map(({ model }) => model))
    const leaving = [...this.#clusters.values()].filter(({ model }) => !staying.has(model)).flatMap(({ loans }) => loans)
    const request = { shape: file.facts.shape, coordinator: this.#options.node, candidates: this.#fleet.candidates(leaving), wish: this.#wish(file) }
    // One node would do: whoever asks for several is to have them.
    return this.#placed.get(file.model)?.onlyAsked ? planShared(request) : planCluster(request)
  }

  async #start(file: ModelFile, signal: AbortSignal): Promise<RunningServer> {
    const begun = performance.now()
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#form(file, begun, signal)
      } catch (error) {
        if (signal.aborted || tries === TRIES) throw error
        this.#options.log.warn({ model: file.model, reason: error instanceof Error ? error.message : String(error) }, 'cluster not formed')
        await this.#look()
      }
    }
  }

  async #form(file: ModelFile, begun: number, signal: AbortSignal): Promise<RunningServer> {
    const { node, connection: { loans }, server: settings, log } = this.#options
    const plan = () => this.#plan(file, [...this.#clusters.values()].map((cluster) => cluster.file))
    let verdict = plan()
    for (const end = performance.now() + FREE_MS; verdict.kind === 'refused' && performance.now() < end; verdict = plan()) {
      await sleep(FREE_POLL_MS, undefined, { signal })
      await this.#fleet.look()
    }
    if (verdict.kind === 'refused') throw new BrokerError('engine_failed', `${file.model} cannot be spread: ${verdict.reason}`)
    const cluster = new Cluster(file, verdict.plan, {
      node,
      loans,
      hostOf: (lender) => this.#fleet.hostOf(lender),
      server: settings,
      onWanted: ({ model }, is) => this.engine.wanted(model, is),
      onGivenBack: (given) => this.#fleet.gaveBack(given),
    })
    this.#clusters.set(file.model, cluster)
    this.#changed()
    try {
      const server = await cluster.form(this.#wish(file), signal)
      const { members } = verdict.plan
      const parts = members.map((member) => ({ node: member.node, device: member.device, from: member.from, to: member.to, bytes: bytesOf(member), memory: inGigabytes(bytesOf(member)) }))
      log.info({ model: file.model, cluster: cluster.id, pid: server.pid, ms: Math.round(performance.now() - begun), members: parts }, 'cluster formed')
      this.#changed()
      void server.exited.then(() => this.#over(cluster))
      return server
    } catch (error) {
      this.#over(cluster)
      throw error
    }
  }

  #over(cluster: Cluster): void {
    if (this.#clusters.get(cluster.model) === cluster) this.#clusters.delete(cluster.model)
    this.#decide()
  }

  /** A line was cut: what lies behind it is lost. */
  #cut(node: string): void {
    for (const cluster of this.#clusters.values())
      if (cluster.plan.members.some((member) => member.node === node)) cluster.fail(`node ${node} cannot be reached`)
    this.#decide()
  }

  #renew(): void {
    if (this.#renewing) this.#again = true
    else if (this.#clusters.size > 0) void this.#renewAll()
  }

  async #renewAll(): Promise<void> {
    this.#renewing = true
    this.#again = false
    const held = [...this.#clusters.values()].map((cluster) => ({ cluster, loans: cluster.loans }))
    // Without Redis nothing is judged: those who lend keep it for a while.
    const answers = await this.#options.connection.loans.renew(held.flatMap(({ loans }) => loans)).catch(() => undefined)
    let at = 0
    for (const { cluster, loans } of answers ? held : []) {
      cluster.renewed(loans, answers?.slice(at, at + loans.length) ?? [])
      at += loans.length
    }
    this.#renewing = false
    if (this.#again) this.#renew()
  }

  /** Those who have borrowed where this node would like to hear so. */
  #miss(): void {
    const { connection: { loans }, node } = this.#options
    void loans.want([node, ...this.#fleet.lenders.map(({ id }) => id)], node).catch(() => undefined)
  }

  /** Jobs wait for a model whose memory others have, and nobody runs it. */
  async #missWhatWaits(): Promise<void> {
    const missing = [...this.#placed].filter(([, { short }]) => short && !short.never)
    if (missing.length === 0) return
    const lanes = missing.flatMap(([model, { onlyAsked }]) =>
      (['interactive', 'batch'] as const).flatMap((jobClass) => [laneOf(model, jobClass, { layout: 'cluster' }), ...(onlyAsked ? [] : [laneOf(model, jobClass)])]),
    )
    const views = await this.#options.connection.jobs.view(lanes)
    if (views.some(({ waiting, running }) => waiting > 0 && running === 0)) this.#miss()
  }

  #tell(event: ResidencyEvent): void {
    const { log } = this.#options
    if (event.kind === 'stopped') log.info({ model: event.model, why: event.why }, 'cluster over')
    else if (event.kind === 'failed') log.warn({ model: event.model, reason: event.error.message }, 'cluster failed')
    this.#decide()
  }

  /** Ends what runs; resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#closed.abort()
    clearInterval(this.#timer)
    await this.engine.close()
    this.#fleet.close()
  }
}

/** The engine of the models folder. */
const OWN_MODELS = 'llama.cpp'

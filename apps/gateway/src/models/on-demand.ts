import { readLane, type GatewayConnection, type Lane, type WaitingRequest } from '@drover/broker'
import { BrokerError, canonicalName, Layout, meets, placeModel, pullableMatcher, toBrokerError, type ErrorCode, type ModelHost, type ModelName, type Requirements } from '@drover/core'
import { dialects, isUnknownModel, nameForEngine } from '@drover/dialects'
import { notFound } from '../not-found.ts'
import type { RegistryView } from '../registry-view.ts'
import { AwaitedModels } from './awaited.ts'
import { Bringing } from './bringing.ts'
import { workOnNodes, type FleetDeps } from './fleet-work.ts'
import { hostsFor, placesFor } from './hosts.ts'

export interface OnDemandOptions {
  broker: FleetDeps['broker'] & Pick<GatewayConnection, 'depths' | 'waiting' | 'up'>
  view: RegistryView
  /** Names of models that may be brought, `*` as wildcard. */
  pullable: readonly string[]
  /** Longest that a pull may take, ms. */
  timeoutMs: number
  /** `node`: who was getting it; it may have come to another. */
  onBrought(fields: { model: ModelName; node: string | undefined; ms: number }): void
  /** `jobs`: those that have failed by it, here. */
  onFailed(fields: { model: ModelName; reason: string; jobs: number }): void
  /** A lane is no more, since nothing was in it and nobody holds its model. */
  onForgotten(lane: Lane): void
  onError(error: unknown): void
}

/** What a model is brought for: jobs that any engine answers, or those that only an Ollama does. */
type Need = Pick<Requirements, 'engine'>
const NEEDS: readonly Need[] = [{ engine: 'ollama' }, {}]

type Depth = Awaited<ReturnType<GatewayConnection['depths']>>[number]

/** How often lanes are looked at that may wait for a model, ms. */
const LOOK_MS = 1_000
/** Most lanes that are taken away in one look. */
const MOST_FORGOTTEN = 200
/** After these a pull is tried again while its jobs wait; everything else is an engine's own word, and told to them. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['node_lost', 'cancelled', 'draining', 'queue_full', 'broker_unavailable'])

/**
 * Models that nobody holds are brought to a node while jobs wait for them. Every gateway looks which lanes wait and follows the one pull that all
 * share, so none of them is needed for it; a pull is left when the last job that wants it has gone.
 */
export class OnDemand {
  #options: OnDemandOptions
  #mayPull: (model: string) => boolean
  #bringing = new Map<ModelName, Bringing>()
  /** When models came that jobs had waited for, `performance.now()`. */
  #cameAt = new Map<ModelName, number>()
  #awaited = new AwaitedModels()
  #looking = false
  #failing = false
  #again = false
  #stopped = false
  #timer: NodeJS.Timeout

  constructor(options: OnDemandOptions) {
    this.#options = options
    this.#mayPull = pullableMatcher(options.pullable)
    this.#timer = setInterval(() => this.look(), LOOK_MS)
  }

  /** The canonical name of a model that nobody holds and that is brought when a job waits for it. */
  admits(asked: string): ModelName | undefined {
    const model = canonicalName(asked)
    return model !== undefined && this.#mayPull(model) && !this.#options.view.short.has(model) ? model : undefined
  }

  /** Whether a node is there to which it could be brought for jobs that require this. */
  hasRoomFor(model: ModelName, need: Need): boolean {
    return this.#placesFor(model, need).length > 0
  }

  /** A models folder is no place for what an Ollama is to answer. */
  #placesFor(model: ModelName, { engine }: Need): ModelHost[] {
    const { view } = this.#options
    const { hosts } = placesFor(view, model)
    if (engine === undefined) return hosts
    const roomy = new Set(hosts.map(({ node }) => node))
    return hostsFor(view, model).filter(({ node }) => roomy.has(node))
  }

  /** A job for it is let in. @throws BrokerError `queue_full` when others wait for too many models that nobody holds */
  enter(model: ModelName): void {
    this.#awaited.enter(model)
  }

  /** Why jobs for a model wait, where that is why. */
  progress(model: ModelName): string | undefined {
    return this.#bringing.get(model)?.told
  }

  /** A job that was added so many ms ago has waited for its model to come: how long it took says nothing of others. */
  hasWaited(model: ModelName, ms: number): boolean {
    // A worker may be quicker to answer than the word of the pull's end is to come here.
    return this.#bringing.has(model) || performance.now() - ms < (this.#cameAt.get(model) ?? -Infinity)
  }

  /** What waits is looked at now: a job has been added. */
  look(): void {
    this.#again = true
    if (!this.#looking) void this.#lookOn()
  }

  async #lookOn(): Promise<void> {
    this.#looking = true
    while (this.#again && !this.#stopped && this.#options.broker.up) {
      this.#again = false
      await this.#look().then(() => (this.#failing = false), (error: unknown) => this.#report(error))
    }
    this.#looking = false
  }

  /** What is repeated every second fails every second: that is said once. A Redis that is away others speak of. */
  #report(error: unknown): void {
    if (!this.#failing && !this.#stopped && toBrokerError(error).retry !== 'caller') this.#options.onError(error)
    this.#failing = true
  }

  async #look(): Promise<void> {
    const depths = await this.#options.broker.depths()
    const waiting = this.#waitingIn(depths)
    const wanted = new Map<ModelName, WaitingRequest & { lanes: readonly Lane[] }>()
    for (const [model, all] of waiting) {
      const lanes = this.#bringing.has(model) ? all : all.filter((lane) => !this.#isHeld(model, readLane(lane)))
      const request = await this.#wantedIn(lanes)
      if (request) wanted.set(model, { ...request, lanes })
    }
    for (const [model, bringing] of this.#bringing) if (!wanted.has(model)) bringing.leave()
    this.#awaited.found(wanted.keys())
    for (const [model, { asked, lanes }] of wanted) {
      const need = this.#bringing.has(model) ? undefined : await this.#needOf(model, lanes)
      if (!need) continue
      const unknown = this.#awaited.refusal(model)
      if (unknown) await this.#refuse(model, need, unknown)
      else void this.#bring(model, asked, need)
    }
    await this.#forgetEmpty(depths)
  }

  /** Lanes of models that did not come, or that came and went: else each name that somebody makes up would be looked at for ever. */
  async #forgetEmpty(depths: readonly Depth[]): Promise<void> {
    const { view, broker, onForgotten } = this.#options
    const isGone = (model: ModelName) => !view.holders.has(model) && !view.short.has(model) && !Layout.options.some((layout) => view.mayCome(model, { layout }))
    const empty = depths.filter(({ lane, waiting, running }) => {
      const { model } = readLane(lane)
      return waiting + running === 0 && this.#mayPull(model) && !this.#bringing.has(model) && isGone(model)
    })
    for (const { lane } of empty.slice(0, MOST_FORGOTTEN)) if (await broker.waiting.forget(lane)) onForgotten(lane)
  }

  /** Lanes in which jobs wait that a model which may be brought would let begin. */
  #waitingIn(depths: readonly Depth[]): Map<ModelName, Lane[]> {
    const lanes = new Map<ModelName, Lane[]>()
    for (const { lane, waiting } of depths) {
      const { model, ...required } = readLane(lane)
      if (waiting === 0 || !this.#mayPull(model) || !isServedByPulled(required)) continue
      lanes.set(model, [...(lanes.get(model) ?? []), lane])
    }
    return lanes
  }

  async #wantedIn(lanes: readonly Lane[]): Promise<WaitingRequest | undefined> {
    const { broker } = this.#options
    for (const lane of lanes) {
      const request = await broker.waiting.wanted(lane, broker.mayJudge)
      if (request) return request
    }
    return undefined
  }

  #isHeld(model: ModelName, { engine }: Need): boolean {
    const { view } = this.#options
    return engine === undefined ? view.holders.has(model) : view.holdersFor(model, { engine }).length > 0
  }

  /** Nobody who could answer holds it, nor is expected to hold it again by himself. */
  async #isMissing(model: ModelName, { engine }: Need): Promise<boolean> {
    const { view } = this.#options
    const known = await view.resolve(model)
    if (view.short.has(model)) return false
    return known === undefined || (engine !== undefined && !this.#isHeld(model, { engine }) && !view.mayCome(model, { engine }))
  }

  /** What a model is to be brought for: for jobs that require an Ollama where one may take it, since that answers others, too. */
  async #needOf(model: ModelName, lanes: readonly Lane[]): Promise<Need | undefined> {
    const asked = new Set(lanes.map((lane) => readLane(lane).engine))
    const missing: Need[] = []
    for (const need of NEEDS) if (asked.has(need.engine) && (await this.#isMissing(model, need))) missing.push(need)
    return missing.find((need) => this.hasRoomFor(model, need)) ?? missing[0]
  }

  async #bring(model: ModelName, asked: string, need: Need): Promise<void> {
    const { onBrought, onFailed, onError } = this.#options
    const bringing = new Bringing()
    const begun = performance.now()
    this.#bringing.set(model, bringing)
    try {
      const error = await this.#pull(model, asked, need, bringing)
      // Where its jobs were taken before we heard that it is there, the pull has been left as one that nobody waits for.
      if (this.#isHeld(model, need)) {
        this.#cameAt.set(model, performance.now())
        return onBrought({ model, node: bringing.node, ms: Math.round(performance.now() - begun) })
      }
      if (!error || PASSING.has(error.code)) return
      if (isUnknownModel(error.message)) this.#awaited.isUnknown(model, error)
      onFailed({ model, reason: error.message, jobs: await this.#refuse(model, need, error) })
    } catch (thrown) {
      if (!PASSING.has(toBrokerError(thrown).code)) onError(thrown)
    } finally {
      this.#bringing.delete(model)
    }
  }

  /** Resolves when it is over. @returns why it did not come; `undefined` also where that is to be looked at once more */
  async #pull(model: ModelName, asked: string, need: Need, bringing: Bringing): Promise<BrokerError | undefined> {
    const { broker, view, timeoutMs } = this.#options
    const claim = async (nodes: readonly string[]) => {
      const [claimed] = await broker.pulls.claim({ model, insecure: false, nodes, most: 1, timeoutMs })
      if (claimed) bringing.node = claimed.node
      return claimed
    }
    const first = await claim(placeModel(this.#placesFor(model, need), 1).on)
    if (!first) return undefined
    // A pull that ended before this claim is known of now.
    await view.refreshAnew()
    if (this.#isHeld(model, need)) return undefined
    const { failed } = await workOnNodes(this.#options, {
      work: { call: 'pull', model: nameForEngine(asked), insecure: false },
      model,
      on: [first],
      timeoutMs,
      again: (node) => claim([node]),
      another: async (used) => {
        await view.refresh()
        return claim(placeModel(this.#placesFor(model, need).filter(({ node }) => !used.has(node)), 1).on)
      },
      signal: bringing.left,
      onLine: (line) => bringing.take(line),
    })
    await view.refreshAnew()
    return bringing.left.aborted ? undefined : failed[0]?.error
  }

  /** All jobs that wait for what did not come end with the reason, each in the words of its own API. */
  async #refuse(model: ModelName, need: Need, error: BrokerError): Promise<number> {
    const { broker } = this.#options
    const lanes = (this.#waitingIn(await broker.depths()).get(model) ?? []).filter((lane) => {
      const { engine } = readLane(lane)
      return !this.#isHeld(model, { engine }) && (engine === undefined || engine === need.engine)
    })
    let ended = 0
    for (const lane of lanes)
      ended += await broker.waiting.refuse(lane, ({ dialect, asked }) => (isUnknownModel(error.message) ? notFound(dialects[dialect], asked) : notBrought(asked, error)))
    return ended
  }

  /** Others go on with what is under way here. */
  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const bringing of this.#bringing.values()) bringing.leave()
  }
}

/** Whether jobs with these requirements can be answered by a model that was pulled. */
export const isServedByPulled = (required: Requirements): boolean => meets({ kind: 'ollama' }, {}, required)

const notBrought = (asked: string, { message, status }: BrokerError): BrokerError =>
  new BrokerError('engine_failed', `model '${asked}' could not be brought to a node: ${message}`, { status: Math.max(500, status) })

import { canonicalName, Layout, meets, type EngineRecord, type HeldModel, type ModelName, type NodeRecord, type Requirements, type ShortOf } from '@drover/core'

/** One engine that holds a model. */
export interface Holder {
  node: NodeRecord
  engine: EngineRecord
  held: HeldModel
}

export interface RegistryViewOptions {
  read(): Promise<NodeRecord[]>
  onError(error: unknown): void
  intervalMs?: number
}

/** An unknown model is looked up anew, but not more often than this, ms. */
const LOOK_AGAIN_MS = 100

/** A model whose holders have all gone a moment ago is waited for: nodes start again, engines too. ms */
const LATELY_MS = 30_000

/** The living nodes as this gateway last read them, with an index by model. */
export class RegistryView {
  #options: RegistryViewOptions
  #nodes: NodeRecord[] = []
  #holders = new Map<ModelName, Holder[]>()
  #short = new Map<ModelName, ShortOf>()
  /** Models that no engine of a sort holds any more, by how they went and when (`performance.now()`). */
  #lately = new Map<ModelName, Map<string, { last: readonly Holder[]; at: number }>>()
  #timer: NodeJS.Timeout
  #readAt = -Infinity
  #reading: Promise<void> | undefined

  constructor(options: RegistryViewOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.refresh(), options.intervalMs ?? 1_000)
  }

  get nodes(): readonly NodeRecord[] {
    return this.#nodes
  }
  get holders(): ReadonlyMap<ModelName, readonly Holder[]> {
    return this.#holders
  }

  /** Models that a node has and that are short of memory; of what several nodes say of one, what gives most hope. */
  get short(): ReadonlyMap<ModelName, ShortOf> {
    return this.#short
  }

  refresh(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)))
  }

  /** Also of what a reading that is under way may have been too early for. */
  async refreshAnew(): Promise<void> {
    await this.#reading
    await this.refresh()
  }

  async #read(): Promise<void> {
    try {
      const nodes = await this.#options.read()
      const holders = new Map<ModelName, Holder[]>()
      for (const node of nodes)
        for (const engine of node.engines)
          for (const held of engine.held) {
            if (couldNever(node, engine, held)) continue
            const list = holders.get(held.model)
            if (list) list.push({ node, engine, held })
            else holders.set(held.model, [{ node, engine, held }])
          }
      this.#remember(holders, nodes)
      const short = new Map<ModelName, ShortOf>()
      for (const each of nodes.flatMap(({ shortOf = [] }) => shortOf)) if (short.get(each.model)?.never !== false) short.set(each.model, each)
      this.#short = short
      this.#nodes = nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1))
      this.#holders = holders
      this.#readAt = performance.now()
    } catch (error) {
      this.#options.onError(error)
    }
  }

  #remember(holders: ReadonlyMap<ModelName, readonly Holder[]>, nodes: readonly NodeRecord[]): void {
    const now = performance.now()
    for (const [model, before] of this.#holders)
      for (const [sort, last] of Map.groupBy(before, sortOf)) {
        if (holders.get(model)?.some((holder) => sortOf(holder) === sort)) continue
        let gone = this.#lately.get(model)
        if (!gone) this.#lately.set(model, (gone = new Map()))
        gone.set(sort, { last, at: now })
      }
    for (const [model, gone] of this.#lately) {
      for (const [sort, { last, at }] of gone)
        if (holders.get(model)?.some((holder) => sortOf(holder) === sort) || now - at > LATELY_MS || last.every((holder) => wasRemoved(holder, nodes))) gone.delete(sort)
      if (gone.size === 0) this.#lately.delete(model)
    }
  }

  /**
   * The canonical name of a model that some node holds, or held until a moment ago and may hold again, or has and may run when there is
   * memory for it; a node that has just come is found too.
   */
  async resolve(asked: string): Promise<ModelName | undefined> {
    const name = canonicalName(asked)
    if (!name) return undefined
    if (this.#holders.has(name)) return name
    if (performance.now() - this.#readAt > LOOK_AGAIN_MS) await this.refresh()
    return this.#holders.has(name) || Layout.options.some((layout) => this.mayCome(name, { layout })) ? name : undefined
  }

  /** Engines that hold a model and are such as a job requires. */
  holdersFor(model: ModelName, required: Requirements): readonly Holder[] {
    return this.#holders.get(model)?.filter(({ engine, held }) => meets(engine, held, required)) ?? []
  }

  /** Whether such an engine held the model until a moment ago and may hold it again, or will when there is memory for it. */
  mayCome(model: ModelName, required: Requirements): boolean {
    const short = this.#short.get(model)
    if (short && !short.never && required.layout !== 'node') return true
    const gone = [...(this.#lately.get(model)?.values() ?? [])].flatMap(({ last }) => last)
    // Of clusters, who has the file says more than who is away.
    return gone.some(({ engine, held }) => meets(engine, held, required) && !(short && engine.layout === 'cluster'))
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

/** What answers that list or show models need of it. */
export type View = Pick<RegistryView, 'nodes' | 'holders' | 'short' | 'resolve'>

/** Engines that meet the same requirements. */
const sortOf = ({ engine: { kind, layout = 'node' } }: Holder): string => `${kind} ${layout}`

/** It would hold the model if there were memory for it somewhere, and there is none: what waits for it already waits a little. */
const couldNever = ({ shortOf }: NodeRecord, { layout }: EngineRecord, { model }: HeldModel): boolean =>
  layout === 'cluster' && shortOf?.some((short) => short.model === model && short.never) === true

/** Its engine is there, which one that answers says by how many models it can have in memory: what it no longer holds is not coming back by itself. */
const wasRemoved = ({ node, engine }: Holder, nodes: readonly NodeRecord[]): boolean =>
  nodes.some(({ id, engines }) => id === node.id && engines.some((each) => each.id === engine.id && each.maxLoaded > 0))

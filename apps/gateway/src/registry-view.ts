import { canonicalName, type EngineRecord, type HeldModel, type ModelName, type NodeRecord } from '@drover/core'

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
  /** Models that nobody holds any more, by how they went and when (`performance.now()`). */
  #lately = new Map<ModelName, { last: readonly Holder[]; at: number }>()
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

  refresh(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)))
  }

  async #read(): Promise<void> {
    try {
      const nodes = await this.#options.read()
      const holders = new Map<ModelName, Holder[]>()
      for (const node of nodes)
        for (const engine of node.engines)
          for (const held of engine.held) {
            const list = holders.get(held.model)
            if (list) list.push({ node, engine, held })
            else holders.set(held.model, [{ node, engine, held }])
          }
      this.#remember(holders, nodes)
      this.#nodes = nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1))
      this.#holders = holders
      this.#readAt = performance.now()
    } catch (error) {
      this.#options.onError(error)
    }
  }

  #remember(holders: ReadonlyMap<ModelName, readonly Holder[]>, nodes: readonly NodeRecord[]): void {
    const now = performance.now()
    for (const [model, last] of this.#holders) if (!holders.has(model)) this.#lately.set(model, { last, at: now })
    for (const [model, { last, at }] of this.#lately)
      if (holders.has(model) || now - at > LATELY_MS || last.every((holder) => wasRemoved(holder, nodes))) this.#lately.delete(model)
  }

  /**
   * The canonical name of a model that some node holds, or held until a moment ago and may hold again; a node that has just come is found
   * too.
   */
  async resolve(asked: string): Promise<ModelName | undefined> {
    const name = canonicalName(asked)
    if (!name) return undefined
    if (this.#holders.has(name)) return name
    if (performance.now() - this.#readAt > LOOK_AGAIN_MS) await this.refresh()
    return this.#holders.has(name) || this.#lately.has(name) ? name : undefined
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

/** Its engine is there and holds other models: it is not coming back by itself. */
const wasRemoved = ({ node, engine }: Holder, nodes: readonly NodeRecord[]): boolean =>
  nodes.some(({ id, engines }) => id === node.id && engines.some((each) => each.id === engine.id && each.held.length > 0))

import type { Loan, WorkerConnection } from '@drover/broker'
import type { Candidate, NodeRecord } from '@drover/core'
import type { Lending } from '../lending/lending.ts'
import { Lines, type LineEnd } from './lines.ts'

/** What was given back is told by the records of its lenders after this time at the latest, ms. */
const TOLD_MS = 5_000

export interface FleetOptions {
  node: string
  registry: Pick<WorkerConnection['registry'], 'nodes'>
  lending: Pick<Lending, 'own'>
  /** Nodes whose memory is in use, whether they lend more or not. */
  inUse(): ReadonlySet<string>
  /** A lender that could be reached no longer can. */
  onCut(node: string): void
  /** One can be reached that could not. */
  onReached(): void
}

/** The nodes as a coordinator sees them: who lends, who can be reached, how far he is, and what is free. */
export class Fleet {
  #options: FleetOptions
  #lines: Lines
  #nodes: readonly NodeRecord[] = []
  /** Where lenders were reached, as they said last. */
  #ends = new Map<string, LineEnd>()
  #returned: { loan: Loan; at: number }[] = []

  constructor(options: FleetOptions) {
    this.#options = options
    this.#lines = new Lines(options.onCut, options.onReached)
  }

  get nodes(): readonly NodeRecord[] {
    return this.#nodes
  }

  /** Other nodes that lend. */
  get lenders(): readonly NodeRecord[] {
    return this.#nodes.filter(({ id, lending }) => id !== this.#options.node && lending !== undefined)
  }

  /** Reads what they all say. False: Redis is away, which is told of elsewhere, and what is known stays. */
  async look(): Promise<boolean> {
    const nodes = await this.#options.registry.nodes().catch(() => undefined)
    if (!nodes) return false
    this.#nodes = nodes
    const ends = this.lenders.flatMap(({ id, lending }): [string, LineEnd][] => (lending?.line === undefined ? [] : [[id, { node: id, host: lending.address, port: lending.line }]]))
    const inUse = this.#options.inUse()
    this.#ends = new Map([...[...this.#ends].filter(([node]) => inUse.has(node)), ...ends])
    this.#lines.want([...this.#ends.values()])
    return true
  }

  /** Where the rpc-servers of a lender are. */
  hostOf(node: string): string | undefined {
    return this.#nodes.find(({ id }) => id === node)?.lending?.address
  }

  /** These loans were given back a moment ago. */
  gaveBack(loans: readonly Loan[]): void {
    const at = performance.now()
    this.#returned.push(...loans.map((loan) => ({ loan, at })))
  }

  /** The devices that a plan may use; what `leaving` have counts as free. */
  candidates(leaving: readonly Loan[]): Candidate[] {
    const { node, lending } = this.#options
    const now = performance.now()
    this.#returned = this.#returned.filter(({ at }) => now - at < TOLD_MS)
    const back = [...leaving, ...this.#returned.map(({ loan }) => loan)]
    const own = lending.own().map(({ name, kind, free, total }) => ({ node, device: name, kind, free, total, rttMs: 0 }))
    const others = this.lenders.flatMap(({ id, lending: lent }) => {
      const rttMs = this.#lines.rttOf(id)
      if (!lent || (lent.line !== undefined && rttMs === undefined)) return []
      return lent.devices.map(({ name, kind, free, total }) => ({ node: id, device: name, kind, free, total, rttMs }))
    })
    return [...own, ...others].map((device) => {
      const more = back.filter((loan) => loan.lender === device.node && loan.device === device.device).reduce((sum, { bytes }) => sum + bytes, 0)
      return { ...device, free: Math.min(device.total, device.free + more) }
    })
  }

  close(): void {
    this.#lines.close()
  }
}

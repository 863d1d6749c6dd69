import type { LentLoan, WorkerConnection } from '@drover/broker'
import { inGigabytes, type LendingRecord, type LentDevice, type NodeRecord } from '@drover/core'
import { isStopped, startRpcServer, type RpcServer, type RpcServerSettings } from '@drover/engines'
import type { Log } from '@drover/service'
import type { MemoryBudget } from '../memory-budget.ts'
import { startLineServer, type LineServer } from './line-server.ts'
import { freeOf, type Offer } from './offer.ts'

/** How often the ledger is looked at, when nobody says that there is something new in it, ms. */
const LOOK_MS = 1_000
/** Longest that an rpc-server may take until it says hello: the first start of a card's driver takes seconds, ms. */
const START_MS = 20_000
/** Without a word from Redis what is lent is kept for so long, so that a restart of Redis ends nothing; then it is ended, ms. */
const AWAY_MS = 60_000
/** A loan that is over is remembered for so long: a Redis that was killed may have forgotten that it is, ms. */
const REMEMBERED_MS = 120_000

/** Those who have borrowed are told this often that their memory is missed here, ms. */
const MISSED_MS = 3_000

const MINE = 'lent'

export interface LendingOptions {
  node: string
  loans: WorkerConnection['loans']
  budget: MemoryBudget
  /** What is lent to others; absent: nothing, only this node's own share of models over several nodes is counted. */
  offer: Offer | undefined
  rpc: RpcServerSettings
  cards(): NodeRecord['gpus']
  log: Log
  /** What is free has changed. */
  onChange(): void
}

/** A loan that was taken on. Its memory counts until no process of it is left. */
interface Held {
  loan: LentLoan
  counts: boolean
  /** Where its rpc-server listens; 0 for one that needs none. */
  port?: number
  /** Of its rpc-server, while that lives. */
  pid?: number | undefined
  /** Why it is over; absent: it is not. */
  over?: string
  ended?: number
  ending: AbortController
  /** Resolves when no process of it is left. */
  gone: Promise<void>
}

/** The lender's side: for each loan of this node's memory one rpc-server, from when it is asked for until it is over. */
export class Lending {
  #options: LendingOptions
  #held = new Map<string, Held>()
  #timer: NodeJS.Timeout | undefined
  #line: LineServer | undefined
  #looking = false
  /** Something has happened since the look that is under way began. */
  #again = false
  /** The last look was in vain. */
  #unheard = false
  /** `performance.now()` of the last answer of Redis. */
  #heardAt = performance.now()
  #missedAt = -Infinity
  /** Nothing is lent to others any more, or nothing at all. */
  #closed: 'no' | 'others' | 'all' = 'no'

  constructor(options: LendingOptions) {
    this.#options = options
  }

  /** From now on what is asked of this node is done. */
  async start(): Promise<void> {
    const { node, offer } = this.#options
    if (offer) {
      this.#line = await startLineServer(node, offer.address, offer.ports)
      this.#options.onChange()
    }
    this.#options.loans.onAsked(() => this.look())
    this.#timer = setInterval(() => {
      // A node that neither lends nor uses its own share borrows of itself before that changes, and knows.
      if (this.#options.offer || this.#held.size > 0 || this.#unheard) this.look()
    }, LOOK_MS)
    if (this.#options.offer) this.look()
  }

  /** What this node says of itself; absent: it lends nothing, or no longer. */
  record(): LendingRecord | undefined {
    const { offer, cards } = this.#options
    if (!offer || this.#closed !== 'no') return undefined
    const left = this.#left()
    return {
      address: offer.address,
      ...(this.#line && { line: this.#line.port }),
      devices: offer.devices.map((device) => ({ ...device, free: freeOf(device, this.#lent(device.name), left, cards()) })),
    }
  }

  /** What this node itself may use, as a coordinator, of its own devices: those that it lends, or its processor where it lends nothing. */
  own(): LentDevice[] {
    const { offer, budget, cards } = this.#options
    const left = Math.max(0, this.#left(true))
    const devices = offer?.devices ?? [{ name: 'CPU', kind: 'cpu', total: budget.total }]
    return devices.map((device) => ({ ...device, free: freeOf(device, this.#lent(device.name), left, cards()) }))
  }

  /** Bytes that are lent, of one device or of all. */
  #lent(device?: string): number {
    return [...this.#held.values()].filter(({ loan, counts }) => counts && (device === undefined || loan.device === device)).reduce((sum, { loan }) => sum + loan.bytes, 0)
  }

  /** Bytes that may be lent besides: to others not more than was said, and never what models of this node have. */
  #left(own = false): number {
    const { offer, budget } = this.#options
    return Math.min(own ? Infinity : (offer?.most ?? 0), budget.leftTo(MINE)) - this.#lent()
  }

  /** Looks at the ledger now, or again when a look is under way. */
  look(): void {
    if (this.#looking) this.#again = true
    else void this.#look()
  }

  async #look(): Promise<void> {
    this.#looking = true
    this.#again = false
    // Redis that is away is told of elsewhere.
    const loans = await this.#options.loans.mine().catch(() => undefined)
    this.#unheard = loans === undefined
    if (loans) {
      this.#heardAt = performance.now()
      this.#match(loans)
    } else if (performance.now() - this.#heardAt > AWAY_MS) for (const held of this.#held.values()) if (!held.loan.own) this.#end(held, 'Redis has been away for too long')
    await this.#watch()
    this.#looking = false
    if (this.#again) this.look()
  }

  /** A process that is stopped serves nobody, and no connection tells so. */
  async #watch(): Promise<void> {
    for (const held of this.#held.values()) {
      if (held.pid === undefined || held.over !== undefined || !(await isStopped(held.pid))) continue
      this.#fail(held, 'rpc-server was stopped')
      held.ending.abort(new Error('it was stopped'))
    }
  }

  #match(loans: readonly LentLoan[]): void {
    const living = new Set(loans.map(({ id }) => id))
    const now = performance.now()
    for (const [id, held] of this.#held) {
      if (!living.has(id)) this.#end(held, 'given back')
      if (held.ended !== undefined && now - held.ended > REMEMBERED_MS) this.#held.delete(id)
    }
    for (const loan of loans) {
      const held = this.#held.get(loan.id)
      if (held?.over !== undefined) this.#tellFailed(held)
      else if (held?.port !== undefined && loan.port !== held.port) this.#tellReady(held)
      else if (!held) this.#take(loan)
    }
  }

  #take(loan: LentLoan): void {
    const held: Held = { loan, counts: false, ending: new AbortController(), gone: Promise.resolve() }
    this.#held.set(loan.id, held)
    const ending = [...this.#held.values()].filter(({ over, counts }) => over !== undefined && counts)
    // What was given back a moment ago is free when its process is gone.
    const later = this.#refusal(loan) !== undefined && ending.length > 0
    held.gone = later ? Promise.all(ending.map(({ gone }) => gone)).then(() => this.#accept(held)) : this.#accept(held)
  }

  /** Resolves when nothing of it is left. */
  async #accept(held: Held): Promise<void> {
    const { loan } = held
    if (held.over !== undefined) return this.#gone(held)
    const refusal = this.#refusal(loan)
    if (refusal !== undefined) {
      Object.assign(held, { over: refusal, ended: performance.now() })
      this.#options.log.warn({ ...factsOf(loan), reason: refusal }, 'loan refused')
      return this.#tellFailed(held)
    }
    held.counts = true
    this.#counted()
    return loan.own ? this.#keep(held) : this.#serve(held)
  }

  /** Why a loan is not taken on, where that is so. */
  #refusal({ state, own, device, bytes }: LentLoan): string | undefined {
    const { offer, cards } = this.#options
    if (state === 'ready') return 'the worker was started anew, and the process has not lived on'
    if (this.#closed === 'all' || (this.#closed === 'others' && !own)) return 'the worker is ending'
    const offered = offer?.devices.find(({ name }) => name === device)
    if (!offered && !own) return `this node lends no memory of ${device}`
    const left = this.#left(own)
    const free = offered ? freeOf(offered, this.#lent(device), left, cards()) : Math.max(0, left)
    return bytes > free ? `${inGigabytes(bytes)} of ${device} were asked for, ${inGigabytes(free)} are free now` : undefined
  }

  /** This node's own share needs no process. */
  async #keep(held: Held): Promise<void> {
    held.port = 0
    this.#tellReady(held)
    await new Promise((resolve) => held.ending.signal.addEventListener('abort', resolve, { once: true }))
    this.#gone(held)
  }

  async #serve(held: Held): Promise<void> {
    const { offer, rpc, log } = this.#options
    const { loan, ending } = held
    const begun = performance.now()
    let server: RpcServer | undefined
    try {
      const limit = AbortSignal.any([ending.signal, AbortSignal.timeout(START_MS)])
      server = await startRpcServer({ address: offer?.address ?? '', ports: offer?.ports, devices: [loan.device], bytes: loan.bytes }, rpc, limit)
      held.port = server.port
      held.pid = server.pid
      log.info({ ...factsOf(loan), pid: server.pid, port: server.port, ms: Math.round(performance.now() - begun) }, 'memory lent')
      this.#tellReady(held)
      ending.signal.addEventListener('abort', () => void server?.kill(), { once: true })
      if (ending.signal.aborted) await server.kill()
      this.#fail(held, await server.exited)
    } catch (error) {
      this.#fail(held, (error as Error).name === 'TimeoutError' ? `rpc-server did not say hello within ${START_MS / 1000} s` : error instanceof Error ? error.message : String(error))
    }
    this.#gone(held)
  }

  /** Its process has ended by itself: whoever uses it hears so at once. */
  #fail(held: Held, reason: string): void {
    if (held.over !== undefined) return
    held.over = reason
    this.#options.log.warn({ ...factsOf(held.loan), reason }, 'loan failed')
    this.#tellFailed(held)
  }

  #gone(held: Held): void {
    held.pid = undefined
    held.counts = false
    held.ended = performance.now()
    this.#counted()
  }

  #end(held: Held, why: string): void {
    if (held.over !== undefined) return
    held.over = why
    this.#options.log.info({ ...factsOf(held.loan), why }, 'loan over')
    held.ending.abort(new Error(why))
  }

  #counted(): void {
    this.#options.budget.use(MINE, this.#lent())
    this.#options.onChange()
  }

  /** What cannot be said now is said at the next look. */
  #tellReady({ loan: { id, token }, port = 0 }: Held): void {
    void this.#options.loans.ready(id, token, port).catch(() => undefined)
  }

  #tellFailed({ loan: { id, token }, over = '' }: Held): void {
    void this.#options.loans.failed(id, token, over).catch(() => undefined)
  }

  /** A model of this node waits for memory that is lent: clusters that are idle may end. */
  miss(): void {
    const { loans, node } = this.#options
    if (this.#lent() === 0 || performance.now() - this.#missedAt < MISSED_MS) return
    this.#missedAt = performance.now()
    void loans.want([node], '').catch(() => undefined)
  }

  /** Ends what is lent, of others only or all of it; those who have borrowed hear so. Resolves when no process is left. */
  async close(whose: 'others' | 'all'): Promise<void> {
    this.#closed = whose
    this.#line?.close()
    if (whose === 'all') clearInterval(this.#timer)
    const ending = [...this.#held.values()].filter(({ loan, over }) => over === undefined && (whose === 'all' || !loan.own))
    for (const held of ending) {
      this.#end(held, 'the worker is ending')
      this.#tellFailed(held)
    }
    await Promise.all([...this.#held.values()].filter(({ loan }) => whose === 'all' || !loan.own).map(({ gone }) => gone))
  }
}

const factsOf = ({ id, by, model, device, bytes, own }: LentLoan) => ({ loan: id, by, model, device, bytes, ...(own && { own }) })

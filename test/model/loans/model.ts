/** What the scripts about loans (`libs/broker/src/lua/loan_*.lua`) promise, as plain data and plain functions: no Redis, no clock. */
export interface ModelLoan extends Facts {
  state: 'asked' | 'ready' | 'failed' | 'gone'
  /** Its time has run out, and nobody has judged yet. */
  late: boolean
  port?: number
  reason?: string
  wanted: boolean
}

export interface Facts {
  token: string
  device: string
  bytes: number
  model: string
  cluster: string
  own: boolean
  by: string
}

/** A loan as its borrower holds it, whatever Redis thinks of it by now. */
export interface HeldLoan {
  id: string
  lender: string
  facts: Facts
}

/** Bytes that a living node lends of its devices. */
export type Offer = Record<string, number>

export interface State {
  ledgers: Record<string, Record<string, ModelLoan>>
  /** Living nodes; `{}`: lends nothing. */
  nodes: Record<string, Offer>
}

export const lives = ({ state }: Pick<ModelLoan, 'state'>): boolean => state === 'asked' || state === 'ready'
export const lentOf = (ledger: Record<string, Pick<ModelLoan, 'state' | 'device' | 'bytes'>>, device: string): number =>
  Object.values(ledger).filter((loan) => lives(loan) && loan.device === device).reduce((sum, { bytes }) => sum + bytes, 0)

export class LoanModel {
  state: State
  saved: State | undefined
  /** All that were ever granted. */
  held: HeldLoan[] = []
  #words = 0

  constructor(lenders: readonly string[], nodes: Record<string, Offer>) {
    this.state = { ledgers: Object.fromEntries(lenders.map((lender) => [lender, {}])), nodes: { ...nodes } }
  }

  newWord(): string {
    return `w${(this.#words += 1)}`
  }

  /** What whoever goes through a ledger does on its way. */
  #pass(lender: string, judge: boolean): Record<string, ModelLoan> {
    const ledger = this.state.ledgers[lender]!
    for (const [id, loan] of Object.entries(ledger)) {
      if (!loan.late) continue
      if (!lives(loan)) delete ledger[id]
      else if (judge) this.#close(loan, 'gone')
    }
    return ledger
  }

  #close(loan: ModelLoan, state: 'failed' | 'gone', reason?: string): void {
    Object.assign(loan, { state, late: false, wanted: false })
    delete loan.port
    delete loan.reason
    if (reason !== undefined) loan.reason = reason
  }

  borrow({ id, lender, facts }: HeldLoan, judge: boolean): unknown[] {
    const ledger = this.#pass(lender, judge)
    const there = ledger[id]
    if (there) return [there.token === facts.token && lives(there) ? 'granted' : 'over']
    const node = this.state.nodes[lender]
    const total = node?.[facts.device]
    if (total === undefined && !facts.own) return [node ? 'none' : 'silent']
    const free = total === undefined ? Infinity : total - lentOf(ledger, facts.device)
    if (facts.bytes > free) return ['short', String(Math.max(0, free))]
    ledger[id] = { ...facts, state: 'asked', late: false, wanted: false }
    return ['granted']
  }

  renew(loans: readonly HeldLoan[], judge: boolean): unknown[] {
    return loans.flatMap(({ id, lender, facts }) => {
      const node = this.state.nodes[lender]
      const total = node?.[facts.device]
      const silent = node === undefined && judge
      let loan = this.state.ledgers[lender]![id]
      if (loan && loan.token !== facts.token) return ['gone', '', 0]
      if (!loan) {
        loan = { ...facts, state: 'asked', late: false, wanted: false }
        const fits = total === undefined ? node === undefined || facts.own : facts.bytes <= total - lentOf(this.#pass(lender, judge), facts.device)
        this.state.ledgers[lender]![id] = loan
        if (silent || !fits) this.#close(loan, 'gone')
      } else if (lives(loan)) {
        if (silent) this.#close(loan, 'gone')
        else loan.late = false
      }
      return [loan.state, String(loan.port ?? loan.reason ?? ''), loan.wanted ? 1 : 0]
    })
  }

  release(loans: readonly HeldLoan[]): number {
    let lived = 0
    for (const { id, lender, facts } of loans) {
      const ledger = this.state.ledgers[lender]!
      const loan = ledger[id]
      if (loan && (loan.token !== facts.token || !lives(loan))) continue
      if (loan) lived += 1
      this.#close((ledger[id] = loan ?? { ...facts, state: 'gone', late: false, wanted: false }), 'gone')
    }
    return lived
  }

  want(lenders: readonly string[], by: string): number {
    const loans = lenders.flatMap((lender) => Object.values(this.state.ledgers[lender]!)).filter((loan) => lives(loan) && loan.by !== by && loan.cluster !== by)
    for (const loan of loans) loan.wanted = true
    return loans.length
  }

  /** Ids of the living, and of those that are over. */
  list(lender: string, judge: boolean): [string[], string[]] {
    const all = Object.entries(this.#pass(lender, judge))
    return [all.filter(([, loan]) => lives(loan)).map(([id]) => id), all.filter(([, loan]) => !lives(loan)).map(([id]) => id)]
  }

  tell(lender: string, id: string, token: string, state: 'ready' | 'failed', detail: string): number {
    const loan = this.state.ledgers[lender]![id]
    if (!loan || loan.token !== token) return 0
    if (!lives(loan)) return loan.state === state ? 1 : 0
    if (state === 'failed') this.#close(loan, 'failed', detail)
    else Object.assign(loan, { state, port: Number(detail) })
    return 1
  }

  save(): void {
    this.saved = structuredClone(this.state)
  }

  /** Redis was killed and has forgotten all since `save`. */
  rollBack(): void {
    if (this.saved) this.state = structuredClone(this.saved)
  }
}

import { randomBytes } from 'node:crypto'
import { BrokerError, type ModelName } from '@drover/core'
import type { Redis } from 'ioredis'
import { JUDGE_AFTER_MS, upFor } from './connection.ts'
import { inTime, refused, unavailable } from './in-time.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** A loan that is not renewed for so long is over, ms; it is renewed each second. */
export const LOAN_MS = 5_000
/** One that is over is remembered for so long, ms: who was frozen meanwhile does not bring it back. */
const OVER_MS = 60_000
/** Somebody who is short of memory says so again within this time, ms. */
const WANTED_MS = 10_000
/** After Redis was away nothing is borrowed anew for this long, ms: first those that had something renew it. */
const HOLDERS_FIRST_MS = 1_500
/** Longest wait for that, ms. */
const PATIENCE_MS = 4_000

/** Memory of a device that a node is asked to lend. */
export interface LoanAsk {
  lender: string
  /** As the lender's record calls it. */
  device: string
  bytes: number
  model: ModelName
  /** Id of the cluster that it is for. */
  cluster: string
  /** The lender's own share of a model that it coordinates: it counts, and no process is started for it. */
  own: boolean
}

export interface Loan extends LoanAsk {
  id: string
  /** Unguessable: whoever has it may renew and release the loan. */
  token: string
}

/**
 * What a borrower learns of a loan. `ready`: an rpc-server of its own listens on the port, at the address in the lender's record; port 0
 * where none is needed. `gone`: it has expired, was released, or its lender is silent.
 */
export type LoanState = { state: 'asked' } | { state: 'ready'; port: number } | { state: 'failed'; reason: string } | { state: 'gone' }

export interface Renewed {
  state: LoanState
  /** Somebody else is short of this memory: a cluster that is idle should end. */
  wanted: boolean
}

/** A loan as its lender sees it. */
export interface LentLoan extends Omit<Loan, 'lender'> {
  /** The node that has borrowed. */
  by: string
  state: 'asked' | 'ready'
  /** Of one that is ready; 0: it needs none. */
  port?: number
}

export interface LoansOptions {
  node: string
  redis: Redis
  subscriber: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/**
 * Memory that nodes lend each other for models that are too large for one. The ledger of each lender lies in Redis and is only changed by
 * scripts: it never grants more than the lender's record offers. All calls give up with `broker_unavailable` when Redis takes too long;
 * what was asked then may still happen.
 */
export class Loans {
  #options: LoansOptions
  #up: () => number
  /** What this node has lent, as last heard: just after Redis was away it may have forgotten some. */
  #lent: LentLoan[] = []
  /** Ports of borrowed loans that were ready. */
  #ports = new Map<string, number>()
  #lender: (() => void)[] = []
  #borrower: (() => void)[] = []

  constructor(options: LoansOptions) {
    this.#options = options
    this.#up = upFor(options.redis)
    options.subscriber.on('message', (_channel: string, text: string) => {
      if (text === TO_LENDER) for (const listener of this.#lender) listener()
      if (text === TO_BORROWER) for (const listener of this.#borrower) listener()
    })
  }

  /** @throws BrokerError `engine_failed` when the lender is not there, lends nothing of that device, or has less free; `broker_unavailable` */
  async borrow(ask: LoanAsk): Promise<Loan> {
    const { keys, base, node, scripts } = this.#options
    const { lender, device } = ask
    const bytes = Math.ceil(ask.bytes)
    const loan: Loan = { ...ask, bytes, id: randomBytes(9).toString('base64url'), token: randomBytes(24).toString('base64url') }
    await this.#holdersFirst()
    const names = [keys.loans(lender), keys.node(lender)]
    const answer = (await inTime(scripts.loan_borrow(names, [base, lender, loan.id, this.#facts(loan), LOAN_MS, OVER_MS, this.#mayJudge])).catch(refused)) as
      ['granted'] | ['silent'] | ['none'] | ['over'] | ['short', string]
    switch (answer[0]) {
      case 'granted':
        // What was published may be lost; to itself a node need not publish.
        if (lender === node) for (const listener of this.#lender) listener()
        return loan
      case 'silent':
        throw new BrokerError('engine_failed', `node ${lender} is not there to lend memory`)
      case 'none':
        throw new BrokerError('engine_failed', `node ${lender} lends no memory of ${device}`)
      case 'short':
        throw new BrokerError('engine_failed', `node ${lender} was asked for ${bytes} bytes of ${device} and has ${answer[1]} to lend`)
      case 'over':
        throw new BrokerError('engine_failed', `the memory that node ${lender} had lent was taken back at once`)
      default:
        return answer satisfies never
    }
  }

  /**
   * Renews loans for another `LOAN_MS`, in the same order. A loan that Redis has forgotten comes back if its memory is still free. One that
   * was ready and is on another port now is gone: it is not the process that has the weights.
   */
  async renew(loans: readonly Loan[]): Promise<Renewed[]> {
    const { keys, base, scripts } = this.#options
    if (loans.length === 0) return []
    const names = loans.flatMap(({ lender }) => [keys.loans(lender), keys.node(lender)])
    const answer = (await inTime(
      scripts.loan_renew(names, [base, LOAN_MS, OVER_MS, this.#mayJudge, ...loans.flatMap((loan) => [loan.lender, loan.id, this.#facts(loan)])]),
    ).catch(refused)) as (string | number)[]
    return loans.map(({ id }, i) => {
      const [kind, detail, wanted] = answer.slice(3 * i, 3 * i + 3) as ['asked' | 'ready' | 'failed' | 'gone', string, number]
      return { state: this.#stateOf(id, kind, detail), wanted: wanted === 1 }
    })
  }

  #stateOf(id: string, kind: LoanState['state'], detail: string): LoanState {
    const known = this.#ports.get(id)
    switch (kind) {
      case 'asked':
        // Redis has forgotten that it was ready; its lender says so again, or that it no longer is.
        return known === undefined ? { state: 'asked' } : { state: 'ready', port: known }
      case 'ready':
        if (known !== undefined && known !== Number(detail)) return { state: 'gone' }
        this.#ports.set(id, Number(detail))
        return { state: 'ready', port: Number(detail) }
      case 'failed':
        return { state: 'failed', reason: detail }
      case 'gone':
        return { state: 'gone' }
      default:
        return kind satisfies never
    }
  }

  /** Gives loans back, whatever has become of them; may be repeated. */
  async release(loans: readonly Loan[]): Promise<void> {
    const { keys, base, scripts } = this.#options
    if (loans.length === 0) return
    for (const { id } of loans) this.#ports.delete(id)
    const args = loans.flatMap((loan) => [loan.lender, loan.id, this.#facts(loan)])
    await inTime(scripts.loan_release(loans.map(({ lender }) => keys.loans(lender)), [base, OVER_MS, ...args])).catch(refused)
  }

  /** Those who have borrowed of these nodes are told for 10 s that somebody is short of memory, but for the node or cluster `by` itself. */
  async want(nodes: readonly string[], by: string): Promise<void> {
    const { keys, base, scripts } = this.#options
    if (nodes.length === 0) return
    await inTime(scripts.loan_want(nodes.map((node) => keys.loans(node)), [base, by, WANTED_MS])).catch(refused)
  }

  /** Calls `listener` when a lender has news of something that this node has borrowed, or somebody wants it: renewing tells what. */
  onNews(listener: () => void): void {
    this.#borrower.push(listener)
  }

  /** Living loans of this node's memory. Just after Redis was away those that were known stay, unless they are known to be over. */
  async mine(): Promise<LentLoan[]> {
    const { keys, node, scripts } = this.#options
    const judge = this.#mayJudge
    const answer = (await inTime(scripts.loan_list([keys.loans(node)], [OVER_MS, judge])).catch(refused)) as string[]
    const border = answer.indexOf('')
    const living = Array.from({ length: border / 2 }, (_, i) => ({ ...(JSON.parse(answer[2 * i + 1]!) as LentLoan), id: answer[2 * i]! }))
    const heard = new Set([...living.map(({ id }) => id), ...answer.slice(border + 1)])
    this.#lent = judge === 1 ? living : [...living, ...this.#lent.filter(({ id }) => !heard.has(id))]
    return this.#lent
  }

  /** An rpc-server for the loan listens; port 0: it needs none. False: it is not this loan any more. */
  async ready(id: string, token: string, port: number): Promise<boolean> {
    return this.#tell(id, token, 'ready', port)
  }

  /** The memory is not to be had, or no longer. False: it is not this loan any more. */
  async failed(id: string, token: string, reason: string): Promise<boolean> {
    return this.#tell(id, token, 'failed', reason)
  }

  async #tell(id: string, token: string, state: 'ready' | 'failed', detail: string | number): Promise<boolean> {
    const { keys, base, node, scripts } = this.#options
    return (await inTime(scripts.loan_tell([keys.loans(node)], [base, id, token, state, detail, OVER_MS])).catch(refused)) === 1
  }

  /** Calls `listener` when something was asked of this node or given back to it: `mine` tells what. */
  onAsked(listener: () => void): void {
    this.#lender.push(listener)
  }

  async #holdersFirst(): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; this.#up() < HOLDERS_FIRST_MS; await new Promise((resolve) => setTimeout(resolve, 50)))
      if (performance.now() > end) throw unavailable()
  }

  #facts({ token, device, bytes, model, cluster, own }: Loan): string {
    return JSON.stringify({ token, device, bytes, model, cluster, own, by: this.#options.node })
  }

  get #mayJudge(): 0 | 1 {
    return this.#up() >= JUDGE_AFTER_MS ? 1 : 0
  }
}

/** What the scripts publish on a node's control channel (`lua/loan.lua`). */
const TO_LENDER = '{"loans":"lender"}'
const TO_BORROWER = '{"loans":"borrower"}'

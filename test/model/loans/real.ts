import { Redis } from 'ioredis'
import { keys } from '../../../libs/broker/src/keys.ts'
import { scripts, type Scripts } from '../../../libs/broker/src/scripts.ts'
import type { RedisServer } from '../../support/redis-server.ts'
import { COPY, edited } from '../real.ts'
import type { HeldLoan, ModelLoan, Offer, State } from './model.ts'

const BASE = '{l}'
/** So long that nothing ends by itself while a history runs: all time is set by hand. */
const EVER_MS = 1e9
const named = keys(BASE)

type Stored = Omit<ModelLoan, 'late' | 'wanted'> & { ends: number; wanted?: number }

/** The scripts about loans on a real Redis, called as lenders and borrowers call them. */
export class RealLedgers {
  readonly lenders: readonly string[]
  #redis: Redis
  #scripts: Scripts

  constructor(server: RedisServer, lenders: readonly string[], edit = (lua: string, _script: string) => lua) {
    this.lenders = lenders
    this.#redis = new Redis({ ...server.connection, maxRetriesPerRequest: null })
    this.#scripts = scripts(edited(this.#redis, edit))
    this.#redis.defineCommand('modelCopy', { lua: COPY, numberOfKeys: 0 })
  }

  async clear(): Promise<void> {
    await this.#redis.flushall()
  }

  borrow({ id, lender, facts }: HeldLoan, judge: boolean) {
    return this.#scripts.loan_borrow([named.loans(lender), named.node(lender)], [BASE, lender, id, JSON.stringify(facts), EVER_MS, EVER_MS, judge ? 1 : 0])
  }

  renew(loans: readonly HeldLoan[], judge: boolean) {
    const names = loans.flatMap(({ lender }) => [named.loans(lender), named.node(lender)])
    return this.#scripts.loan_renew(names, [BASE, EVER_MS, EVER_MS, judge ? 1 : 0, ...loans.flatMap(({ lender, id, facts }) => [lender, id, JSON.stringify(facts)])])
  }

  release(loans: readonly HeldLoan[]) {
    const args = loans.flatMap(({ lender, id, facts }) => [lender, id, JSON.stringify(facts)])
    return this.#scripts.loan_release(loans.map(({ lender }) => named.loans(lender)), [BASE, EVER_MS, ...args])
  }

  want(lenders: readonly string[], by: string) {
    return this.#scripts.loan_want(lenders.map((lender) => named.loans(lender)), [BASE, by, EVER_MS])
  }

  async list(lender: string, judge: boolean): Promise<[string[], string[]]> {
    const answer = (await this.#scripts.loan_list([named.loans(lender)], [EVER_MS, judge ? 1 : 0])) as string[]
    const border = answer.indexOf('')
    return [answer.slice(0, border).filter((_, i) => i % 2 === 0), answer.slice(border + 1)]
  }

  tell(lender: string, id: string, token: string, state: string, detail: string) {
    return this.#scripts.loan_tell([named.loans(lender)], [BASE, id, token, state, detail, EVER_MS])
  }

  async node(lender: string, offer: Offer | undefined): Promise<void> {
    if (!offer) return void (await this.#redis.del(named.node(lender)))
    const devices = Object.entries(offer).map(([name, total]) => ({ name, kind: 'cpu', total, free: 0 }))
    await this.#redis.hset(named.node(lender), 'record', JSON.stringify({ id: lender, ...(devices.length > 0 && { lending: { address: '127.0.0.1', devices } }) }))
  }

  /** Its time runs out: of a living one until it would have had to be renewed, of one that is over until it is forgotten. */
  async runsOut(lender: string, id: string): Promise<void> {
    const text = await this.#redis.hget(named.loans(lender), id)
    if (text !== null) await this.#redis.hset(named.loans(lender), id, JSON.stringify({ ...(JSON.parse(text) as Stored), ends: 1 }))
  }

  async save(): Promise<void> {
    await this.#copy(0, 1)
  }

  async rollBack(): Promise<void> {
    await this.#copy(1, 0)
  }

  #copy(from: number, to: number): Promise<unknown> {
    return (this.#redis as unknown as { modelCopy(from: number, to: number): Promise<unknown> }).modelCopy(from, to)
  }

  async look(): Promise<State['ledgers']> {
    const all = await Promise.all(this.lenders.map((lender) => this.#redis.hgetall(named.loans(lender))))
    return Object.fromEntries(
      this.lenders.map((lender, i) => [
        lender,
        Object.fromEntries(
          Object.entries(all[i]!).map(([id, text]) => {
            const { ends, wanted, ...loan } = JSON.parse(text) as Stored
            return [id, { ...loan, late: ends === 1, wanted: wanted !== undefined }]
          }),
        ),
      ]),
    )
  }

  close(): void {
    this.#redis.disconnect()
  }
}

import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import { lentOf, lives, type HeldLoan, type LoanModel, type Offer } from './model.ts'
import type { RealLedgers } from './real.ts'

export const LENDERS = ['a', 'b']
const DEVICES = ['CPU', 'CUDA0']
const BORROWERS = ['a', 'c', 'd']
const GIB = 2 ** 30
export const MUCH: Offer = { CPU: 12 * GIB, CUDA0: 8 * GIB }
const seldom = fc.constantFrom(false, false, false, true)
const aLender = fc.constantFrom('a', 'a', 'a', ...LENDERS)
const aLoan = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(4) })

export interface Real {
  ledgers: RealLedgers
  /** Loans that were seen to be over, as `lender id`: they stay so. */
  over: Set<string>
  savedOver?: Set<string>
}
type Step = fc.AsyncCommand<LoanModel, Real>

const same = (answer: unknown, expected: unknown, what: string) => assert.deepEqual(answer, expected, `the answer of ${what}`)

type Picture = Awaited<ReturnType<RealLedgers['look']>>

/** What holds whatever the model thinks: nothing is granted beyond the offer, and what is over stays over for as long as that is remembered. */
const keepsPromises = (before: Picture, after: Picture, { nodes }: LoanModel['state'], over: Set<string>): void => {
  for (const lender of LENDERS) {
    for (const device of DEVICES) {
      const sum = lentOf(after[lender]!, device)
      const total = nodes[lender]?.[device]
      if (total !== undefined && sum > lentOf(before[lender]!, device)) assert.ok(sum <= total, `${sum} of ${total} bytes of ${device} of ${lender} are lent`)
    }
    for (const [id, loan] of Object.entries(after[lender]!)) {
      if (!lives(loan)) over[loan.late ? 'delete' : 'add'](`${lender} ${id}`)
      else assert.ok(!over.has(`${lender} ${id}`), `${id} was over and lives again`)
    }
  }
}

/** @param run answers what it starts from, where that is not what was there before */
const step = (text: string, run: (model: LoanModel, real: Real) => Promise<Picture | void>, check: (model: LoanModel) => boolean = () => true): Step => ({
  check,
  async run(model, real) {
    const before = await real.ledgers.look()
    const from = await run(model, real)
    const after = await real.ledgers.look()
    keepsPromises(from ?? before, after, model.state, real.over)
    assert.deepEqual(after, model.state.ledgers)
  },
  toString: () => text,
})

const calls = (twice: boolean): readonly number[] => (twice ? [1, 2] : [1])
const word = (twice: boolean, text: string) => (twice ? ` ${text}` : '')
const nth = ({ held }: LoanModel, back: number): HeldLoan => held[held.length - 1 - (back % held.length)]!
const hasLoan = ({ held }: LoanModel) => held.length > 0

const borrow = fc
  .record({ lender: aLender, device: fc.constantFrom('CPU', 'CPU', ...DEVICES), bytes: fc.integer({ min: 1, max: 6 }), by: fc.constantFrom(...BORROWERS), judge: fc.boolean(), twice: seldom })
  .map(({ lender, device, bytes, by, judge, twice }) =>
    step(`borrow(${bytes} of ${device} of ${lender} for ${by}${word(judge, 'judging')}${word(twice, 'twice')})`, async (model, { ledgers }) => {
      const loan = { id: model.newWord(), lender, facts: { token: model.newWord(), device, bytes: bytes * GIB + 1, model: 'm:1', cluster: `${by}1`, own: by === lender, by } }
      for (const _ of calls(twice)) {
        const answer = (await ledgers.borrow(loan, judge)) as unknown[]
        same(answer, model.borrow(loan, judge), 'borrow')
        if (answer[0] === 'granted' && !model.held.includes(loan)) model.held.push(loan)
      }
    }),
  )

/** Sent once more, late, or by somebody who does not know its token. */
const borrowAgain = fc.record({ back: aLoan, wrong: seldom }).map(({ back, wrong }) =>
  step(
    `borrow again(loan -${back}${word(wrong, 'with a wrong token')})`,
    async (model, { ledgers }) => {
      const loan = nth(model, back)
      const sent = wrong ? { ...loan, facts: { ...loan.facts, token: 'wrong' } } : loan
      same(await ledgers.borrow(sent, false), model.borrow(sent, false), 'borrow again')
    },
    // Redis may have forgotten it; then it would be one that was never asked for.
    (model) => hasLoan(model) && model.state.ledgers[nth(model, back).lender]![nth(model, back).id] !== undefined,
  ),
)

const renew = fc.record({ backs: fc.array(aLoan, { minLength: 1, maxLength: 3 }), judge: fc.boolean(), wrong: seldom, twice: seldom }).map(({ backs, judge, wrong, twice }) =>
  step(
    `renew(${backs.map((back) => `loan -${back}`).join(', ')}${word(judge, 'judging')}${word(wrong, 'with wrong tokens')}${word(twice, 'twice')})`,
    async (model, { ledgers }) => {
      const loans = backs.map((back) => nth(model, back)).map((loan) => (wrong ? { ...loan, facts: { ...loan.facts, token: 'wrong' } } : loan))
      for (const _ of calls(twice)) same(await ledgers.renew(loans, judge), model.renew(loans, judge), 'renew')
    },
    (model) => hasLoan(model) && (!wrong || backs.every((back) => model.state.ledgers[nth(model, back).lender]![nth(model, back).id] !== undefined)),
  ),
)

const release = fc.record({ backs: fc.array(aLoan, { minLength: 1, maxLength: 2 }), wrong: seldom, twice: seldom }).map(({ backs, wrong, twice }) =>
  step(
    `release(${backs.map((back) => `loan -${back}`).join(', ')}${word(wrong, 'with wrong tokens')}${word(twice, 'twice')})`,
    async (model, { ledgers }) => {
      const loans = backs.map((back) => nth(model, back)).map((loan) => (wrong ? { ...loan, facts: { ...loan.facts, token: 'wrong' } } : loan))
      for (const _ of calls(twice)) same(await ledgers.release(loans), model.release(loans), 'release')
    },
    (model) => hasLoan(model) && (!wrong || backs.every((back) => model.state.ledgers[nth(model, back).lender]![nth(model, back).id] !== undefined)),
  ),
)

const want = fc.record({ lenders: fc.constantFrom(['a'], ['a', 'b']), by: fc.constantFrom(...BORROWERS, 'c1'), twice: seldom }).map(({ lenders, by, twice }) =>
  step(`want(${lenders.join(', ')} for ${by}${word(twice, 'twice')})`, async (model, { ledgers }) => {
    for (const _ of calls(twice)) same(await ledgers.want(lenders, by), model.want(lenders, by), 'want')
  }),
)

const sorted = (lists: string[][]) => lists.map((each) => each.toSorted())

const list = fc.record({ lender: aLender, judge: fc.boolean(), twice: seldom }).map(({ lender, judge, twice }) =>
  step(`list(${lender}${word(judge, 'judging')}${word(twice, 'twice')})`, async (model, { ledgers }) => {
    for (const _ of calls(twice)) same(sorted(await ledgers.list(lender, judge)), sorted(model.list(lender, judge)), 'list')
  }),
)

const tell = fc.record({ back: aLoan, state: fc.constantFrom('ready' as const, 'ready' as const, 'failed' as const), port: fc.constantFrom('0', '5001'), wrong: seldom, twice: seldom }).map(
  ({ back, state, port, wrong, twice }) =>
    step(
      `${state}(loan -${back}${word(wrong, 'with a wrong token')}${word(twice, 'twice')})`,
      async (model, { ledgers }) => {
        const { lender, id, facts } = nth(model, back)
        const told = [lender, id, wrong ? 'wrong' : facts.token, state, state === 'ready' ? port : model.newWord()] as const
        for (const _ of calls(twice)) same(await ledgers.tell(...told), model.tell(...told), state)
      },
      hasLoan,
    ),
)

const runsOut = aLoan.map((back) =>
  step(
    `time runs out(loan -${back})`,
    async (model, real) => {
      const { lender, id } = nth(model, back)
      const loan = model.state.ledgers[lender]![id]!
      await real.ledgers.runsOut(lender, id)
      loan.late = true
    },
    (model) => hasLoan(model) && model.state.ledgers[nth(model, back).lender]![nth(model, back).id] !== undefined,
  ),
)

const node = fc.record({ lender: aLender, says: fc.constantFrom('silence', 'nothing', 'little', 'much', 'much', 'much') }).map(({ lender, says }) =>
  step(`node ${lender} lends ${says}`, async (model, { ledgers }) => {
    const offer = { silence: undefined, nothing: {}, little: { CPU: 4 * GIB }, much: MUCH }[says]
    await ledgers.node(lender, offer)
    if (offer) model.state.nodes[lender] = offer
    else delete model.state.nodes[lender]
  }),
)

const save = fc.constant(
  step('Redis writes to its disk', async (model, real) => {
    await real.ledgers.save()
    model.save()
    real.savedOver = new Set(real.over)
  }),
)

const rollBack = fc.constant(
  step(
    'Redis is killed and forgets what came since',
    async (model, real) => {
      await real.ledgers.rollBack()
      model.rollBack()
      real.over = new Set(real.savedOver)
      return real.ledgers.look()
    },
    ({ saved }) => saved !== undefined,
  ),
)

/** Any history of at most `length` steps. */
export const loanHistories = (length: number) =>
  fc.commands([node, borrow, borrow, borrow, borrow, borrowAgain, renew, renew, renew, release, release, want, list, list, tell, tell, tell, runsOut, runsOut, runsOut, save, rollBack], {
    maxCommands: length,
    size: 'max',
  })

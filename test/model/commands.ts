import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import { OWNERS, type HeldLease, type Model } from './model.ts'
import { agrees, keepsPromises, Witness } from './promises.ts'
import type { RealBroker } from './real.ts'

export const LANES = ['m~interactive', 'n~batch']
export const GATEWAYS = ['g1', 'g2']
const NODES = ['n1', 'n2', 'n3']
const JOBS = ['j1', 'j2', 'j3']
// Much must meet on one job before anything can go wrong.
const aJob = fc.constantFrom('j1', 'j1', 'j1', ...JOBS)
const aLane = fc.constantFrom(LANES[0]!, LANES[0]!, LANES[0]!, ...LANES)
/** Small, and so large that a lane is numbered anew, or that ranks do not fit. */
const COSTS = [1, 9, 10, 1_100_000]
const seldom = fc.constantFrom(false, false, false, true)
const aLease = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(3) })

/** A history as it goes: the scripts on Redis, and what has been seen of them. */
export interface Real {
  broker: RealBroker
  witness: Witness
  saved?: Witness
}
export type Step = fc.AsyncCommand<Model, Real>

const step = (text: string, run: (model: Model, real: Real) => Promise<void>, check: (model: Model) => boolean = () => true): Step => ({
  check,
  async run(model, real) {
    await run(model, real)
    const picture = await real.broker.look()
    keepsPromises(picture, real.witness)
    agrees(picture, model)
  },
  toString: () => text,
})

const same = (answer: unknown, expected: unknown, what: string) => assert.deepEqual(answer, expected, `the answer of ${what}`)

/** One of the leases that were ever granted, counted from the last. */
const nth = ({ leases }: Model, back: number): HeldLease => leases[leases.length - 1 - (back % leases.length)]!
const hasLease = ({ leases }: Model) => leases.length > 0

/** A call that is made once, or twice as a client library may that has lost the answer. */
const calls = (twice: boolean): readonly number[] => (twice ? [1, 2] : [1])
const word = (twice: boolean, text: string) => (twice ? ` ${text}` : '')

const submit = fc
  .record({
    id: aJob, lane: aLane, owner: fc.constantFrom(...OWNERS), entry: fc.constantFrom(...COSTS), cost: fc.constantFrom(...COSTS), follower: fc.constantFrom('g1', 'g1', 'g1', 'g2', ''),
    background: fc.boolean(), streamed: fc.boolean(), beside: fc.boolean(), ahead: fc.constantFrom('' as const, '' as const, '' as const, 1, 2),
    hook: fc.constantFrom('', '*', 'w'), print: fc.constantFrom('', 'same'),
    twice: seldom,
  })
  .map(({ id, twice, ...asked }) => {
    const facts = { ...asked, by: 'first' }
    return step(
      `submit(${id}, ${JSON.stringify(facts)}${word(twice, 'twice')})`,
      async (model, { broker }) => {
        // No id is used for two jobs: a gateway that brings a job again sends what it sent before.
        const sent = model.submitted[id] ?? facts
        for (const _ of calls(twice)) {
          const answer = (await broker.submit(id, sent)) as unknown[]
          same(answer, model.submit(id, sent), 'submit')
          if (answer[0] === 1) model.submitted[id] = sent
        }
      },
      ({ forgotten }) => !forgotten.includes(id),
    )
  })

/** A request that has a key comes again, or another one with that key. */
const repeat = fc
  .record({ id: aJob, follower: fc.constantFrom('g1', 'g2', ''), background: fc.boolean(), print: fc.constantFrom('same', 'same', 'same', 'other'), twice: seldom })
  .map(({ id, twice, ...again }) =>
    step(
      `repeat(${id}, ${JSON.stringify(again)}${word(twice, 'twice')})`,
      async (model, { broker }) => {
        const sent = { ...model.submitted[id]!, ...again, by: 'second' }
        for (const _ of calls(twice)) same(await broker.submit(id, sent), model.submit(id, sent), 'repeat')
      },
      // One that Redis has forgotten, or never taken, is brought back by its own gateway.
      ({ forgotten, submitted, state }) => !forgotten.includes(id) && submitted[id] !== undefined && state.jobs[id] !== undefined,
    ),
  )

const follow = fc.record({ id: aJob, gateway: fc.constantFrom(...GATEWAYS), owner: fc.constantFrom('', ...OWNERS), twice: seldom }).map(({ id, gateway, owner, twice }) =>
  step(`follow(${id} by ${gateway} for ${owner || 'anybody'}${word(twice, 'twice')})`, async (model, { broker }) => {
    for (const _ of calls(twice)) same(await broker.follow(id, gateway, owner), model.follow(id, gateway, owner), 'follow')
  }),
)

const takeFrom = async (model: Model, { broker, witness }: Real, lane: string, node: string, judge: boolean, twice: boolean, dies: boolean): Promise<unknown[]> => {
  const token = model.newToken(node)
  let answer: unknown[] = []
  for (const _ of calls(twice)) {
    answer = await broker.take(lane, token, node, judge)
    same(answer, model.take(lane, token, node, judge), 'take')
  }
  const [kind, job, , attempt, next] = answer as [string, string, string, number, number]
  if (kind === 'begun') witness.begun.set(token, { job, attempt, next })
  else if (kind !== 'empty' && !dies) same(await broker.finishInLane({ lane, job, token }), model.finishInLane({ lane, job, token }), "BullMQ's finish")
  return answer
}

const take = fc
  .record({ lane: aLane, node: fc.constantFrom(...NODES), judge: seldom, twice: seldom, dies: seldom })
  .map(({ lane, node, judge, twice, dies }) =>
    step(`take(${lane} by ${node}${word(judge, 'judging')}${word(twice, 'twice')}${word(dies, 'dies')})`, async (model, real) => {
      await takeFrom(model, real, lane, node, judge, twice, dies)
    }),
  )

/** The same take once more, a while later, by who still has what it took. */
const takeAgain = aLease.map((back) =>
  step(
    `take again(lease -${back})`,
    async (model, { broker }) => {
      const { lane, token, node } = nth(model, back)
      same(await broker.take(lane, token, node, false), model.take(lane, token, node, false), 'take again')
    },
    (model) => hasLease(model) && model.state.took[nth(model, back).token] !== undefined,
  ),
)

const append = fc
  .record({
    entries: fc.array(
      fc.record({
        back: aLease,
        off: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: -2, max: 2 })),
        count: fc.constantFrom(1, 1, 2),
        outcome: fc.constantFrom('', '', '', '', '', '', 'completed', 'failed'),
      }),
      { minLength: 1, maxLength: 2 },
    ),
    twice: seldom,
  })
  .map(({ entries, twice }) =>
    step(
      `append(${entries.map(({ back, off, count, outcome }) => `lease -${back}: ${count} from next${off < 0 ? off : `+${off}`}${outcome && ` ${outcome}`}`).join('; ')}${word(twice, 'twice')})`,
      async (model, { broker, witness }) => {
        const all = entries.map(({ back, off, count, outcome }) => {
          const lease = nth(model, back)
          const first = Math.max(1, (model.state.jobs[lease.job]?.next ?? 1) + off)
          const record = outcome === '' ? '' : JSON.stringify({ outcome, attempt: lease.attempt, node: lease.node, said: model.newWord() })
          const frames = Array.from({ length: count }, (_, i) => ({
            text: model.newWord(),
            ...(record !== '' && i === count - 1 ? { end: JSON.parse(record) as unknown } : {}),
          }))
          return { lease, first, count, frames: JSON.stringify(frames), record }
        })
        for (const _ of calls(twice)) {
          const answers = (await broker.append(all)) as unknown[]
          for (const [i, { lease, first, frames }] of all.entries()) if (answers[i] === 'ok') witness.accepted(lease.job, first, JSON.parse(frames) as unknown[])
          same(answers, model.append(all), 'append')
        }
      },
      hasLease,
    ),
  )

/** The holder of a lease is told that its job has ended, and says so to BullMQ. */
const finishInLane = aLease.map((back) =>
  step(
    `finish in lane(lease -${back})`,
    async (model, { broker }) => {
      const lease = nth(model, back)
      same(await broker.finishInLane(lease), model.finishInLane(lease), "BullMQ's finish")
    },
    (model) => hasLease(model) && model.state.jobs[nth(model, back).job]?.record !== undefined,
  ),
)

const settle = fc
  .record({ id: aJob, follower: fc.constantFrom(...GATEWAYS, ...GATEWAYS, ''), twice: seldom, dies: seldom })
  .map(({ id, follower, twice, dies }) =>
    step(`settle(${id}, ${follower === '' ? 'whoever follows' : `${follower} leaves`}${word(twice, 'twice')}${word(dies, 'dies')})`, async (model, { broker }) => {
      let answer: unknown[] = []
      const error = follower === '' ? JSON.stringify({ code: 'internal', message: 'x' }) : ''
      for (const _ of calls(twice)) {
        answer = (await broker.settle(id, follower === '' ? 'failed' : 'cancelled', error, follower)) as unknown[]
        same(answer, model.settle(id, follower === '' ? 'failed' : 'cancelled', error, follower), 'settle')
      }
      if (answer[0] !== 'settled' || answer[1] !== 0 || dies) return
      await broker.remove(answer[2] as string, id)
      model.remove(answer[2] as string, id)
    }),
  )

const release = fc.record({ back: aLease, counted: fc.boolean(), twice: seldom, dies: seldom }).map(({ back, counted, twice, dies }) =>
  step(
    `release(lease -${back} ${counted ? 'counted' : 'uncounted'}${word(twice, 'twice')}${word(dies, 'dies')})`,
    async (model, { broker }) => {
      const lease = nth(model, back)
      const error = counted ? JSON.stringify({ code: 'engine_failed', message: 'x' }) : ''
      for (const _ of calls(twice)) {
        const released = await broker.release(lease, counted, error)
        same(released, model.release(lease, counted, error), 'release')
        if (released === 1 && !dies) same(await broker.giveBack(lease), model.giveBack(lease), 'give back')
      }
    },
    hasLease,
  ),
)

const renew = fc.record({ backs: fc.array(aLease, { minLength: 1, maxLength: 2 }), judge: seldom, twice: seldom }).map(({ backs, judge, twice }) =>
  step(
    `renew(${backs.map((back) => `lease -${back}`).join(', ')}${word(judge, 'judging')}${word(twice, 'twice')})`,
    async (model, { broker }) => {
      const leases = backs.map((back) => nth(model, back))
      for (const _ of calls(twice)) same(await broker.renew(leases, judge), model.renew(leases, judge), 'renew')
    },
    hasLease,
  ),
)

const reclaim = fc.record({ back: aLease, twice: seldom }).map(({ back, twice }) =>
  step(
    `reclaim(lease -${back}${word(twice, 'twice')})`,
    async (model, { broker, witness }) => {
      const lease = nth(model, back)
      for (const _ of calls(twice)) {
        const answer = await broker.reclaim(lease)
        same(answer, model.reclaim(lease), 'reclaim')
        if (typeof answer === 'number') witness.begun.set(lease.token, { job: lease.job, attempt: lease.attempt, next: answer })
      }
    },
    hasLease,
  ),
)

const recoverIn = async (model: Model, { broker }: Real, lane: string): Promise<void> => {
  const moved = await broker.recover(lane)
  same(moved, model.recover(lane, moved), 'recover')
}

/** Its worker has died or is frozen; with `looks` of 2, whoever sweeps has seen it. */
const lockRunsOut = fc.record({ back: aLease, looks: fc.constantFrom(0, 2, 2) }).map(({ back, looks }) =>
  step(
    `lock runs out(lease -${back}, ${looks} looks)`,
    async (model, real) => {
      const { job, lane } = nth(model, back)
      await real.broker.lockRunsOut(lane, job)
      delete model.state.locks[job]
      for (let look = 0; look < looks; look++) await recoverIn(model, real, lane)
    },
    hasLease,
  ),
)

const recover = fc.record({ lane: aLane, looks: fc.constantFrom(1, 2, 2) }).map(({ lane, looks }) =>
  step(`recover(${lane}, ${looks} looks)`, async (model, real) => {
    for (let look = 0; look < looks; look++) await recoverIn(model, real, lane)
  }),
)

const deadlinePasses = aJob.map((id) =>
  step(
    `deadline passes(${id})`,
    async (model, { broker }) => {
      await broker.deadlinePasses(id)
      model.state.jobs[id]!.late = true
    },
    ({ state }) => state.jobs[id] !== undefined,
  ),
)

const sweep = fc.record({ turn: fc.boolean(), twice: seldom, dies: seldom }).map(({ turn, twice, dies }) =>
  step(`sweep(${turn ? 'its turn' : 'whoever has the turn'}${word(twice, 'twice')}${word(dies, 'dies')})`, async (model, { broker }) => {
    if (turn) {
      await broker.turnEnds()
      model.state.turn = false
    }
    for (const _ of calls(twice)) {
      const answer = (await broker.sweep()) as [number, ...string[]]
      same(answer, model.sweep(), 'sweep')
      const ended = dies ? [] : answer.slice(1)
      for (let i = 0; i < ended.length; i += 2) {
        const [id, lane] = ended.slice(i, i + 2) as [string, string]
        await broker.remove(lane, id)
        model.remove(lane, id)
      }
    }
  }),
)

const gateway = fc.record({ id: fc.constantFrom(...GATEWAYS), lives: fc.constantFrom(false, true, true) }).map(({ id, lives }) =>
  step(`gateway ${id} ${lives ? 'lives' : 'dies'}`, async (model, { broker }) => {
    await (lives ? broker.gatewayLives(id) : broker.gatewayDies(id))
    const others = model.state.gateways.filter((each) => each !== id)
    model.state.gateways = lives ? [...others, id] : others
  }),
)

const read = fc.record({ id: aJob, from: fc.integer({ min: 1, max: 6 }), most: fc.integer({ min: 1, max: 3 }), owner: fc.constantFrom('', ...OWNERS) }).map(({ id, from, most, owner }) =>
  step(`read(${id} from ${from}, ${most} entries)`, async (model, { broker }) => {
    same(await broker.read(id, from, most), model.read(id, from, most), 'read')
    same(await broker.progress(JOBS), model.progress(JOBS), 'progress')
    same(await broker.places(JOBS, owner), model.places(JOBS, owner), 'places')
  }),
)

/** Its record has been kept for as long as was promised. */
const forget = aJob.map((id) =>
  step(
    `linger passes(${id})`,
    async (model, { broker, witness }) => {
      await broker.forget(id)
      model.forget(id)
      witness.forget(id)
    },
    ({ state }) => state.jobs[id]?.record !== undefined,
  ),
)

const save = fc.constant(
  step('Redis writes to its disk', async (model, real) => {
    await real.broker.save()
    model.save()
    real.saved = real.witness.copy()
  }),
)

const rollBack = fc.record({ lane: aLane, taken: fc.boolean() }).map(({ lane, taken }) =>
  step(
    `Redis is killed and forgets what came since${word(taken, `; a worker takes(${lane}) before the others are back`)}`,
    async (model, real) => {
      await real.broker.rollBack()
      model.rollBack()
      real.witness = real.saved!.copy()
      if (taken) await takeFrom(model, real, lane, 'n3', false, false, false)
    },
    ({ saved }) => saved !== undefined,
  ),
)

/** Any history of at most `length` steps. */
export const histories = (length: number) =>
  fc.commands(
    [submit, submit, repeat, follow, take, take, take, take, append, append, append, append, settle, release, release, renew, reclaim, reclaim, lockRunsOut, lockRunsOut, recover,
      deadlinePasses, sweep, gateway, read, finishInLane, takeAgain, forget, save, save, rollBack, rollBack],
    { maxCommands: length, size: 'max' },
  )

/** Every fault is lifted: locks of dead holders run out, and a worker takes what there is. Then every job must end, and nothing be left. */
export const ends = async (model: Model, real: Real): Promise<void> => {
  for (const lane of LANES) {
    for (const id of model.state.lanes[lane]!.active) {
      await real.broker.lockRunsOut(lane, id)
      delete model.state.locks[id]
    }
    await recoverIn(model, real, lane)
    await recoverIn(model, real, lane)
    for (let takes = 0; ; takes++) {
      assert.ok(takes <= 2 * JOBS.length, `${lane}: the lane does not empty`)
      const [kind, , , attempt, next] = (await takeFrom(model, real, lane, 'last', true, false, false)) as [string, string, string, number, number]
      if (kind === 'empty') break
      if (kind !== 'begun') continue
      const record = JSON.stringify({ outcome: 'completed', attempt })
      const all = [{ lease: nth(model, 0), first: next, count: 1, frames: `[{"end":${record}}]`, record }]
      same(await real.broker.append(all), model.append(all), 'the last append')
      real.witness.accepted(all[0]!.lease.job, next, [{ end: JSON.parse(record) as unknown }])
    }
  }
  const picture = await real.broker.look()
  keepsPromises(picture, real.witness)
  agrees(picture, model)
  for (const [id, { fields }] of Object.entries(picture.jobs)) assert.ok(fields['rec'], `${id}: has no record in the end`)
  assert.deepEqual([picture.known, picture.locks, picture.deadlines, LANES.flatMap((lane) => Object.keys(picture.lanes[lane]!.since))], [{}, {}, [], []], 'what is left of BullMQ in the end')
  await real.broker.heardAll()
  assert.deepEqual(real.broker.heard, model.told, 'what was published')
}

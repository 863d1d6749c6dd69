import fc from 'fast-check'
import { expect, test } from 'vitest'
import { expectedTokens, MOST_RANK, PRIORITY, rankOf, RENUMBER_FROM, renumbered, USUAL_COST, weightOf, type Weight } from './share.ts'

const usual = weightOf(1_000, PRIORITY.usual)

interface Waiting {
  owner: string
  rank: number
  at: number
}

/** A lane as the scripts keep it, by the same functions. */
const laneOf = () => {
  let served = 0
  let count = 0
  let paid = new Map<string, number>()
  let waiting: Waiting[] = []
  const renumber = () => {
    waiting = waiting.map((job) => ({ ...job, rank: renumbered(job.rank, served) }))
    paid = new Map([...paid].flatMap(([owner, its]) => (its < served ? [] : [[owner, renumbered(its, served)]])))
    served = 0
  }
  return {
    submit(owner: string, weight: Weight = usual): Waiting {
      if (served >= RENUMBER_FROM) renumber()
      const { rank, paid: its } = rankOf(served, paid.get(owner), weight)
      paid.set(owner, its)
      const job = { owner, rank, at: (count += 1) }
      waiting.push(job)
      return job
    },
    take(): Waiting | undefined {
      const [first] = waiting.toSorted((a, b) => a.rank - b.rank || a.at - b.at)
      waiting = waiting.filter((job) => job !== first)
      if (first) served = Math.max(served, first.rank)
      return first
    },
    get waiting() {
      return waiting
    },
    get served() {
      return served
    },
  }
}

test.each([
  ['a usual chat costs one usual job', 1_500, 5, { entry: 9, cost: 10 }],
  ['a long one costs more, and waits no longer for it itself', 5_000, 5, { entry: 9, cost: 30 }],
  ['what is longer still counts as eight', 1_000_000, 5, { entry: 9, cost: 80 }],
  ['twice the priority, half the cost', 1_500, 10, { entry: 4, cost: 5 }],
  ['the lowest priority, five times the cost', 1_500, 1, { entry: 49, cost: 50 }],
])('%s', (_name, tokens, priority, weight) => {
  expect(weightOf(tokens, priority)).toEqual(weight)
})

test('a limit of the answer counts, but not however high it is, and a prompt by its characters', () => {
  expect([expectedTokens(400), expectedTokens(400, 100), expectedTokens(400, 64_000), expectedTokens(400, 0)]).toEqual([612, 200, 4_196, 100])
})

const aWeight = fc.record({ tokens: fc.nat(40_000), priority: fc.integer({ min: 1, max: 10 }) }).map(({ tokens, priority }) => weightOf(tokens, priority))

test('of a thousand waiting jobs of one key none passes the single job of another that comes, however large that is; one, if they have a higher priority', () => {
  fc.assert(
    fc.property(fc.nat(100), fc.nat(40_000), fc.nat(40_000), fc.integer({ min: 1, max: 10 }), (before, large, small, priority) => {
      const lane = laneOf()
      for (let i = 0; i < 1_000; i += 1) lane.submit('greedy', weightOf(small, priority))
      for (let i = 0; i <= before; i += 1) lane.take()
      lane.submit('single', weightOf(large, PRIORITY.usual))
      const next = [lane.take()?.owner, lane.take()?.owner]
      expect(priority <= PRIORITY.usual ? next.slice(0, 1) : next).toContain('single')
    }),
    { numRuns: 60 },
  )
})

test('a key that keeps three jobs waiting is never starved by a stream of new keys with one each', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 100, maxLength: 200 }), fc.integer({ min: 1, max: 10 }), (arrivals, priority) => {
      const lane = laneOf()
      let keys = 0
      for (let i = 0; i < 3; i += 1) lane.submit('steady')
      let passed = 0
      for (const many of arrivals) {
        // More come than are served, and each is another's.
        const room = Math.max(0, 53 - lane.waiting.length)
        for (let i = 0; i < Math.min(many, room); i += 1) lane.submit(`new${(keys += 1)}`, weightOf(1_000, priority))
        const { owner } = lane.take()!
        passed = owner === 'steady' ? 0 : passed + 1
        if (owner === 'steady') lane.submit('steady')
        // New ones pass only until what is served has come near to its rank: so many rounds of those that wait.
        expect(passed).toBeLessThanOrEqual(54 * Math.ceil(USUAL_COST / weightOf(1_000, priority).entry + 1))
      }
    }),
    { numRuns: 40 },
  )
})

test('the jobs of one owner are served in the order in which they came, whatever they cost', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ owner: fc.constantFrom('a', 'b', 'c'), weight: aWeight, takes: fc.nat(2) }), { maxLength: 80 }), (steps) => {
      const lane = laneOf()
      const last = new Map<string, number>()
      const served = (job: Waiting | undefined) => {
        if (!job) return false
        expect(job.at).toBeGreaterThan(last.get(job.owner) ?? 0)
        last.set(job.owner, job.at)
        return true
      }
      for (const { owner, weight, takes } of steps) {
        lane.submit(owner, weight)
        for (let i = 0; i < takes; i += 1) served(lane.take())
      }
      while (served(lane.take()));
    }),
  )
})

test('under load each priority is served in proportion', () => {
  const lane = laneOf()
  const served = { low: 0, usual: 0, high: 0 }
  const weights = { low: weightOf(1_000, 1), usual, high: weightOf(1_000, 10) }
  for (const [owner, weight] of Object.entries(weights)) for (let i = 0; i < 4; i += 1) lane.submit(owner, weight)
  for (let i = 0; i < 1_600; i += 1) {
    const owner = lane.take()!.owner as keyof typeof served
    served[owner] += 1
    lane.submit(owner, weights[owner])
  }
  expect([served.low, served.usual, served.high].map((count) => Math.round(count / 100))).toEqual([1, 5, 10])
})

test('a lane that is never empty keeps its ranks within what BullMQ takes, and its order, for ever', () => {
  const lane = laneOf()
  let highest = 0
  let renumberings = 0
  let before = 0
  for (let i = 0; i < 20; i += 1) lane.submit(`k${i % 4}`)
  for (let i = 0; i < 100_000; i += 1) {
    const { owner } = lane.take()!
    const { rank } = lane.submit(owner, weightOf(40_000, 2))
    highest = Math.max(highest, rank)
    if (lane.served < before) renumberings += 1
    before = lane.served
    if (i % 25_000 === 0) {
      lane.submit('late')
      expect(Array.from({ length: 4 }, () => lane.take()?.owner)).toContain('late')
    }
  }
  expect(renumberings).toBeGreaterThan(1)
  expect(highest).toBeLessThanOrEqual(MOST_RANK)
})

test('a backlog whose ranks do not fit stands at the end, and holds nobody up', () => {
  const lane = laneOf()
  const ranks = Array.from({ length: 6_000 }, () => lane.submit('endless', weightOf(1_000_000, 1)).rank)
  expect(ranks.at(-1)).toBe(MOST_RANK)
  lane.take()
  lane.submit('single')
  expect(lane.take()?.owner).toBe('single')
})

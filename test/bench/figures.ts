import type { MemoryPoint, MemoryResult } from './memory.ts'
import { median } from './samples.ts'
import { loads, offered, type LoadName } from './scenarios.ts'
import type { Rounds, Turn } from './turns.ts'

/** One line of the report. */
export interface Figure {
  name: string
  unit: string
  direct?: number | undefined
  proxy?: number | undefined
  /** Of Redis or BullMQ by themselves. */
  floor?: number | undefined
  drover?: number | undefined
  /** What the bar and the goal are about: Drover less direct, or a ratio; `drover` where it is absent. */
  judged?: number | undefined
  bar?: number
  goal?: number
  better?: 'more' | 'less'
}

export const verdict = ({ drover, judged = drover, bar, goal, better = 'less' }: Figure): 'goal' | 'bar' | 'missed' | '' => {
  const reaches = (limit: number | undefined) => limit !== undefined && judged !== undefined && (better === 'less' ? judged <= limit : judged >= limit)
  if (judged === undefined) return ''
  if (reaches(goal)) return 'goal'
  if (reaches(bar)) return 'bar'
  return bar === undefined ? '' : 'missed'
}

type Value = (turn: Turn) => number

const middle = (turns: readonly Turn[] | undefined, value: Value): number | undefined => (turns && turns.length > 0 ? median(turns.map(value)) : undefined)

/** Round by round, so that what disturbs a whole round cancels. */
const paired = (a: readonly Turn[], b: readonly Turn[], value: Value, join: (a: number, b: number) => number): number =>
  median(a.map((turn, i) => join(value(turn), value(b[i] ?? turn))))

const added = (name: string, rounds: Rounds, value: Value, bar?: number, goal?: number): Figure => {
  const drover = rounds['drover'] ?? []
  const direct = rounds['direct'] ?? []
  return {
    name, unit: 'ms', direct: middle(direct, value), proxy: middle(rounds['proxy'], value), drover: middle(drover, value),
    judged: paired(drover, direct, value, (a, b) => a - b), ...(bar !== undefined && { bar }), ...(goal !== undefined && { goal }),
  }
}

const tokensPerS: Value = (turn) => turn.tokens / (turn.windowMs / 1000)
const answersPerS: Value = (turn) => turn.answers / (turn.windowMs / 1000)
const first: { p50: Value; p99: Value } = { p50: ({ firstToken }) => firstToken.p50, p99: ({ firstToken }) => firstToken.p99 }
const delay: { p50: Value; p99: Value } = { p50: ({ delay: { p50 } }) => p50, p99: ({ delay: { p99 } }) => p99 }

const firstToken = (label: string, bars: [number?, number?] = [], goals: [number?, number?] = []) => (rounds: Rounds): Figure[] => [
  added(`first token, ${label}, p50`, rounds, first.p50, bars[0], goals[0]),
  added(`first token, ${label}, p99`, rounds, first.p99, bars[1], goals[1]),
]

/** What Redis does for one answer, or for a thousand tokens. */
const redisFigures = (name: string, turns: readonly Turn[], per: 'answer' | 'tokens'): Figure[] => {
  const share = (value: (turn: Turn) => number) => median(turns.map((turn) => value(turn) / (per === 'answer' ? turn.allAnswers : turn.allTokens / 1000)))
  if (per === 'answer')
    return [
      { name: `Redis calls per job, ${name}`, unit: '', drover: share(({ redis }) => redis.calls) },
      { name: `Redis socket reads per job, ${name}`, unit: '', drover: share(({ redis }) => redis.reads) },
      { name: `Redis commands per job (in scripts), ${name}`, unit: '', drover: share(({ redis }) => redis.commands) },
    ]
  return [
    { name: `Redis bytes in per 1,000 tokens, ${name}`, unit: 'KB', drover: share(({ redis }) => redis.bytesIn / 1024) },
    { name: `Redis bytes out per 1,000 tokens, ${name}`, unit: 'KB', drover: share(({ redis }) => redis.bytesOut / 1024) },
  ]
}

const relay = (load: LoadName, label: string, bars: { share?: number; p99?: number; shareGoal?: number }) => (rounds: Rounds): Figure[] => {
  const offer = loads[load](0)
  const share: Value = (turn) => (100 * turn.tokens) / offered({ ...offer, windowMs: turn.windowMs })
  const drover = rounds['drover'] ?? []
  return [
    { name: `tokens/s relayed, ${label}`, unit: '/s', better: 'more', direct: middle(rounds['direct'], tokensPerS), proxy: middle(rounds['proxy'], tokensPerS), drover: middle(drover, tokensPerS) },
    {
      name: `share of what is offered, ${label}`, unit: '%', better: 'more', direct: middle(rounds['direct'], share), proxy: middle(rounds['proxy'], share),
      drover: middle(drover, share), ...(bars.share !== undefined && { bar: bars.share }), ...(bars.shareGoal !== undefined && { goal: bars.shareGoal }),
    },
    added(`token delay, ${label}, p50`, rounds, delay.p50),
    added(`token delay, ${label}, p99`, rounds, delay.p99, bars.p99),
    ...redisFigures(label, drover, 'tokens'),
    // Only here: elsewhere answers of earlier turns go meanwhile, which they do after a minute.
    { name: `Redis memory per 1,000 tokens, ${label}`, unit: 'KB', drover: middle(drover, ({ redis, allTokens }) => (1000 * redis.memory) / 1024 / allTokens) },
  ]
}

const short = (rounds: Rounds): Figure[] => {
  const drover = rounds['drover'] ?? []
  const bullmq = rounds['bullmq'] ?? []
  return [
    {
      name: 'short jobs, 64 in flight (judged: of BullMQ alone)', unit: '/s', better: 'more', direct: middle(rounds['direct'], answersPerS), proxy: middle(rounds['proxy'], answersPerS),
      floor: middle(bullmq, answersPerS), drover: middle(drover, answersPerS), judged: paired(drover, bullmq, answersPerS, (a, b) => a / b), bar: 0.25, goal: 0.35,
    },
    ...redisFigures('short jobs', drover, 'answer'),
  ]
}

export const figures: Record<LoadName, (rounds: Rounds) => Figure[]> = {
  first1: firstToken('1 stream', [1.5, 10], [1, 4]),
  rested1: (rounds) => [...firstToken('1 stream, rested')(rounds), ...redisFigures('1 stream of 8 tokens', rounds['drover'] ?? [], 'answer')],
  first32: (rounds) => [
    ...firstToken('32 streams', [2.5, 10], [1.3, 5])(rounds),
    added('token delay, 32 × 50 tokens/s, p50', rounds, delay.p50, 0.6, 0.35),
    added('token delay, 32 × 50 tokens/s, p99', rounds, delay.p99, 5, 2),
    ...redisFigures('32 × 50 tokens/s', rounds['drover'] ?? [], 'tokens'),
  ],
  first256: firstToken('256 streams', [5, 40], [2, 12]),
  relay100: relay('relay100', '500 × 100 tokens/s', { share: 99, p99: 75 }),
  relay200: relay('relay200', '500 × 200 tokens/s', { shareGoal: 99 }),
  short,
}

export const handOffFigures = (p50: number, p99: number): Figure[] => [
  { name: 'Redis hand-off, LPUSH to BRPOP, p50', unit: 'ms', floor: p50 },
  { name: 'Redis hand-off, LPUSH to BRPOP, p99', unit: 'ms', floor: p99 },
]

const kbEach = (from: { streams: number; rss: number }, to: { streams: number; rss: number }): number =>
  ((to.rss - from.rss) * 1024) / (to.streams - from.streams)
const inUse = ({ settled }: MemoryPoint): number => (settled ? settled.heap + settled.external : 0)
const withThousands = (streams: number): string => streams.toLocaleString('en')

export const memoryFigures = ({ gateway, worker, proxy, redisPerStream }: MemoryResult): Figure[] => {
  const [none, some, many] = [0, 1, 2].map((i) => ({ gateway: gateway[i], worker: worker[i], proxy: proxy[i] }))
  if (!none?.gateway || !none.worker || !none.proxy || !some?.gateway || !some.worker || !many?.gateway || !many.worker || !many.proxy) return []
  const kept = (from: MemoryPoint, to: MemoryPoint) => kbEach({ ...from, rss: inUse(from) }, { ...to, rss: inUse(to) })
  return [
    { name: 'gateway, no streams', unit: 'MB', proxy: none.proxy.rss, drover: none.gateway.rss },
    { name: `gateway, ${withThousands(many.gateway.streams)} streams`, unit: 'MB', proxy: many.proxy.rss, drover: many.gateway.rss },
    { name: 'gateway, per open stream', unit: 'KB', proxy: kbEach(none.proxy, many.proxy), drover: kbEach(none.gateway, many.gateway), bar: 40, goal: 30 },
    { name: 'gateway, per open stream, in use after a collection', unit: 'KB', drover: kept(none.gateway, many.gateway) },
    { name: 'worker, no streams', unit: 'MB', drover: none.worker.rss },
    { name: `worker, ${withThousands(some.worker.streams)} streams`, unit: 'MB', drover: some.worker.rss, bar: 150 },
    { name: `worker, ${withThousands(many.worker.streams)} streams`, unit: 'MB', drover: many.worker.rss },
    { name: 'worker, per further stream', unit: 'KB', drover: kbEach(some.worker, many.worker), bar: 35 },
    { name: 'worker, per further stream, in use after a collection', unit: 'KB', drover: kept(some.worker, many.worker) },
    { name: 'Redis, per open stream', unit: 'KB', drover: redisPerStream / 1024 },
  ]
}

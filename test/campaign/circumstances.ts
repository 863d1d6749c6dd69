import type { Order } from './client.ts'
import { DIALECTS } from './formats.ts'
import type { OrderOf } from './load.ts'
import type { Random } from './random.ts'
import { ENGINES, type Timed } from './schedule.ts'
import { MODELS } from './site.ts'

/** A short campaign in which one kind of mistake shows: what is done, what clients want, how the parts are set. */
export interface Circumstances {
  /** A line for people. */
  what: string
  minutes: number
  clients: number
  workers?: number
  env?: Record<string, string>
  order?: OrderOf
  faults(r: Random): Timed[]
}

/** A streamed answer to any route. */
const plain = (r: Random, key: string, tokens: number): Order => ({
  key, dialect: r.pick(DIALECTS), model: MODELS[r.pick(ENGINES)], stream: true, sampling: r.pick(['zero', 'free'] as const), tokens, script: {},
})

const SLOW_LINK_MS = 400
const TIMEOUT_MS = 5_000

export const CIRCUMSTANCES = {
  frozen: {
    // Long before its first token the job of a frozen worker runs elsewhere, and is still silent there when the worker wakes with all of its answer at hand.
    what: 'two of four workers frozen for longer than a lease, engines that take seconds to begin',
    minutes: 0.55,
    clients: 24,
    env: { DROVER_FIRST_TOKEN: '30s', DROVER_TOKEN_GAP: '30s' },
    order: (r, key) => ({ ...plain(r, key, r.int(5, 60)), stream: r.chance(0.4), script: { first_ms: r.int(3_500, 5_000), rate: r.int(60, 120) } }),
    faults: (r) => [0, 1, 2, 3].map((worker) => ({ at: 3_000 + Math.floor(worker / 2) * 15_000 + (worker % 2) * 1_500, fault: 'F2', worker, ms: r.int(5_500, 7_500) })),
  },
  forgetful: {
    what: 'Redis killed three times, each time without the last second that it had written',
    minutes: 0.4,
    clients: 24,
    order: (r, key) => ({ ...plain(r, key, r.int(60, 200)), script: { rate: r.int(40, 90) } }),
    faults: (r) => [4_000, 10_000, 16_000].map((at) => ({ at, fault: 'F5', downMs: r.int(0, 300), forgetsMs: r.int(400, 1_000) })),
  },
  repeated: {
    what: 'three in ten script calls sent twice',
    minutes: 0.3,
    clients: 24,
    env: { DROVER_SEND_TWICE: '0.3' },
    faults: () => [],
  },
  leaving: {
    what: 'Redis far from one gateway, clients that leave about when their answer ends',
    minutes: 0.4,
    clients: 30,
    order: (r, key) => {
      // Of that gateway the client hears everything late by one way to Redis and back: so long is the answer over, and nobody has told it.
      const [lastsMs, rate] = [r.int(700, 1_500), r.int(60, 100)]
      return { ...plain(r, key, Math.round((lastsMs * rate) / 1_000)), script: { rate }, leaves: { afterMs: lastsMs + r.int(100, 2 * SLOW_LINK_MS) } }
    },
    faults: () => [{ at: 2_000, fault: 'F6', how: 'slow', part: 'gateway', which: 0, delay: SLOW_LINK_MS, ms: 18_000 }],
  },
  late: {
    what: 'the only worker frozen, jobs with a deadline of five seconds',
    minutes: 0.4,
    clients: 24,
    workers: 1,
    env: { DROVER_TIMEOUT: `${TIMEOUT_MS}ms` },
    order: (r, key) => ({ ...plain(r, key, r.int(5, 30)), script: { rate: r.int(40, 80) }, deadlineMs: TIMEOUT_MS }),
    faults: () => [{ at: 3_000, fault: 'F2', worker: 0, ms: 12_000 }],
  },
} as const satisfies Record<string, Circumstances>
export type CircumstanceName = keyof typeof CIRCUMSTANCES

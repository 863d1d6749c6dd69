import { setTimeout as sleep } from 'node:timers/promises'
import { ask, type Order } from './client.ts'
import { DIALECTS } from './formats.ts'
import type { Tell } from './history.ts'
import type { Random } from './random.ts'
import { ENGINES, type EngineName } from './schedule.ts'
import { MODELS } from './site.ts'

/** How a client comes to leave (F14), and when. */
const leaving = (r: Random): Pick<Order, 'leaves' | 'script'> => {
  const where = r.pick(['queue', 'prefill', 'stream', 'stream'] as const)
  if (where === 'queue') return { leaves: { afterMs: r.int(0, 40) } }
  if (where === 'prefill') return { leaves: { afterMs: r.int(100, 600) }, script: { first_ms: 1_200, rate: 60 } }
  return { leaves: { afterTokens: r.int(1, 40) }, script: { rate: r.int(30, 80) } }
}

/** What the next client wants: mostly short, some long; one in twelve leaves, one in forty is slow. */
export const orderOf = (r: Random, key: string): Order => {
  const long = r.chance(0.22)
  const tokens = long ? r.int(60, 160) : r.int(3, 40)
  const dialect = r.pick(DIALECTS)
  const sampling = r.pick(['zero', 'seed', 'free', 'free'] as const)
  const base: Order = {
    key, dialect, model: MODELS[r.pick(ENGINES)], stream: r.chance(0.75), sampling, tokens,
    script: long ? { rate: r.int(40, 90) } : r.chance(0.5) ? { rate: r.int(50, 120) } : r.chance(0.3) ? { first_ms: r.int(50, 500) } : {},
    limit: r.chance(0.1) ? r.int(2, tokens + 10) : undefined,
  }
  if (r.chance(1 / 12)) return { ...base, stream: true, tokens: Math.max(tokens, 60), limit: undefined, ...leaving(r) }
  return r.chance(1 / 40) ? { ...base, stream: true, slowMs: r.int(20, 120) } : base
}

/** A short answer for those who come in crowds. */
const shortOrder = (r: Random, key: string): Order => ({
  key, dialect: r.pick(DIALECTS), model: MODELS[r.pick(ENGINES)], stream: r.chance(0.5), sampling: 'zero', tokens: r.int(2, 8), script: {},
})

export interface Load {
  /** So many more clients, once and all at the same time. */
  crowd(count: number, name: string): void
  /** A client whose job ends the engine that runs it, each time. */
  poison(which: EngineName, name: string): void
  /** Begins nothing new; resolves when all that was begun is over. */
  end(): Promise<void>
}

export interface LoadOptions {
  urls: readonly string[]
  /** Clients at once, each asking again when its answer is over. */
  places: number
  random: Random
  tell: Tell
  /** What the next client of a place wants; by default the mixture of `orderOf`. */
  order?: OrderOf | undefined
}

/** Chooses what a client wants; the key is its job's. */
export type OrderOf = (r: Random, key: string) => Order

/** Clients of many kinds, who try another gateway when one does not let them in. */
export const startLoad = ({ urls, places, random, tell, order: wanted = orderOf }: LoadOptions): Load => {
  const ending = new AbortController()
  const extra = new Set<Promise<void>>()
  /** One client: tries again, as another job, for as long as nothing is accepted. */
  const serve = async (order: Order, gateway: number): Promise<void> => {
    for (let tries = 0; tries < 40; tries += 1) {
      const key = tries === 0 ? order.key : `${order.key}-r${tries}`
      if ((await ask(urls, (gateway + tries) % urls.length, { ...order, key }, tell)) === 'over' || (ending.signal.aborted && tries > 5)) return
      await sleep(50 + 10 * tries)
    }
  }
  const place = async (name: string): Promise<void> => {
    const r = random.fork(name)
    for (let n = 0; !ending.signal.aborted; n += 1) {
      await serve(wanted(r, `${name}-${n}`), r.int(0, urls.length - 1))
      await sleep(r.int(0, 30))
    }
  }
  const standing = Array.from({ length: places }, (_, i) => place(`c${i}`))
  const add = (work: Promise<void>) => {
    extra.add(work)
    void work.finally(() => extra.delete(work))
  }
  return {
    crowd(count, name) {
      const r = random.fork(name)
      for (let i = 0; i < count; i += 1) add(serve(shortOrder(r, `${name}-${i}`), i % urls.length))
    },
    poison(which, name) {
      const order: Order = { key: name, dialect: which === 'ollama' ? 'ollama.chat' : 'openai.chat', model: MODELS[which], stream: true, sampling: 'free', tokens: 10, script: { die_at: 0 }, poison: true }
      // Only once: a poison that comes again is another poison.
      add(ask(urls, 0, order, tell).then(() => undefined))
    },
    async end() {
      ending.abort()
      await Promise.all(standing)
      while (extra.size > 0) await Promise.all(extra)
    },
  }
}

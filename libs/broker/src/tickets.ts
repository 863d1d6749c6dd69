import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'

/** A ticket is shown once, at the beginning of what may take hours; clocks of two machines may differ by most of this, ms. */
const GOOD_MS = 10 * 60_000

/** How long a secret is taken for the right one without a look, ms. */
const KEPT_MS = 15_000

/** A request of one node to another. */
export interface Visit {
  /** Whom it is made to: the ticket is of no use elsewhere. */
  node: string
  method: string
  /** With its query. */
  path: string
}

/** What is shown between those who know the same secret, because they use the same Redis; nothing of it tells the secret. */
export class Tickets {
  #secret: string

  constructor(secret: string) {
    this.#secret = secret
  }

  /** For one request, to be made within minutes. */
  ticket(visit: Visit, now = Date.now()): string {
    const until = now + GOOD_MS
    return `${until}.${this.#mark('ticket', until, visit.node, visit.method, visit.path)}`
  }

  /** Whether somebody who knows the secret has made this ticket, for just this request, a few minutes ago. */
  admits(ticket: string, { node, method, path }: Visit, now = Date.now()): boolean {
    const [until = '', mark = ''] = ticket.split('.')
    if (!/^\d{1,15}$/.test(until) || Math.abs(Number(until) - now - GOOD_MS) > GOOD_MS) return false
    return isSame(mark, this.#mark('ticket', Number(until), node, method, path))
  }

  /** Says of a text that it is the answer to a ticket, by somebody who knows the secret. */
  seal(ticket: string, text: string): string {
    return this.#mark('seal', ticket, text)
  }

  isSealed(ticket: string, text: string, seal: string): boolean {
    return isSame(seal, this.seal(ticket, text))
  }

  #mark(...parts: readonly (string | number)[]): string {
    return createHmac('sha256', this.#secret).update(JSON.stringify(parts)).digest('base64url')
  }
}

const isSame = (a: string, b: string): boolean => {
  const [one, other] = [Buffer.from(a), Buffer.from(b)]
  return one.length === other.length && timingSafeEqual(one, other)
}

/**
 * The tickets of an installation; whoever is the first to ask makes their secret. Redis is asked once in a while: one that has forgotten it is
 * given it again, and all come to the same.
 */
export const ticketsOf = ({ redis, keys }: { redis: Pick<Redis, 'set' | 'get'>; keys: Pick<Keys, 'copySecret'> }, keptMs = KEPT_MS): (() => Promise<Tickets>) => {
  let secret = randomBytes(32).toString('base64url')
  let known: Tickets | undefined
  let askedAt = -Infinity
  let asking: Promise<Tickets> | undefined
  const ask = async () => {
    await soon(redis.set(keys.copySecret, secret, 'NX'))
    const found = await soon(redis.get(keys.copySecret))
    if (!known || (found !== null && found !== secret)) {
      secret = found ?? secret
      known = new Tickets(secret)
    }
    askedAt = performance.now()
    return known
  }
  return async () => {
    if (known && performance.now() - askedAt < keptMs) return known
    asking ??= ask().finally(() => (asking = undefined))
    return asking.catch((error: unknown) => {
      // While Redis is away what was true stays so.
      if (known) return known
      throw error
    })
  }
}

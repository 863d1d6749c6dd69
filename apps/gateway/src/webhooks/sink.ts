import type { Claim } from '@drover/broker'
import { Webhook } from 'standardwebhooks'
import { Agent, request } from 'undici'
import { isPublic, literalOf } from './address.ts'
import { lookupBy, resolverFor, TargetError, type Resolve } from './resolve.ts'

/** Of an answer this much is read, so that the other side need not see a broken connection, and nothing of it is kept. */
const DROPPED_BYTES = 4 * 1024
const HEADER_BYTES = 16 * 1024

export interface SinkOptions {
  /** Addresses that are not public may be told, too. */
  allowPrivate: boolean
  /** From the name's resolution to the end of the answer, ms. */
  timeoutMs: number
  /** Stands in `user-agent`. */
  version: string
  resolve?: Resolve
}

/** What came of one try. */
export interface Told {
  status?: number
  /** What was wrong, for the owner; absent: it was answered 2xx. */
  reason?: string
}

/** What the receiver reads: `type`, `timestamp` and `data` as Standard Webhooks has them; the rest as OpenAI's clients know an event. */
export const payload = ({ event, type, at, data }: Pick<Claim, 'event' | 'type' | 'at' | 'data'>): string =>
  JSON.stringify({ id: event, object: 'event', type, timestamp: new Date(at).toISOString(), created_at: Math.floor(at / 1000), data: JSON.parse(data) as unknown })

const reasonOf = (error: unknown, timeoutMs: number): string => {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof TargetError) return each.message
    if (each.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
    const { code } = each as NodeJS.ErrnoException
    if (code !== undefined && /^[A-Z0-9_]{1,60}$/.test(code)) return `the request failed (${code})`
  }
  return 'the request failed'
}

/** Sends signed events, each on a connection of its own to an address that has been looked at. */
export const sink = ({ allowPrivate, timeoutMs, version, resolve = resolverFor(allowPrivate) }: SinkOptions) => {
  const agent = new Agent({
    // Without keep-alive: the next event may be for another address of the same name.
    pipelining: 0,
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { lookup: lookupBy(resolve), timeout: timeoutMs },
  })
  return {
    async tell(claim: Claim, abort: AbortSignal): Promise<Told> {
      const signal = AbortSignal.any([abort, AbortSignal.timeout(timeoutMs)])
      try {
        const url = new URL(claim.url)
        // A socket does not look up what is an address already.
        const literal = literalOf(url)
        if (literal !== undefined && !allowPrivate && !isPublic(literal)) throw new TargetError('the address is not public')
        const body = payload(claim)
        const now = new Date(claim.claimedAt)
        const { statusCode, body: answer } = await request(url, {
          method: 'POST',
          dispatcher: agent,
          signal,
          body,
          headers: {
            'content-type': 'application/json',
            'user-agent': `drover/${version}`,
            'webhook-id': claim.event,
            'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
            'webhook-signature': new Webhook(claim.secret).sign(claim.event, now, body),
          },
        })
        // What it says is decided by its status: the rest is nobody's.
        await answer.dump({ limit: DROPPED_BYTES, signal }).catch(() => undefined)
        if (statusCode >= 200 && statusCode < 300) return { status: statusCode }
        const redirected = statusCode >= 300 && statusCode < 400
        return { status: statusCode, reason: redirected ? `redirected (${statusCode}), which is not followed` : `answered ${statusCode}` }
      } catch (error) {
        return { reason: reasonOf(error, timeoutMs) }
      }
    },
    close: () => agent.destroy(),
  }
}
export type Sink = ReturnType<typeof sink>

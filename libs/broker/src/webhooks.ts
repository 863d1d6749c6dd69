import { randomBytes } from 'node:crypto'
import type { Caller, Owner } from '@drover/core'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** What webhooks are told of. */
export const EVENT_TYPES = ['job.completed', 'job.failed', 'job.cancelled', 'job.expired', 'batch.completed', 'batch.failed', 'batch.expired', 'batch.cancelled'] as const
export type EventType = (typeof EVENT_TYPES)[number]
/** Sent when its owner asks for it, whatever an endpoint is told of otherwise. */
export const TEST_TYPE = 'webhook.test'

/** An event that a gateway tells of. The ends of jobs and batches are told by the scripts that end them (`announce` in `lua/job.lua`). */
export interface WebhookEvent {
  type: EventType | typeof TEST_TYPE
  owner: Owner
  /** Of two events with one id the second is not told: one thing ends once. */
  id: string
  /** What it tells of, where that is not its id. */
  about?: string
  /** The one webhook that is told; absent: all of its owner's that want its type. */
  webhook?: string
}

/** An endpoint that is told of events. Its secret stays in Redis, but for those who sign with it. */
export interface Webhook {
  id: string
  owner: Owner
  url: string
  /** Empty: all of them. */
  events: readonly EventType[]
  createdAt: number
  /** Why it is told nothing more: `gone`, it has said so itself. */
  disabled?: string
  /** Events that it was not told of because too many waited for it. */
  lost: number
}

export interface NewWebhook extends Pick<Webhook, 'owner' | 'url' | 'events'> {
  secret: string
}

/** One event for one endpoint, to be sent by the gateway that has claimed it. */
export interface Claim {
  token: string
  webhook: string
  owner: string
  url: string
  secret: string
  /** The event's id for those who are told: the same in every try. */
  event: string
  type: string
  /** When it happened, epoch ms. */
  at: number
  /** JSON. */
  data: string
  /** Begun, this one included. */
  tries: number
  /** Failed since it was last begun anew. */
  step: number
  /** When it was claimed, epoch ms by Redis' clock. */
  claimedAt: number
}

/** How a try went. `gone`: the endpoint wants nothing more; `returned`: it was not made. */
export interface Verdict {
  kind: 'delivered' | 'retry' | 'failed' | 'gone' | 'returned'
  status?: number | undefined
  reason?: string | undefined
  /** ms to the next try. */
  delayMs?: number
}

/** A delivery as its owner may see it; times are epoch ms. */
export interface Delivery {
  event: string
  type: string
  state: 'pending' | 'delivered' | 'failed'
  at: number
  tries: number
  lastAt?: number
  status?: number
  reason?: string
  nextAt?: number
}

export interface DispatchOptions {
  /** A claim that has not been answered for by then is taken by another gateway, ms. */
  leaseMs: number
  most: number
  mostOfWebhook: number
  mostOfOwner: number
  /** Under way here, by webhook and by owner. */
  underWay: { webhooks: ReadonlyMap<string, number>; owners: ReadonlyMap<string, number> }
}

export interface WebhookStoreOptions {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** Of one owner. */
export const MOST_WEBHOOKS = 20
export const WebhookId = /^wh_[A-Za-z0-9_-]{22}$/

const FIELDS = ['own', 'url', 'events', 'at', 'off', 'lost'] as const

const counts = (of: ReadonlyMap<string, number>) => JSON.stringify(Object.fromEntries(of))

/** What a gateway says to Redis about webhooks. */
export class WebhookStore {
  #options: WebhookStoreOptions
  #token = randomBytes(12).toString('base64url')
  #tokens = 0

  constructor(options: WebhookStoreOptions) {
    this.#options = options
  }

  #newToken(): string {
    this.#tokens += 1
    return `${this.#token}.${this.#tokens.toString(36)}`
  }

  /** Resolves, with the id of its deliveries, when the event outlives this gateway. */
  async emit({ type, owner, id, about = id, webhook = '*' }: WebhookEvent): Promise<string> {
    const { keys, scripts, base } = this.#options
    await soon(scripts.announce([keys.claimed(this.#newToken())], [base, type, owner, id, JSON.stringify({ id: about }), webhook]))
    return `msg_${id}`
  }

  /** @returns `undefined`: its owner has as many as may be */
  async add({ owner, url, events, secret }: NewWebhook): Promise<Webhook | undefined> {
    const { keys, scripts } = this.#options
    const id = `wh_${randomBytes(16).toString('base64url')}`
    const names = events.length === 0 ? '' : ` ${events.join(' ')} `
    const sent = soon(scripts.enlist([keys.webhook(id), keys.webhooksOf(owner), keys.webhooks], [id, owner, url, names, secret, MOST_WEBHOOKS]))
    const [createdAt, added] = (await sent.catch((error: unknown) => {
      // What was sent may still arrive, and nobody has its secret. This comes behind it, on the same connection.
      void this.remove({ id, owner }).catch(() => undefined)
      throw error
    })) as [number, 0 | 1]
    return added === 1 ? { id, owner, url, events, createdAt, lost: 0 } : undefined
  }

  async find(id: string): Promise<Webhook | undefined> {
    if (!WebhookId.test(id)) return undefined
    const [own, url, events, at, off, lost] = await soon(this.#options.redis.hmget(this.#options.keys.webhook(id), ...FIELDS))
    if (!own) return undefined
    const webhook: Webhook = { id, owner: own as Owner, url: url ?? '', events: (events ?? '').split(' ').filter((name) => name !== '') as EventType[], createdAt: Number(at), lost: Number(lost ?? 0) }
    return off ? { ...webhook, disabled: off } : webhook
  }

  /** What a caller may see, the oldest first. */
  async list({ owner, scopes }: Caller): Promise<Webhook[]> {
    const { redis, keys } = this.#options
    const ids = await soon(redis.smembers(scopes.has('admin') ? keys.webhooks : keys.webhooksOf(owner)))
    const found = await Promise.all(ids.map((id) => this.find(id)))
    return found.filter((webhook) => webhook !== undefined).toSorted((a, b) => a.createdAt - b.createdAt)
  }

  async remove({ id, owner }: Pick<Webhook, 'id' | 'owner'>): Promise<void> {
    const { keys, scripts, base } = this.#options
    await soon(scripts.delist([keys.webhook(id), keys.webhooksOf(owner), keys.webhooks, keys.due, keys.pending(id), keys.past(id)], [base, id]))
  }

  /** Hands on what has ended, and claims what is due. `more`: there may be more to hand on. */
  async dispatch({ leaseMs, most, mostOfWebhook, mostOfOwner, underWay }: DispatchOptions): Promise<{ claims: Claim[]; more: boolean }> {
    const { keys, scripts, base } = this.#options
    const token = this.#newToken()
    const [handed, claimedAt, ...given] = (await scripts.dispatch(
      [keys.outbox, keys.due, keys.claimed(token)],
      [base, token, leaseMs, most, mostOfWebhook, mostOfOwner, counts(underWay.webhooks), counts(underWay.owners)],
    )) as [number, number, ...[string, string, string, string, string, string, number, string, number, number][]]
    const claims = given.map(([webhook, event, owner, url, secret, type, at, data, tries, step]) => ({ token, webhook, event, owner, url, secret, type, at, data, tries, step, claimedAt }))
    return { claims, more: handed > 0 }
  }

  /** Resolves with whether this claim was still its own. */
  async answer({ token, webhook, event }: Claim, { kind, status, reason, delayMs = 0 }: Verdict): Promise<boolean> {
    const { keys, scripts, base } = this.#options
    const args = [base, webhook, event, token, kind, status ?? '', reason ?? '', Math.round(delayMs)]
    return (await scripts.delivered([keys.delivery(webhook, event), keys.webhook(webhook)], args)) === 1
  }

  /** Begins a delivery anew. @returns `unknown`: there is none, or no longer; `disabled`: the webhook is told nothing more */
  async redeliver(webhook: string, event: string): Promise<'begun' | 'unknown' | 'disabled'> {
    const { keys, scripts, base } = this.#options
    const token = this.#newToken()
    const answer = await soon(scripts.redeliver([keys.delivery(webhook, event), keys.webhook(webhook), keys.past(webhook)], [base, webhook, event, token]))
    return answer === 1 ? 'begun' : answer === 0 ? 'unknown' : 'disabled'
  }

  /** Deliveries, the last events first: `most` of those that wait, the next ones, and `most` of those that are over, the last ones. */
  async deliveries(webhook: string, most: number): Promise<Delivery[]> {
    const { redis, keys } = this.#options
    const [pending, past] = await soon(Promise.all([redis.zrange(keys.pending(webhook), '0', `${most - 1}`), redis.zrange(keys.past(webhook), `${-most}`, '-1')]))
    const found = await Promise.all([...new Set([...pending, ...past])].map((event) => this.delivery(webhook, event)))
    return found.filter((delivery) => delivery !== undefined).toSorted((a, b) => b.at - a.at)
  }

  async delivery(webhook: string, event: string): Promise<Delivery | undefined> {
    const { redis, keys } = this.#options
    const [fields, next] = await soon(Promise.all([
      redis.hmget(keys.delivery(webhook, event), 'type', 'at', 'tries', 'last', 'status', 'err', 'state', 'claim'),
      redis.zscore(keys.pending(webhook), event),
    ]))
    const [type, at, tries, last, status, reason, state, claim] = fields
    if (!type) return undefined
    return {
      event,
      type,
      state: (state ?? 'pending') as Delivery['state'],
      at: Number(at),
      tries: Number(tries ?? 0),
      ...(last && { lastAt: Number(last) }),
      ...(status && { status: Number(status) }),
      ...(reason && { reason }),
      // While somebody is at it, it is known only after this try.
      ...(next !== null && !state && !claim && { nextAt: Number(next) }),
    }
  }
}

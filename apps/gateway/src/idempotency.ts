import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { GatewayConnection, Once } from '@drover/broker'
import { BrokerError, type JobId, type Owner } from '@drover/core'

const KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/

/** What a client calls a request that it may send again. @throws BrokerError `bad_request` for one that is none */
export const idempotencyKey = (headers: IncomingHttpHeaders): string | undefined => {
  const given = headers['idempotency-key']
  if (given === undefined) return undefined
  if (typeof given === 'string' && KEY.test(given)) return given
  throw new BrokerError('bad_request', 'invalid Idempotency-Key header: it has 1 to 255 printable characters of ASCII')
}

const sorted = (_name: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))) : value

/** A JSON text as it is whatever its spaces are and in whichever order its fields come; what is no JSON stays as it is. */
const canonical = (text: string): string => {
  try {
    return JSON.stringify(JSON.parse(text), sorted)
  } catch {
    return text
  }
}

/** What tells two requests apart; `route` names what is asked for, `body` is JSON text, or bytes that count as they are. */
const fingerprint = (route: string, body: string | Uint8Array): string =>
  createHash('sha256').update(route).update('\0').update(typeof body === 'string' ? canonical(body) : body).digest('base64url')

/** A name of 22 characters that an owner's key stands for: the same on every gateway, another for each kind of thing. */
const nameOf = (kind: string, owner: Owner, key: string, turn = 0): string =>
  createHash('sha256').update([kind, owner, turn, key].join('\0')).digest().toString('base64url', 0, 16)

export interface ClaimOptions {
  headers: IncomingHttpHeaders
  owner: Owner
  /** What is made, as `batch`. */
  kind: string
  /** JSON text, or bytes or a digest that count as they are. */
  body: string | Uint8Array
  /** Its id, should it not be a repetition. */
  id: string
  keepMs: number
}

/**
 * The id of something that a request makes, which of a repetition is that of the first: then it may be there already.
 * @throws BrokerError `bad_request` for an invalid key, `key_reused`, `broker_unavailable`
 */
export const claimedId = async (claims: GatewayConnection['claims'], { headers, owner, kind, body, id, keepMs }: ClaimOptions): Promise<string> => {
  const key = idempotencyKey(headers)
  return key === undefined ? id : claims.claim({ name: nameOf(kind, owner, key), fingerprint: fingerprint(kind, body), id, keepMs })
}

export interface OnceOptions {
  headers: IncomingHttpHeaders
  owner: Owner
  route: string
  body: string
}

/** What makes a request with a key one job, however often it comes. @throws BrokerError `bad_request` for an invalid key */
export const onceOf = ({ headers, owner, route, body }: OnceOptions): Once | undefined => {
  const key = idempotencyKey(headers)
  if (key === undefined) return undefined
  return { fingerprint: fingerprint(route, body), id: (turn) => `0-${nameOf('job', owner, key, turn)}` as JobId }
}

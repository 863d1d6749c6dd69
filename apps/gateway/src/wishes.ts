import type { IncomingHttpHeaders } from 'node:http'
import { BrokerError, type Layout } from '@drover/core'
import { duration } from '@drover/service'

/** What a client says in a header of ours, of the words that it knows. @throws BrokerError `bad_request` for another */
export const chosen = (headers: IncomingHttpHeaders, name: string, words: readonly string[]): string | undefined => {
  const given = headers[name]
  if (given === undefined || (typeof given === 'string' && words.includes(given))) return given
  throw new BrokerError('bad_request', `invalid ${name} header: it can be ${words.join(' or ')}`)
}

/** Whether a client that need not wait says that it does not (RFC 7240). Whatever else it prefers is passed over, as that asks. */
export const prefersAsync = ({ prefer }: IncomingHttpHeaders): boolean =>
  [prefer].flat().join(',').split(',').some((each) => each.split(';')[0]?.trim().toLowerCase() === 'respond-async')

/** How the model is to be run, by a header of ours. @throws BrokerError `bad_request` */
export const wantedLayout = (headers: IncomingHttpHeaders): Layout | undefined => {
  const distributed = chosen(headers, 'x-drover-distributed', ['true', 'false'])
  return distributed === undefined ? undefined : distributed === 'true' ? 'cluster' : 'node'
}

/** Least time that an answer is kept whose client says how long, ms. */
const LEAST_KEEP_MS = 1_000

/** How long the answer is to be kept after its end, ms; `undefined`: as long as is usual. @throws BrokerError `bad_request` */
export const wantedKeepMs = (headers: IncomingHttpHeaders, mostMs: number): number | undefined => {
  const given = headers['x-drover-keep']
  if (given === undefined) return undefined
  const wanted = duration({ min: LEAST_KEEP_MS, max: mostMs }).safeParse(given)
  if (wanted.success) return wanted.data
  throw new BrokerError('bad_request', `invalid x-drover-keep header: it is a time like 30m or 24h, from ${LEAST_KEEP_MS} ms to ${mostMs} ms`)
}

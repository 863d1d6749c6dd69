import { badQuery } from './errors.ts'

/** A part of a list, as OpenAI's lists are asked for. */
export interface Page {
  limit: number
  order: 'asc' | 'desc'
  /** The item behind which it begins. */
  after: string | undefined
}

/** @throws BrokerError `bad_request` */
export const readPage = (query: (name: string) => string | undefined): Page => {
  const { limit, order, after } = { limit: query('limit') ?? '20', order: query('order') ?? 'desc', after: query('after') }
  if (!/^\d{1,3}$/.test(limit) || Number(limit) < 1 || Number(limit) > 100) throw badQuery('limit', 'is 1 to 100')
  if (order !== 'asc' && order !== 'desc') throw badQuery('order', 'is asc or desc')
  return { limit: Number(limit), order, after }
}

/** @throws BrokerError `bad_request`: there is no item to begin behind */
export const pageOf = <T extends { id: string }>(items: readonly T[], { limit, order, after }: Page) => {
  const all = order === 'asc' ? items : items.toReversed()
  const at = after === undefined ? -1 : all.findIndex(({ id }) => id === after)
  if (after !== undefined && at < 0) throw badQuery('after', 'there is no such item')
  const data = all.slice(at + 1, at + 1 + limit)
  return { object: 'list', data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: at + 1 + limit < all.length }
}

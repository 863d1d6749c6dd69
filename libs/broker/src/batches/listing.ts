import type { Redis } from 'ioredis'

export interface Listing {
  /** A sorted set of ids by creation. */
  index: string
  /** Behind this one. One that is not there (any more) begins nowhere: then nothing is listed. */
  after?: string | undefined
  limit: number
  /** Newest first by default. */
  order?: 'asc' | 'desc'
}

/** Ids read at once. */
const PAGE = 200

/**
 * A page of what an index holds, and whether more comes behind it. `read` gives `undefined` for what is not there any more, or is not
 * asked for.
 */
export const list = async <T>(redis: Redis, { index, after, limit, order = 'desc' }: Listing, read: (ids: string[]) => Promise<(T | undefined)[]>): Promise<{ items: T[]; more: boolean }> => {
  let from = 0
  if (after !== undefined) {
    const rank = await (order === 'desc' ? redis.zrevrank(index, after) : redis.zrank(index, after))
    if (rank === null) return { items: [], more: false }
    from = rank + 1
  }
  const items: T[] = []
  for (; items.length <= limit; from += PAGE) {
    const ids = await (order === 'desc' ? redis.zrevrange(index, from, from + PAGE - 1) : redis.zrange(index, String(from), String(from + PAGE - 1)))
    for (const item of await read(ids)) if (item !== undefined) items.push(item)
    if (ids.length < PAGE) break
  }
  return { items: items.slice(0, limit), more: items.length > limit }
}

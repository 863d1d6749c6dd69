import { Redis } from 'ioredis'
import { expect } from 'vitest'
import type { RedisServer } from '../support/redis-server.ts'
import type { Place } from './places.ts'

const keysOf = async (redis: Redis, pattern: string): Promise<string[]> => {
  const found: string[] = []
  for (let cursor: string | undefined; cursor !== '0'; ) {
    const [next, some] = await redis.scan(cursor ?? '0', 'MATCH', pattern, 'COUNT', 1000)
    found.push(...some)
    cursor = next
  }
  return found
}

const namesOf = (parts: string | null | undefined): string[] => (JSON.parse(parts ?? '[]') as [string, number][]).map(([name]) => name)

/** All that lies in a place counts or is going to be removed, never both, and what counts is there: when no batch runs. */
export const expectAccounted = async ({ connection }: Pick<RedisServer, 'connection'>, prefix: string, place: Place): Promise<void> => {
  const redis = new Redis(connection)
  try {
    const files = await Promise.all((await keysOf(redis, `${prefix}:file:*`)).map((key) => redis.hgetall(key)))
    const counts = files.filter(({ gone, refs }) => gone === undefined || Number(refs ?? 0) > 0).flatMap(({ parts }) => namesOf(parts))
    const trash = new Set((await Promise.all((await keysOf(redis, `${prefix}:trash:*`)).map((key) => redis.zrange(key, '0', '-1')))).flat())
    const there = await place.contents()
    expect({ lost: counts.filter((name) => !there.includes(name)), nobodys: there.filter((name) => !counts.includes(name) && !trash.has(name)), both: counts.filter((name) => trash.has(name)) }).toEqual({ lost: [], nobodys: [], both: [] })
  } finally {
    redis.disconnect()
  }
}

import { Redis } from 'ioredis'
import type { RedisServer } from '../support/redis-server.ts'

/** Redis' own counters; all but `memory` only grow. */
export interface RedisCounters {
  /** Calls from outside: scripts and blocking pops. What a script calls in its turn is not in it. */
  calls: number
  /** Commands, those inside scripts included. */
  commands: number
  /** Reads from sockets: calls that were sent together count once. */
  reads: number
  bytesIn: number
  bytesOut: number
  /** Bytes of the append-only file; it shrinks when Redis rewrites it. */
  aof: number
  memory: number
}

export interface RedisMeter {
  read(): Promise<RedisCounters>
  close(): void
}

const number = (text: string, name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1] ?? 0)
const calls = (text: string, name: string) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(text)?.[1] ?? 0)

export const redisMeter = (server: RedisServer): RedisMeter & { version(): Promise<string> } => {
  const redis = new Redis({ ...server.connection, maxRetriesPerRequest: null })
  redis.on('error', () => undefined)
  return {
    async read() {
      const info = `${await redis.info()}\n${await redis.info('commandstats')}`
      return {
        calls: calls(info, 'evalsha') + calls(info, 'eval') + calls(info, 'bzpopmin'),
        commands: number(info, 'total_commands_processed'),
        reads: number(info, 'total_reads_processed'),
        bytesIn: number(info, 'total_net_input_bytes'),
        bytesOut: number(info, 'total_net_output_bytes'),
        aof: number(info, 'aof_current_size'),
        memory: number(info, 'used_memory'),
      }
    },
    version: async () => /^redis_version:(\S+)/m.exec(await redis.info('server'))?.[1] ?? '',
    close: () => redis.disconnect(),
  }
}

export const counted = (before: RedisCounters, after: RedisCounters): RedisCounters => {
  const names = Object.keys(before) as (keyof RedisCounters)[]
  return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as unknown as RedisCounters
}

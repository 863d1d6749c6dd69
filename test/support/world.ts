import { Redis } from 'ioredis'
import { test as base } from 'vitest'
import type { ScriptedEngineOptions } from '../engine/options.ts'
import { startScriptedEngine, type ScriptedEngine } from '../engine/server.ts'
import { Installation, type Environment } from './drover.ts'
import { startRedis, type RedisOptions, type RedisServer } from './redis-server.ts'

/** Starts scripted engines; all of them end with the test (or file) that has it. */
export type StartScripted = (options?: ScriptedEngineOptions) => Promise<ScriptedEngine>

/** What Redis has refused its users since it was last started: user, reason, and the command, key or channel. */
const refusals = async (server: RedisServer): Promise<string[]> => {
  const redis = new Redis({ ...server.connection, lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => undefined)
  try {
    const entries = (await redis.call('ACL', 'LOG', '100')) as unknown[]
    return entries.flatMap((entry) => {
      const field = (name: string) => (Array.isArray(entry) ? entry[entry.indexOf(name) + 1] : (entry as Record<string, unknown>)[name]) as unknown
      // The client tells its version where it may, and Redis 7.0 has no name for that.
      return field('object') === 'client|setinfo' ? [] : [[field('username'), field('reason'), field('object')].map(String).join(' ')]
    })
  } catch {
    return [] // the test has left it dead, or it is too old to know users
  } finally {
    redis.disconnect()
  }
}

const starter = (defaults: ScriptedEngineOptions) => {
  const started: ScriptedEngine[] = []
  const start: StartScripted = async (options) => {
    const engine = await startScriptedEngine({ ...defaults, ...options })
    started.push(engine)
    return engine
  }
  return { start, close: async () => void (await Promise.all(started.map((engine) => engine.close()))) }
}

/** What a file may want otherwise: `test.override('settings', …)`. */
interface WorldSettings {
  redis: RedisOptions
  env: Environment
  engine: ScriptedEngineOptions
}

/** A failed test leaves streams open: nobody waits for those. */
const SETTINGS: WorldSettings = { redis: {}, env: { DROVER_DRAIN_LIMIT: '500ms' }, engine: {} }

/**
 * A Redis for each file, where gateways and workers may do what `drover up --share` lets them, and no more; for each test an installation with a prefix of its own, and engines. `house` and `engines` are the same
 * for all tests of a file: for tables of cases that cannot get into each other's way.
 */
export const test = base
  .extend('settings', { scope: 'file' }, SETTINGS)
  .extend('redis', { scope: 'file' }, async ({ settings }, { onCleanup }) => {
    const redis = await startRedis({ roles: true, ...settings.redis })
    onCleanup(async () => {
      const refused = await refusals(redis)
      await redis.stop()
      // Much is tried again, or left for later, when Redis says no: only its own log tells.
      if (refused.length > 0) throw new Error(`Redis refused what a role needs: ${refused.join(', ')}`)
    })
    return redis
  })
  .extend('house', { scope: 'file' }, async ({ redis, settings }, { onCleanup }) => {
    const house = new Installation(redis.url, settings.env, redis.urlFor)
    onCleanup(() => house.stop())
    return house
  })
  .extend('engines', { scope: 'file' }, async ({ settings }, { onCleanup }) => {
    const { start, close } = starter(settings.engine)
    onCleanup(close)
    return start
  })
  .extend('drover', async ({ redis, settings }, { onCleanup }) => {
    const drover = new Installation(redis.url, settings.env, redis.urlFor)
    onCleanup(() => drover.stop())
    return drover
  })
  .extend('scripted', async ({ settings }, { onCleanup }) => {
    const { start, close } = starter(settings.engine)
    onCleanup(close)
    return start
  })

export const DIALECTS = ['ollama.chat', 'ollama.generate', 'openai.chat'] as const
export type DialectName = (typeof DIALECTS)[number]

export const PATHS: Record<DialectName, string> = {
  'ollama.chat': '/api/chat',
  'ollama.generate': '/api/generate',
  'openai.chat': '/v1/chat/completions',
}

/** The cases of a table that every dialect has to pass, streamed and not. */
export const BOTH_WAYS = DIALECTS.flatMap((dialect) => [true, false].map((stream) => ({ dialect, stream, way: stream ? 'streamed' : 'whole' })))

/** Everything that a stream gives. @throws what the stream throws */
export const all = async <T>(stream: AsyncIterable<T>): Promise<T[]> => {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

import { connect, keys } from '@drover/broker'
import { NodeRecord } from '@drover/core'
import { connect as connectSocket } from 'node:net'
import { once } from 'node:events'

export interface RedisPlace {
  url: string
  ca?: string | undefined
  sentinelPassword?: string | undefined
}

/** What a Redis says of itself. */
export interface RedisAnswers {
  /** Fields of `INFO`. */
  info: ReadonlyMap<string, string>
  /** Settings; empty where our user may not read them. */
  config: ReadonlyMap<string, string>
  /** Flags of the user that everybody is who gives no name; `undefined` where ours may not look. */
  defaultUser: readonly string[] | undefined
  /** Its clock minus ours, ms; `undefined` where our user may not ask. */
  skewMs: number | undefined
  /** Half of what the asking took, so what the skew may be wrong by, ms. */
  skewErrorMs: number
  /** By name. */
  nodes: NodeRecord[]
}

const SETTINGS = ['appendfsync', 'bind', 'protected-mode', 'requirepass', 'port']
const PROBE_MS = 2_000

/** A refused connection is told at once; the client would try again for seconds. @throws what keeps us from a connection */
const probe = async (url: string): Promise<void> => {
  const path = /^unix:(\/.+)$/.exec(url)?.[1]
  const at = /^rediss?:\/\//.test(url) ? new URL(url) : undefined
  if (path === undefined && at === undefined) return
  const host = at?.hostname.replaceAll(/^\[|\]$/g, '') || '127.0.0.1'
  const socket = path === undefined ? connectSocket({ host, port: Number(at?.port || 6379) }) : connectSocket(path)
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(PROBE_MS) })
  } catch (error) {
    throw error instanceof Error && error.name === 'AbortError' ? new Error(`no connection in ${PROBE_MS / 1_000} s`, { cause: error }) : error
  } finally {
    socket.destroy()
  }
}

/** Asks a Redis what can be known of it. @throws Error when it cannot be reached or used */
export const askRedisAll = async (place: RedisPlace, prefix: string): Promise<RedisAnswers> => {
  await probe(place.url)
  const redis = await connect(place, 'drover-doctor')
  try {
    const text = await redis.info()
    const config = new Map<string, string>()
    await Promise.all(
      SETTINGS.map(async (name) => {
        const [, value] = await readPair(redis.config('GET', name))
        if (value !== undefined) config.set(name, value)
      }),
    )
    const defaultUser = await redis.call('ACL', 'GETUSER', 'default').then(flagsOf, () => undefined)
    const asked = performance.now()
    const time = await redis.time().catch(() => undefined)
    const took = performance.now() - asked
    const names = keys(prefix)
    const ids = await redis.zrange(names.nodes, '0', '-1').catch(() => [])
    const records = await Promise.all(ids.map((id) => redis.hget(names.node(id), 'record').catch(() => null)))
    return {
      info: new Map([...text.matchAll(/^([^#:\r\n]+):(.*?)\r?$/gm)].map(([, name = '', value = '']) => [name, value])),
      config,
      defaultUser,
      skewMs: time && Number(time[0]) * 1_000 + Number(time[1]) / 1_000 - (Date.now() - took / 2),
      skewErrorMs: took / 2,
      nodes: records.flatMap(readRecord).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    }
  } finally {
    redis.disconnect()
  }
}

/** A setting as `[name, value]`; nothing where our user may not read it. */
const readPair = async (reply: Promise<unknown>): Promise<string[]> => {
  const value = await reply.catch(() => [])
  if (Array.isArray(value)) return value.map(String)
  return typeof value === 'object' && value !== null ? (Object.entries(value)[0]?.map(String) ?? []) : []
}

/** `flags` of `ACL GETUSER`, a list of names and values or an object, by protocol. */
const flagsOf = (reply: unknown): string[] | undefined => {
  const list: unknown[] | undefined = Array.isArray(reply) ? reply : undefined
  const flags = list ? list[list.indexOf('flags') + 1] : (reply as { flags?: unknown } | null)?.flags
  return Array.isArray(flags) ? flags.map(String) : undefined
}

const readRecord = (text: string | null): NodeRecord[] => {
  if (text === null) return []
  try {
    const parsed = NodeRecord.safeParse(JSON.parse(text))
    return parsed.success ? [parsed.data] : []
  } catch {
    return []
  }
}

import type { Redis } from 'ioredis'
import { BrokerError } from '@drover/core'
import { locatedBy, type Locate } from './locate.ts'
import { type AddressSettings, redisClient, withoutSecrets } from './redis-address.ts'

/** Commands wait for Redis as long as it takes and are sent again when their reply was lost, so every script is idempotent. */
export interface ConnectionSettings extends AddressSettings {
  /** Asked before each try to connect, where the host of the URL may have moved. */
  locate?: Locate | undefined
  /** Test switch: share of script calls that are sent twice, as after a lost reply. 0 to 1. */
  sendTwice?: number
}

/** How long a new process waits for Redis before it gives up, ms. */
const START_TIMEOUT = 5_000
/**
 * Over a network a connection may die without a word: a link that is cut, a router that forgets it. It is asked for a sign of life this
 * often, also so that no router on the way takes it for idle; and given up when what was asked is not answered for so long, ms.
 */
const PING_MS = 4_000
const SILENT_MS = 5_000
const CONNECT_MS = 3_000

/** @throws BrokerError `broker_unavailable` when Redis does not answer within 5 s, with the reason */
export const connect = async ({ sendTwice = 0, locate, ...address }: ConnectionSettings, name: string): Promise<Redis> => {
  const settings = {
    connectionName: name,
    lazyConnect: true,
    maxRetriesPerRequest: null,
    // Redis restarts within tens of milliseconds: look again soon, then several times a second.
    // A Redis that reads its log again says how long that may take, and is mostly done long before.
    maxLoadingRetryTime: 250,
    retryStrategy: (times: number) => Math.min(25 * 2 ** Math.min(times - 1, 4), 300) * (0.75 + Math.random() / 2),
  }
  const remote = !address.url.startsWith('unix:')
  const redis = redisClient(address, {
    ...settings,
    ...(remote && { socketTimeout: SILENT_MS, connectTimeout: CONNECT_MS }),
    ...(locate && { Connector: locatedBy(locate) }),
  })
  let last: Error | undefined
  // Without a listener a connection error ends the process; each one is seen again by the commands that wait.
  redis.on('error', (error: Error) => (last = error))
  let timer: NodeJS.Timeout | undefined
  try {
    redis.connect().catch(() => undefined)
    await new Promise<void>((resolve, reject) => {
      // Not by its `end` event: a client that is told to stop between two tries never sends one.
      timer = setTimeout(() => reject(last), START_TIMEOUT)
      redis.once('ready', resolve)
      redis.once('end', () => reject(last))
      redis.once('error', (error: Error) => {
        if (/WRONGPASS|NOAUTH|NOPERM/.test(error.message)) reject(error)
      })
    })
  } catch (cause) {
    redis.disconnect()
    const reason = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : 'no answer'
    throw new BrokerError('broker_unavailable', `Redis at ${withoutSecrets(address.url)} cannot be used: ${reason}${adviceOn(reason)}`, { cause })
  } finally {
    clearTimeout(timer)
  }
  if (remote) keepAsking(redis)
  if (sendTwice > 0) sendScriptsTwice(redis, sendTwice)
  return redis
}

const adviceOn = (reason: string | undefined): string =>
  reason?.includes('WRONGPASS') ? '; the password or the user is not (or no longer) the right one: correct it, or join anew' : ''

/** An answer that does not come in time ends the connection, and the next is made. */
const keepAsking = (redis: Redis): void => {
  const timer = setInterval(() => redis.status === 'ready' && void redis.ping().catch(() => undefined), PING_MS).unref()
  redis.once('end', () => clearInterval(timer))
}

/** Every script call is, by chance, preceded by its own double: what a client library does when a reply was lost. */
const sendScriptsTwice = (redis: Redis, share: number): void => {
  const send = redis.sendCommand.bind(redis)
  redis.sendCommand = (command, ...rest) => {
    if (/^eval/i.test(command.name) && Math.random() < share) void redis.call(command.name, ...(command.args as string[])).catch(() => undefined)
    return send(command, ...rest)
  }
}

/**
 * Milliseconds since this connection came up, 0 while it is down. Just after Redis was away, signs of life that depend on
 * others are missing for no fault of theirs: whoever judges by absence first waits until everybody could have spoken.
 */
export const upFor = (redis: Redis): (() => number) => {
  let since = redis.status === 'ready' ? performance.now() : undefined
  redis.on('ready', () => (since = performance.now()))
  redis.on('close', () => (since = undefined))
  return () => (since === undefined ? 0 : performance.now() - since)
}

/** Long enough up to judge others by their silence, ms. */
export const JUDGE_AFTER_MS = 5_000

/** The first line of a script that is to run when Redis has reached its memory limit. An older Redis takes it for an error. */
export const ALLOW_OOM = '#!lua flags=allow-oom\n'

/** Redis' answer to a write that needs memory beyond its limit. */
export const isOutOfMemory = (error: unknown): boolean => error instanceof Error && error.message.startsWith('OOM ')

/** Bytes of memory in use and at most, as `maxmemory` counts them. */
export interface MemoryUse {
  used: number
  /** Absent: no limit is set. */
  limit?: number
}

/** @throws ioredis' error when Redis does not answer */
export const memoryUse = async (redis: Redis): Promise<MemoryUse> => {
  const info = await redis.info('memory')
  const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
  const limit = field('maxmemory')
  return { used: field('used_memory') - field('mem_not_counted_for_evict'), ...(limit > 0 && { limit }) }
}

export interface RedisFacts {
  version: string
  appendOnly: boolean
  evicts: boolean
  /** Scripts may say that they are to run when memory is full: Redis 7 and Valkey. */
  scriptFlags: boolean
}

/**
 * What must be known of a Redis before jobs are trusted to it.
 * @throws BrokerError `internal` when it evicts keys, unless `allowEviction`: jobs would vanish silently
 */
export const checkRedis = async (redis: Redis, { allowEviction = false } = {}): Promise<RedisFacts> => {
  const info = await redis.info()
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''
  const policy = field('maxmemory_policy')
  const scriptFlags = await redis.eval(`${ALLOW_OOM}return 1`, 0).then(() => true, () => false)
  const facts = { version: field('redis_version'), appendOnly: field('aof_enabled') === '1', evicts: policy !== 'noeviction', scriptFlags }
  if (facts.evicts && !allowEviction)
    throw new BrokerError('internal', `Redis evicts keys (maxmemory-policy ${policy}), so jobs could vanish: set it to noeviction, or start with --allow-eviction`)
  return facts
}

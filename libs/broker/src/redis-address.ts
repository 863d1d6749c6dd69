import { readFileSync } from 'node:fs'
import { BrokerError } from '@drover/core'
import { Redis, type RedisOptions } from 'ioredis'

/** Answers come as the client maps them by itself. */
type ClientOptions = Omit<RedisOptions, 'replyMapping'>

export interface AddressSettings {
  /**
   * `redis[s]://[user:password@]host[:port][/database]`, `unix:/path` or `unix://user:password@/path`, or
   * `redis[s]-sentinel://[user:password@]host[:port],host[:port]…/NAME`, where user and password are those of the Redis that the
   * sentinels name.
   */
  url: string
  /** PEM file of the authorities that a `rediss` server's certificate may come from; the system's when absent. */
  ca?: string | undefined
  /** What the sentinels themselves ask for. */
  sentinelPassword?: string | undefined
}

const SENTINEL_PORT = 26_379

const credentials = (user = '', password = ''): ClientOptions => ({
  ...(user && { username: decodeURIComponent(user) }),
  ...(password && { password: decodeURIComponent(password) }),
})

/** `host`, `host:port` or `[address]:port`. */
const readHost = (text: string): { host: string; port: number } | undefined => {
  const [, bracketed, plain, port] = /^(?:\[([\da-f:.]+)\]|([^:\s]+))(?::(\d{1,5}))?$/i.exec(text) ?? []
  const host = bracketed ?? plain
  return host === undefined ? undefined : { host, port: port === undefined ? SENTINEL_PORT : Number(port) }
}

const readCa = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new BrokerError('bad_request', `the file of Redis' certificate authority ${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** What a URL says to the client beyond what it reads itself. @throws BrokerError `bad_request` for one that cannot be read */
export const redisOptions = ({ url, ca, sentinelPassword }: AddressSettings): ClientOptions => {
  const unix = /^unix:(?:\/\/(?:([^:@/]*):([^@/]*)@)?)?(\/.+)$/.exec(url)
  if (unix) return { path: unix[3] ?? '', ...credentials(unix[1], unix[2]) }

  const secure = url.startsWith('rediss')
  const tls = secure ? { ...(ca !== undefined && { ca: readCa(ca) }) } : undefined
  const sentinel = /^rediss?-sentinel:\/\/(?:([^:@/]*):([^@/]*)@)?([^/@\s]+)\/([^/\s?]+)$/.exec(url)
  if (sentinel) {
    const sentinels = (sentinel[3] ?? '').split(',').map(readHost)
    if (!sentinels.every((each) => each !== undefined)) throw new BrokerError('bad_request', `${withoutSecrets(url)} names a sentinel that is no host:port`)
    return {
      sentinels,
      name: decodeURIComponent(sentinel[4] ?? ''),
      ...credentials(sentinel[1], sentinel[2]),
      ...(sentinelPassword !== undefined && { sentinelPassword }),
      ...(tls && { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
    }
  }

  if (!/^rediss?:\/\//.test(url) || !URL.canParse(url)) throw new BrokerError('bad_request', `${withoutSecrets(url)} is no address of a Redis`)
  // The client reads the rest of such a URL itself.
  return tls ? { tls } : {}
}

export const redisClient = (address: AddressSettings, settings: ClientOptions): Redis => {
  const options: ClientOptions = { ...settings, ...redisOptions(address) }
  return /^rediss?:\/\//.test(address.url) ? new Redis(address.url, options) : new Redis(options)
}

/** A URL as it may be shown. */
export const withoutSecrets = (url: string): string => url.replace(/\/\/[^@/]*@/, '//…@')

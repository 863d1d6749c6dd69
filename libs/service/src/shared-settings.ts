import { z } from 'zod'
import { DEFAULT_PREFIX } from './join.ts'
import { setting } from './setting.ts'

/** The YAML section for what several apps have in common. */
export const SHARED = 'shared'

const PREFIX = /^[A-Za-z0-9{}:_-]{1,64}$/

const SENTINELS = /^rediss?-sentinel:\/\/(?:[^:@/\s]*:[^@/\s]*@)?[^/@\s]+\/[^/\s?]+$/

/** `redis://…`, `rediss://…`, `redis-sentinel://host,host/NAME`, or `unix:/path/to/redis.sock`, all with `user:password@` or without. */
export const redisUrl = () =>
  z.string().transform((text, context) => {
    const [, login = '', socket] = /^unix:(?:\/\/([^:@/]*:[^@/]*@)?)?(\/.+)$/.exec(text) ?? []
    if (socket !== undefined) return login === '' ? `unix:${socket}` : `unix://${login}${socket}`
    if (/^rediss?:\/\/[^\s]+$/.test(text) && URL.canParse(text)) return text
    if (SENTINELS.test(text)) return text
    context.addIssue({ code: 'custom', message: 'expected redis://host:port, rediss://host:port, redis-sentinel://host:port,host:port/NAME or unix:/path/to/redis.sock' })
    return z.NEVER
  })

export const redisSettings = {
  redisUrl: setting({
    schema: redisUrl().default('redis://127.0.0.1:6379'),
    describe: 'the Redis or Valkey that gateways and workers share: redis://, rediss://, redis-sentinel:// or unix:/path',
    env: ['REDIS_URL'],
    section: SHARED,
    secret: 'url',
  }),
  redisCa: setting({ schema: z.string().optional(), describe: 'PEM file of the authority that a rediss:// certificate comes from', section: SHARED }),
  sentinelPassword: setting({ schema: z.string().optional(), describe: 'what the sentinels ask for, where they do', section: SHARED, secret: true }),
  prefix: setting({
    schema: z.string().regex(PREFIX, 'expected 1 to 64 letters, digits or {}:_-').default(DEFAULT_PREFIX),
    describe: 'what every key of this installation begins with in Redis',
    section: SHARED,
  }),
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export const logSettings = {
  logLevel: setting({ schema: z.enum(LOG_LEVELS).default('info'), describe: `log level: ${LOG_LEVELS.join(', ')}`, section: SHARED }),
  logFormat: setting({
    schema: z.enum(['auto', 'json', 'pretty']).default('auto'),
    describe: 'json lines, or pretty ones for people; auto: pretty on a terminal',
    section: SHARED,
  }),
}

/** Every setting that may stand in the shared section, whichever app reads it. */
export const sharedSettings = { ...redisSettings, ...logSettings }

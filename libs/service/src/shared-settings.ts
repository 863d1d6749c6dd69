import { z } from 'zod'
import { setting } from './setting.ts'

/** The YAML section for what several apps have in common. */
export const SHARED = 'shared'

const PREFIX = /^[A-Za-z0-9{}:_-]{1,64}$/

/** `redis://…`, `rediss://…`, or `unix:/path/to/redis.sock`. */
export const redisUrl = () =>
  z.string().transform((text, context) => {
    const socket = /^unix:(?:\/\/)?(\/.+)$/.exec(text)?.[1]
    if (socket !== undefined) return `unix:${socket}`
    if (/^rediss?:\/\/[^\s]+$/.test(text) && URL.canParse(text)) return text
    context.addIssue({ code: 'custom', message: 'expected redis://host:port, rediss://host:port or unix:/path/to/redis.sock' })
    return z.NEVER
  })

export const redisSettings = {
  redisUrl: setting({
    schema: redisUrl().default('redis://127.0.0.1:6379'),
    describe: 'the Redis or Valkey that gateways and workers share: redis://, rediss:// or unix:/path',
    env: ['REDIS_URL'],
    section: SHARED,
    secret: 'url',
  }),
  prefix: setting({
    schema: z.string().regex(PREFIX, 'expected 1 to 64 letters, digits or {}:_-').default('{drover}'),
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

import { z } from 'zod'

/** What a machine needs to join an installation: where its Redis is, and a role's password there. */
export interface JoinToken {
  /** The role, which is the user's name in Redis: `worker` or `gateway`. */
  user: string
  password: string
  host: string
  port: number
  prefix: string
}

export const DEFAULT_PREFIX = '{drover}'
const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)

/** `drover://user:password@host:port`, and `/prefix` where it is not the default. */
export const formatJoin = ({ user, password, host, port, prefix }: JoinToken): string =>
  `drover://${user}:${password}@${bracketed(host)}:${port}${prefix === DEFAULT_PREFIX ? '' : `/${encodeURIComponent(prefix)}`}`

const TOKEN = /^drover:\/\/([\w.-]+):([^\s:@/]+)@(\[[\da-f:.]+\]|[^\s:@/]+):(\d{1,5})(?:\/([^\s/]+))?$/i

export const parseJoin = (text: string): JoinToken | undefined => {
  const [, user, password, host, port, prefix] = TOKEN.exec(text.trim()) ?? []
  if (user === undefined || password === undefined || host === undefined) return undefined
  return { user, password, host: host.replaceAll(/[[\]]/g, ''), port: Number(port), prefix: prefix === undefined ? DEFAULT_PREFIX : decodeURIComponent(prefix) }
}

export const joinToken = () =>
  z.string().transform((text, context) => {
    const token = parseJoin(text)
    if (token !== undefined) return token
    context.addIssue({ code: 'custom', message: 'expected what "drover up --share" prints: drover://USER:PASSWORD@ADDRESS:PORT' })
    return z.NEVER
  })

/** The password alone, or a token that it is taken from. */
export const joinKey = () =>
  z
    .string()
    .transform((text) => parseJoin(text)?.password ?? text.trim())
    .refine((text) => /^[^\s:@/]+$/.test(text), 'expected the password in the line that "drover up --share" prints')

/** The Redis of a token as a URL. */
export const redisOf = ({ user, password, host, port }: JoinToken): string => `redis://${user}:${password}@${bracketed(host)}:${port}`

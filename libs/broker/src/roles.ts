import { createHash } from 'node:crypto'
import { keys } from './keys.ts'

/** Who speaks to a shared Redis. */
export const ROLES = ['gateway', 'worker'] as const
export type Role = (typeof ROLES)[number]

/** What every connection says of itself, and what a new process must know of its Redis. */
const CONNECTION = 'ping info client|setname eval evalsha subscribe unsubscribe'
/** What both roles do to keys, nearly all of it within scripts. */
const BOTH =
  'del exists get hdel hexists hget hgetall hincrby hmget hmset hset incr lindex llen lpos lpush lrange lrem ltrim persist pexpire pttl rpush sadd scard set sismember smembers ' +
  'srem time xadd xrange xrevrange xtrim zadd zcard zrange zrangebyscore zrank zrem zremrangebyscore zrevrangebyscore zscore'

/** What gateways do besides for files and batches. */
const FILES = 'bitcount getbit setbit zrevrange zrevrank'

/** Commands of each role, by the names of Redis' access control; `publish` is given with its channels. */
export const COMMANDS: Readonly<Record<Role, readonly string[]>> = {
  gateway: `${CONNECTION} ${BOTH} ${FILES} hlen`.split(' '),
  worker: `${CONNECTION} ${BOTH} bzpopmin rpoplpush zpopmin zremrangebyrank zrevrange`.split(' '),
}

/** What a role may touch: a gateway all of the installation, a worker what it works on; nobody anything beyond the prefix. */
const reach = (role: Role, prefix: string): { keys: string[]; hears: string[]; tells: string[] } => {
  const named = keys(prefix)
  const any = '*'
  if (role === 'gateway') return { keys: [`~${prefix}:*`], hears: [`&${named.replies(any)}`, `&${named.apiKeysChanged}`], tells: [`&${named.replies(any)}`, `&${named.control(any)}`, `&${named.apiKeysChanged}`] }
  const own = [`${named.lanePrefix}:*`, named.lanes, named.bytes, named.deadlines, `${prefix}:job:*`, `${prefix}:jobs:*`, named.nodes, named.node(any), named.loans(any), named.description(any), named.wake(any), named.took(any), named.sweep, named.copySecret, `${prefix}:use:*`]
  return {
    // Whether a gateway lives, what it writes, and which nodes are drained decide what becomes of jobs: that is only to be read.
    // What has ended it tells, and cannot read; who has webhooks it may know, not what they are.
    keys: [...own.map((key) => `~${key}`), ...[named.gateway(any), named.wire, named.drained, named.webhooksOf(any)].map((key) => `%R~${key}`), `%W~${named.outbox}`],
    hears: [`&${named.control(any)}`],
    tells: [`&${named.replies(any)}`, `&${named.control(any)}`],
  }
}

/** The rules of a role for one prefix, as `ACL SETUSER` takes them. They need Redis 7 or Valkey: older ones have no selectors. */
export const roleRules = (role: Role, prefix: string): string[] => {
  const { keys: patterns, hears, tells } = reach(role, prefix)
  const commands = COMMANDS[role].map((command) => `+${command}`)
  return ['resetkeys', ...patterns, 'resetchannels', ...hears, '-@all', ...commands, `(-@all +publish resetchannels ${tells.join(' ')})`]
}

/** Passwords of a shared Redis: one for each role, and one for whoever runs it. */
export type Passwords = Record<Role | 'owner', string>

/** Stops it, and moves it to another address. */
const OWNER_RULES = ['-@all', '+ping', '+shutdown', '+config|set']

/** The file of users for `--aclfile`: hashes of the passwords only, and nobody without one. */
export const userFile = (passwords: Passwords, prefix: string): string => {
  const user = (name: keyof Passwords, rules: readonly string[]) =>
    `user ${name} reset on sanitize-payload #${createHash('sha256').update(passwords[name]).digest('hex')} ${rules.join(' ')}`
  return ['user default reset off', ...ROLES.map((role) => user(role, roleRules(role, prefix))), user('owner', OWNER_RULES), ''].join('\n')
}

import { z } from 'zod'
import type { Source } from './config.ts'
import { EXIT, ExitError } from './exit.ts'
import { type JoinToken, joinKey, joinToken, redisOf } from './join.ts'
import { type Found, findOnLan, isOurs } from './lan.ts'
import { setting } from './setting.ts'

/** How a gateway or worker is told of the installation that it joins, instead of a Redis by URL. */
export const joinSettings = {
  join: setting({
    schema: joinToken().optional(),
    describe: 'join the installation of this token, which "drover up --share" prints; DROVER_JOIN_FILE names a file with it',
    secret: true,
  }),
  discover: setting({ schema: z.boolean().default(false), describe: 'find the installation on the local network, where "drover up --share --announce" runs' }),
  joinKey: setting({ schema: joinKey().optional(), describe: 'for --discover: the password in the token, or the token', secret: true }),
}

/** How long the installation is looked for at the start, and again when it seems to have moved, ms. */
const FIRST_LOOK_MS = 5_000
const NEXT_LOOK_MS = 1_500

/** The Redis that a process is to use. */
export interface RedisTarget {
  url: string
  prefix: string
  ca?: string | undefined
  sentinelPassword?: string | undefined
  /** Where it is now, for one that was found on the network. */
  locate?: () => Promise<{ host: string; port: number }>
}

interface Joining {
  redisUrl: string
  prefix: string
  redisCa?: string | undefined
  sentinelPassword?: string | undefined
  join?: JoinToken | undefined
  discover: boolean
  joinKey?: string | undefined
}

/**
 * The Redis by URL, by token, or found on the network.
 * @throws ExitError when two of them are given, or none is found
 */
export const redisTarget = async (user: string, values: Joining, sources: Readonly<Partial<Record<keyof Joining, Source>>>): Promise<RedisTarget> => {
  const { redisUrl, prefix, redisCa, sentinelPassword, join, discover, joinKey: key } = values
  const given = (['redisUrl', 'join', 'discover'] as const).filter((name) => (name === 'discover' ? discover : sources[name] !== 'default'))
  if (given.length > 1) {
    const ways = given.map((name) => sources[name] ?? name).join(' and ')
    throw new ExitError(`${ways} each say where Redis is: give one of them`)
  }
  if (!join && !discover) return { url: redisUrl, prefix, ca: redisCa, sentinelPassword }
  const own = sources.prefix === 'default' ? undefined : prefix

  if (join) {
    if (join.user !== user) throw new ExitError(`the token of --join is one for a ${join.user}, and this is a ${user}: take the line for a ${user}`)
    checkPrefix(own, join.prefix)
    return { url: redisOf(join), prefix: join.prefix }
  }

  if (key === undefined) throw new ExitError(strangers(await findOnLan(() => false, NEXT_LOOK_MS), user))
  const wanted = (found: Found) => isOurs(found, user, key)
  const found = await findOnLan(wanted, FIRST_LOOK_MS)
  const ours = found.at(-1)
  if (ours === undefined) throw new ExitError(nobody, EXIT.failed)
  if (!wanted(ours)) throw new ExitError(`the key does not belong to what announces itself here, or not to a ${user} there:\n${list(found)}`)
  checkPrefix(own, ours.prefix)
  return { url: redisOf({ ...ours, user, password: key }), prefix: ours.prefix, locate: locator(ours, wanted) }
}

const checkPrefix = (own: string | undefined, theirs: string): void => {
  if (own !== undefined && own !== theirs) throw new ExitError(`the installation's keys begin with ${theirs}, not with ${own}: leave --prefix out`)
}

/** Asks the network each time, for all connections of this process at once; where nobody answers, the last address stands. */
const locator = (first: Found, wanted: (found: Found) => boolean) => {
  let last = first
  let fresh = true
  let looking: Promise<Found> | undefined
  const look = async (): Promise<Found> => {
    const found = (await findOnLan(wanted, NEXT_LOOK_MS)).findLast(wanted)
    return (last = found ?? last)
  }
  return async (): Promise<{ host: string; port: number }> => {
    // It has just been found: what opens its first connections need not look again.
    if (fresh) setTimeout(() => (fresh = false), NEXT_LOOK_MS).unref()
    else looking ??= look().finally(() => (looking = undefined))
    return looking ?? last
  }
}

const list = (found: readonly Found[]): string => found.map(({ name, host, port, version, prefix }) => `  ${name} at ${host}:${port} (drover ${version}, prefix ${prefix})`).join('\n')

const nobody = 'no Drover announces itself on this network: start one with "drover up --share --announce", or join with --join'

const strangers = (found: readonly Found[], user: string): string =>
  found.length === 0
    ? nobody
    : `found on this network:\n${list(found)}\nto join one, give its key with --join-key or DROVER_JOIN_KEY: the password in the line for a ${user} that "drover up --share" prints there`

import { lookup as systemLookup, Resolver } from 'node:dns/promises'
import type { LookupFunction } from 'node:net'
import { isPublic } from './address.ts'

/** A name server that does not answer costs this long at most, ms. */
const ASK_MS = 2_000
const ASK_TIMES = 2

export interface Address {
  address: string
  family: 4 | 6
}
/** All addresses of a name. Rejects when it has none. */
export type Resolve = (name: string) => Promise<Address[]>

/** What is wrong with where a webhook points; worded for its owner, who is told no address of ours. */
export class TargetError extends Error {
  override readonly name = 'TargetError'
}

/**
 * By the name servers alone, on sockets of our own: the system's way has two threads for the whole process, and names of strangers
 * may be made so that they are never answered. What is only in this machine's own files is not public anyhow.
 */
const byNameServers = async (name: string): Promise<Address[]> => {
  if (isLocal(name)) return [{ address: '127.0.0.1', family: 4 }]
  const resolver = new Resolver({ timeout: ASK_MS, tries: ASK_TIMES })
  const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
  const found: Address[] = [
    ...(four.status === 'fulfilled' ? four.value.map((address): Address => ({ address, family: 4 })) : []),
    ...(six.status === 'fulfilled' ? six.value.map((address): Address => ({ address, family: 6 })) : []),
  ]
  if (found.length === 0) throw new TargetError('the name was not found')
  return found
}

/** Names that are this machine whatever a name server says. */
const isLocal = (name: string): boolean => /(^|\.)localhost\.?$/i.test(name)

const bySystem: Resolve = async (name) => {
  const found = await systemLookup(name, { all: true }).catch(() => [])
  if (found.length === 0) throw new TargetError('the name was not found')
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}

/** @throws TargetError when one of them is not public */
export const onlyPublic =
  (resolve: Resolve): Resolve =>
  async (name) => {
    const found = await resolve(name)
    if (!found.every(({ address }) => isPublic(address))) throw new TargetError('the name has an address that is not public')
    return found
  }

/** How names of webhooks are resolved. Where private addresses are allowed, as everything else on this machine resolves them. */
export const resolverFor = (allowPrivate: boolean): Resolve => (allowPrivate ? bySystem : onlyPublic(byNameServers))

/** For a socket: it connects to one of the addresses that `resolve` has let through, and the name is not asked for a second time. */
export const lookupBy =
  (resolve: Resolve): LookupFunction =>
  (name, options, callback) => {
    resolve(name).then(
      (found) => {
        const wanted = options.family === 4 || options.family === 'IPv4' ? 4 : options.family === 6 || options.family === 'IPv6' ? 6 : 0
        const fitting = wanted === 0 ? found : found.filter(({ family }) => family === wanted)
        const [first] = fitting
        if (!first) callback(new TargetError('the name was not found'), '')
        else if (options.all) callback(null, fitting)
        else callback(null, first.address, first.family)
      },
      (error: unknown) => callback(error instanceof Error ? error : new TargetError('the name was not found'), ''),
    )
  }

import { isIP, isIPv4 } from 'node:net'
import { ExitError, isPrivate } from '@drover/service'

/** What `--share` stands for when it is given without an address. */
export const AUTO = 'auto'

export interface OwnAddress {
  address: string
  /** The network interface that has it. */
  name: string
}

const ANY = new Set(['0.0.0.0', '::'])

const loopback = (address: string): boolean => address.startsWith('127.') || address === '::1'

const listed = (addresses: readonly OwnAddress[]): string => addresses.map(({ address, name }) => `${address} (${name})`).join(', ')

export interface SharedAt {
  /** What Redis listens on. */
  bind: string
  /** What other machines are told. */
  hosts: string[]
}

/**
 * Where Redis is shared: the address asked for, or with `auto` this machine's only private one.
 * @throws ExitError when there is none, more than one to choose from, or it is not this machine's
 */
export const sharedAt = (asked: string, own: readonly OwnAddress[]): SharedAt => {
  const inside = own.filter(({ address }) => isPrivate(address))
  if (asked === AUTO) {
    const [only, ...others] = inside
    if (only === undefined) throw new ExitError('this machine has no private IPv4 address to share on: name one with --share ADDRESS')
    if (others.length > 0) throw new ExitError(`this machine has several private addresses: name one of ${listed(inside)} with --share ADDRESS`)
    return { bind: only.address, hosts: [only.address] }
  }
  if (isIP(asked) === 0) throw new ExitError(`${asked} is no IP address: name one of this machine's with --share ADDRESS${inside.length === 0 ? '' : `, like ${listed(inside)}`}`)
  if (ANY.has(asked)) {
    const hosts = own.filter(({ address }) => isIPv4(address)).map(({ address }) => address)
    if (hosts.length === 0) throw new ExitError(`this machine has no address that others could reach: correct --share ${asked}`)
    return { bind: asked, hosts }
  }
  if (!loopback(asked) && isIPv4(asked) && !own.some(({ address }) => address === asked)) {
    throw new ExitError(`${asked} is not an address of this machine${own.length === 0 ? '' : `, which has ${listed(own)}`}: correct --share`)
  }
  return { bind: asked, hosts: [asked] }
}

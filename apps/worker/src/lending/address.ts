import { isIPv4 } from 'node:net'
import { ExitError, isPrivate } from '@drover/service'

const isLoopback = (address: string): boolean => address.startsWith('127.')

/**
 * Checks an address that others are to reach this machine at, for what only those of its own network may have.
 * @param flag the setting that names it
 * @param own this machine's addresses, loopback left out
 * @param risk what speaks against the address of another network, and what else could be done
 * @throws ExitError that says what is wrong with it
 */
export const checkPrivateAddress = (flag: string, address: string, own: readonly { address: string; name: string }[], risk: string, instead = ''): void => {
  const inside = own.filter((each) => isPrivate(each.address)).map((each) => `${each.address} (${each.name})`)
  const advice = inside.length === 0 ? '' : `: this machine has ${inside.join(', ')}`
  if (!isIPv4(address)) throw new ExitError(`--${flag} ${address} is no IPv4 address${advice}`)
  if (isLoopback(address)) return
  if (!isPrivate(address)) throw new ExitError(`--${flag} ${address} is not an address of a private network, and ${risk}: name one${advice}${instead}`)
  if (!own.some((each) => each.address === address)) throw new ExitError(`--${flag} ${address} is not an address of this machine${advice}`)
}

/** The address that rpc-servers are to be bound to: whoever reaches one may do with it what he likes. */
export const checkLendAddress = (address: string, own: readonly { address: string; name: string }[]): void =>
  checkPrivateAddress('lend-address', address, own, 'what is lent asks nobody for a password', ', or lend through a tunnel (docs/lending.md)')

import { isIPv4 } from 'node:net'
import { ExitError, isPrivate } from '@drover/service'

const isLoopback = (address: string): boolean => address.startsWith('127.')

/**
 * Checks the address that rpc-servers are to be bound to: whoever reaches one may do with it what he likes, so it must be an address that
 * only a private network reaches.
 * @param own this machine's addresses, loopback left out
 * @throws ExitError that says what is wrong with it
 */
export const checkLendAddress = (address: string, own: readonly { address: string; name: string }[]): void => {
  const inside = own.filter((each) => isPrivate(each.address)).map((each) => `${each.address} (${each.name})`)
  const advice = inside.length === 0 ? '' : `: this machine has ${inside.join(', ')}`
  if (!isIPv4(address)) throw new ExitError(`--lend-address ${address} is no IPv4 address${advice}`)
  if (isLoopback(address)) return
  if (!isPrivate(address))
    throw new ExitError(`--lend-address ${address} is not an address of a private network, and what is lent asks nobody for a password: name one${advice}, or lend through a tunnel (docs/lending.md)`)
  if (!own.some((each) => each.address === address)) throw new ExitError(`--lend-address ${address} is not an address of this machine${advice}`)
}

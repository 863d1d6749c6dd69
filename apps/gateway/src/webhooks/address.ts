import { BlockList, isIP } from 'node:net'

/** IPv4 that is not the public internet: this machine, private and shared networks, link-local (where clouds have their metadata), tests, relays, multicast, and what is reserved. */
const IPV4_REFUSED = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.31.196.0/24', '192.52.193.0/24',
  '192.88.99.0/24', '192.168.0.0/16', '192.175.48.0/24', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4',
  // A cloud's own service, at an address that looks public.
  '168.63.129.16/32',
]

/** All that is public of IPv6 lies here, and so nothing that only wraps an IPv4 address of any kind (mapped, NAT64) … */
const IPV6_PUBLIC = '2000::/3'
/** … but for these: protocols' own addresses with Teredo, documentation, 6to4. */
const IPV6_REFUSED = ['2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20']

const listOf = (family: 'ipv4' | 'ipv6', ranges: readonly string[]): BlockList => {
  const list = new BlockList()
  for (const range of ranges) {
    const [net = '', bits] = range.split('/')
    list.addSubnet(net, Number(bits), family)
  }
  return list
}

const refused4 = listOf('ipv4', IPV4_REFUSED)
const public6 = listOf('ipv6', [IPV6_PUBLIC])
const refused6 = listOf('ipv6', IPV6_REFUSED)

/** Whether an address, as a resolver gives it, is one of the public internet. What is no address is not. */
export const isPublic = (address: string): boolean => {
  const kind = isIP(address)
  if (kind === 4) return !refused4.check(address, 'ipv4')
  // One with a zone is link-local.
  return kind === 6 && !address.includes('%') && public6.check(address, 'ipv6') && !refused6.check(address, 'ipv6')
}

/** The address that stands in a URL in place of a name, or `undefined`. The URL parser has already put odd forms (decimal, octal, short) into the usual one. */
export const literalOf = ({ hostname }: URL): string | undefined => {
  const bare = hostname.replace(/^\[|\]$/g, '')
  return isIP(bare) === 0 ? undefined : bare
}

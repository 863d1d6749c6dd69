import { expect, test } from 'vitest'
import { checkLendAddress } from './address.ts'

const OWN = [{ address: '192.168.1.5', name: 'eth0' }, { address: '100.72.3.4', name: 'wg0' }, { address: '203.0.113.9', name: 'eth1' }]

test.each(['127.0.0.1', '127.0.0.2', '192.168.1.5', '100.72.3.4'])('%s may be bound to', (address) => {
  expect(() => checkLendAddress(address, OWN)).not.toThrow()
})

test.each([
  ['0.0.0.0', 'is not an address of a private network'],
  ['203.0.113.9', 'is not an address of a private network'],
  ['169.254.1.1', 'is not an address of a private network'],
  ['192.168.1.6', 'is not an address of this machine: this machine has 192.168.1.5 (eth0), 100.72.3.4 (wg0)'],
  ['::', 'is no IPv4 address'],
  ['::1', 'is no IPv4 address'],
  ['localhost', 'is no IPv4 address'],
  ['', 'is no IPv4 address'],
  ['127.1', 'is no IPv4 address'],
])('%s is refused', (address, reason) => {
  expect(() => checkLendAddress(address, OWN)).toThrow(reason)
})

import { expect, test } from 'vitest'
import { AUTO, sharedAt } from './address.ts'

const lan = { address: '192.168.1.5', name: 'eth0' }
const bridge = { address: '172.17.0.1', name: 'docker0' }
const outside = { address: '8.8.4.4', name: 'eth1' }

test.each([
  [AUTO, [lan], { bind: '192.168.1.5', hosts: ['192.168.1.5'] }],
  [AUTO, [outside, lan], { bind: '192.168.1.5', hosts: ['192.168.1.5'] }],
  ['172.17.0.1', [lan, bridge], { bind: '172.17.0.1', hosts: ['172.17.0.1'] }],
  ['127.0.0.1', [], { bind: '127.0.0.1', hosts: ['127.0.0.1'] }],
  ['0.0.0.0', [lan, bridge], { bind: '0.0.0.0', hosts: ['192.168.1.5', '172.17.0.1'] }],
])('--share %s on %j', (asked, own, expected) => expect(sharedAt(asked, own)).toEqual(expected))

test.each([
  [AUTO, [], /no private IPv4 address.*--share ADDRESS/],
  [AUTO, [outside], /no private IPv4 address/],
  [AUTO, [lan, bridge], /several private addresses.*192\.168\.1\.5 \(eth0\), 172\.17\.0\.1 \(docker0\)/],
  ['192.168.1.6', [lan], /192\.168\.1\.6 is not an address of this machine, which has 192\.168\.1\.5 \(eth0\)/],
  ['here', [lan], /here is no IP address/],
  ['0.0.0.0', [], /no address that others could reach/],
])('--share %s on %j is refused', (asked, own, reason) => expect(() => sharedAt(asked, own)).toThrow(reason))

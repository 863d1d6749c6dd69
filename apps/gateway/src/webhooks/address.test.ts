import { expect, test } from 'vitest'
import { isPublic, literalOf } from './address.ts'

test.each([
  // This machine, nowhere in particular.
  '127.0.0.1', '127.255.255.254', '0.0.0.0', '0.1.2.3', '::1', '::',
  // Private, shared, link-local.
  '10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '100.64.0.1', '100.127.255.255', 'fc00::1', 'fd12:3456::1', 'fe80::1', 'fe80::1%eth0', 'febf::1', 'fec0::1',
  // Metadata of clouds.
  '169.254.169.254', '169.254.170.2', '100.100.100.200', '192.0.0.192', '168.63.129.16', 'fd00:ec2::254',
  // Many at once, reserved, documentation, tests.
  '224.0.0.1', '239.255.255.250', '255.255.255.255', '240.0.0.1', 'ff02::1', 'ff0e::1', '192.0.2.1', '198.51.100.7', '203.0.113.9', '198.18.0.1', '2001:db8::1', '3fff::1', '5f00::1', '100::1',
  // IPv4 within IPv6, of whatever kind: mapped, compatible, NAT64, 6to4, Teredo, relays.
  '::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:10.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '::8.8.8.8', '64:ff9b::7f00:1', '64:ff9b::8.8.8.8', '64:ff9b:1::1', '2002:7f00:1::', '2002:a00:1::1', '2001:0:7f00:1::', '2001::1', '192.88.99.1',
  // No addresses.
  '', 'localhost', '2130706433', '0x7f.1', '127.1', '1.2.3.4.5', '[::1]', '8.8.8.8 ',
])('%s is not public', (address) => {
  expect(isPublic(address)).toBe(false)
})

test.each(['8.8.8.8', '1.1.1.1', '9.255.255.255', '11.0.0.1', '172.15.255.255', '172.32.0.1', '100.63.255.255', '100.128.0.1', '169.253.0.1', '192.167.255.255', '223.255.255.255', '198.20.0.1', '2606:4700::1111', '2a00:1450:4001::1', '2001:4860:4860::8888', '2001:200::1', '2003::1'])(
  '%s is public',
  (address) => {
    expect(isPublic(address)).toBe(true)
  },
)

test.each([
  ['http://2130706433/', '127.0.0.1'], ['http://0x7f000001/', '127.0.0.1'], ['http://0177.0.0.1/', '127.0.0.1'], ['http://127.1/', '127.0.0.1'], ['http://0x7f.1/', '127.0.0.1'],
  ['http://017700000001/', '127.0.0.1'], ['http://0/', '0.0.0.0'], ['http://127.0.0.1./', '127.0.0.1'], ['http://①②⑦.⓪.⓪.①/', '127.0.0.1'], ['http://%31%32%37.0.0.1/', '127.0.0.1'],
  ['http://0xa9fea9fe/', '169.254.169.254'], ['http://[::1]/', '::1'], ['http://[0:0:0:0:0:0:0:1]/', '::1'], ['http://[::ffff:127.0.0.1]/', '::ffff:7f00:1'], ['http://[64:ff9b::127.0.0.1]/', '64:ff9b::7f00:1'],
])('the host of %s is the address %s, which is not public', (url, address) => {
  expect(literalOf(new URL(url))).toBe(address)
  expect(isPublic(address)).toBe(false)
})

test.each(['http://[fe80::1%25eth0]/', 'http://[fe80::1%eth0]/', 'http://256.0.0.1/', 'http://0x100000000/'])('%s is no URL', (url) => {
  expect(URL.canParse(url)).toBe(false)
})

test.each(['https://example.com/', 'https://localhost/', 'https://127.0.0.1.example.com/'])('%s has a name', (url) => {
  expect(literalOf(new URL(url))).toBe(undefined)
})

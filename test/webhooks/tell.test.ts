import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { onlyPublic, type Address, type Resolve } from '../../apps/gateway/src/webhooks/resolve.ts'
import { sink, type SinkOptions } from '../../apps/gateway/src/webhooks/sink.ts'
import type { Claim } from '@drover/broker'
import { startSink, verified } from './sink.ts'

const SECRET = `whsec_${Buffer.alloc(24, 1).toString('base64')}`
const claimOf = (url: string): Claim => ({
  token: 't', webhook: 'wh_1', owner: 'anna', url, secret: SECRET, event: 'msg_1', type: 'job.completed', at: Date.now() - 1_000, data: '{"id":"1"}', tries: 1, step: 0, claimedAt: Date.now(),
})

const teller = (options: Partial<SinkOptions> = {}) => {
  const made = sink({ allowPrivate: true, timeoutMs: 60_000, version: '1.2.3', ...options })
  onTestFinished(() => made.close())
  return (url: string) => made.tell(claimOf(url), new AbortController().signal)
}

/** A server that answers with bytes of its own, and never reads on. */
const rawSink = async (answer: (socket: Socket) => void) => {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => undefined)
    socket.once('data', () => answer(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, sockets }
}

const HERE: Address = { address: '127.0.0.1', family: 4 }
const PUBLIC: Address = { address: '93.184.216.34', family: 4 }

test('the connection goes to an address that was looked at: the name is asked for once', async () => {
  const receiver = await startSink()
  onTestFinished(receiver.close)
  // A name that says something else as soon as it is asked again.
  const resolve = vi.fn<Resolve>().mockResolvedValueOnce([HERE]).mockRejectedValue(new Error('asked again'))
  expect(await teller({ resolve })(`http://sink.example:${receiver.port}/x?y=1`)).toEqual({ status: 204 })
  expect(resolve.mock.calls).toEqual([['sink.example']])
  expect(receiver.heard[0]!.headers).toMatchObject({ host: `sink.example:${receiver.port}`, 'user-agent': 'drover/1.2.3' })
  verified(receiver.heard[0]!, SECRET)
})

test.each<[string, Address[]]>([
  ['private', [{ address: '10.1.2.3', family: 4 }]],
  ['private besides a public one', [PUBLIC, HERE]],
  ['wrapped in IPv6', [{ address: '::ffff:93.184.216.34', family: 6 }]],
  ['link-local, with a zone', [{ address: 'fe80::1%lo', family: 6 }]],
])('a name whose address is %s is not told', async (_what, addresses) => {
  const receiver = await startSink()
  onTestFinished(receiver.close)
  const tell = teller({ allowPrivate: false, resolve: onlyPublic(() => Promise.resolve(addresses)) })
  expect(await tell(`http://sink.example:${receiver.port}/`)).toEqual({ reason: 'the name has an address that is not public' })
  expect(receiver.heard).toEqual([])
})

test('an address in place of a name is looked at, too, though nobody resolves it', async () => {
  const receiver = await startSink()
  onTestFinished(receiver.close)
  const resolve = vi.fn<Resolve>()
  for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]'])
    expect(await teller({ allowPrivate: false, resolve })(`http://${host}:${receiver.port}/`)).toEqual({ reason: 'the address is not public' })
  expect([resolve.mock.calls, receiver.heard]).toEqual([[], []])
})

test('of an answer without end a little is read, and its status counts', async () => {
  const { url, sockets } = await rawSink((socket) => {
    const pour = () => {
      while (!socket.destroyed && socket.write('x'.repeat(10_000)));
    }
    socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n')
    socket.on('drain', pour)
    pour()
  })
  expect(await teller()(url)).toEqual({ status: 200 })
  await expect.poll(() => sockets[0]!.destroyed).toBe(true)
})

test('headers without end are a failure', async () => {
  const { url } = await rawSink((socket) => {
    socket.write('HTTP/1.1 200 OK\r\n')
    const pour = () => {
      while (!socket.destroyed && socket.write(`x-more: ${'x'.repeat(1_000)}\r\n`));
    }
    socket.on('drain', pour)
    pour()
  })
  expect(await teller()(url)).toEqual({ reason: expect.stringMatching(/^the request failed/) as string })
})

test.each<[string, string]>([
  ['nothing', ''],
  ['half a header', 'HTTP/1.1 200 OK\r\nx-'],
  ['that it will be a while, again and again', 'HTTP/1.1 102 Processing\r\n\r\n'],
])('who says %s is waited for only so long', async (_what, bytes) => {
  const { url } = await rawSink((socket) => void socket.write(bytes))
  expect(await teller({ timeoutMs: 300 })(url)).toEqual({ reason: expect.stringMatching(/^no answer within 300 ms$|^the request failed/) as string })
})

test('an answer of 200 whose body does not come counts, and holds its place no longer than an answer may take', async () => {
  const { url } = await rawSink((socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx'))
  // Long enough for its header to be read, however busy the machine is.
  expect(await teller({ timeoutMs: 3_000 })(url)).toEqual({ status: 200 })
})

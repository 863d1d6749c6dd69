import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../support/drover.ts'
import { startFaultProxy } from './fault-proxy.ts'

/** Not `once`: that rejects with the error which comes before. */
const closed = (socket: Socket) => new Promise<void>((resolve) => void socket.once('close', () => resolve()))

/** A server that says everything back, a way to it, and what comes back. */
const echo = async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => void socket.on('error', () => undefined).pipe(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await startFaultProxy((server.address() as AddressInfo).port)
  onTestFinished(() => {
    proxy.close()
    server.close()
  })
  const client = (): { socket: Socket; heard(): string } => {
    const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
    let text = ''
    socket.on('error', () => undefined)
    socket.setEncoding('utf8').on('data', (more: string) => (text += more))
    return { socket, heard: () => text }
  }
  return { proxy, client, server }
}

test('bytes pass in order, and an end passes behind them', async () => {
  const { client } = await echo()
  const { socket, heard } = client()
  const long = Array.from({ length: 200_000 }, (_, i) => `${i}\n`).join('')
  socket.end(long)
  await once(socket, 'end')
  expect(heard() === long).toBe(true)
})

test('what is late comes later, whole and in order', async () => {
  const { proxy, client } = await echo()
  await proxy.set({ delay: 100 })
  const { socket, heard } = client()
  const began = performance.now()
  for (const piece of ['a', 'b', 'c']) {
    socket.write(piece)
    await sleep(10)
  }
  await until('all is back', () => heard() === 'abc')
  expect(performance.now() - began).toBeGreaterThan(195)
})

test.for(['up', 'down', 'both'] as const)('a stopped way (%s) says nothing, and what was under way arrives when it is healed', async (stopped) => {
  const { proxy, client } = await echo()
  const { socket, heard } = client()
  socket.write('before ')
  await until('it is back', () => heard() === 'before ')
  await proxy.set({ stopped })
  socket.write('after')
  const late = client()
  late.socket.write('new')
  await sleep(150)
  expect([heard(), late.heard()]).toEqual(['before ', ''])
  await proxy.set({})
  await until('both are back', () => heard() === 'before after' && late.heard() === 'new')
})

test('a throttled way takes its time', async () => {
  const { proxy, client } = await echo()
  await proxy.set({ rate: 20_000 })
  const { socket, heard } = client()
  const began = performance.now()
  socket.write('x'.repeat(5_000))
  await until('all is back', () => heard().length === 5_000)
  expect(performance.now() - began).toBeGreaterThan(150)
})

test('a reset is heard on both sides, and the next connection works', async () => {
  const { proxy, client, server } = await echo()
  const [{ socket }, [far]] = await Promise.all([client(), once(server, 'connection') as Promise<[Socket]>])
  socket.write('x')
  await once(socket, 'data')
  const heard = Promise.all([closed(socket), closed(far)])
  proxy.reset()
  await heard
  const next = client()
  next.socket.write('again')
  await until('it is back', () => next.heard() === 'again')
})

test('refused is refused, until it is not, on the same port', async () => {
  const { proxy, client } = await echo()
  await proxy.set({ refused: true })
  const failed = connect({ port: proxy.port, host: '127.0.0.1' })
  const [error] = (await once(failed, 'error')) as [NodeJS.ErrnoException]
  expect(error.code).toBe('ECONNREFUSED')
  await proxy.set({})
  const next = client()
  next.socket.write('in')
  await until('it is back', () => next.heard() === 'in')
})

test('nobody behind it: who connects is cut off', async () => {
  const { proxy, client, server } = await echo()
  server.close()
  await once(server, 'close')
  const { socket } = client()
  await closed(socket)
  await until('nothing is left', () => proxy.open === 0)
})

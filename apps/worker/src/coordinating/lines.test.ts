import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startLineServer } from '../lending/line-server.ts'
import { Lines } from './lines.ts'

const lines = () => {
  const events: string[] = []
  const all = new Lines((node) => void events.push(`${node} down`), () => void events.push('up'))
  onTestFinished(() => all.close())
  return { all, events }
}

const server = async (node: string) => {
  const started = await startLineServer(node, '127.0.0.1', undefined)
  onTestFinished(() => started.close())
  return started
}

const soon = { timeout: 10_000 }

test('a line is up when the right node has answered, and down when it no longer does', async () => {
  const { all, events } = lines()
  const [right, wrong] = [await server('l'), await server('other')]
  all.want([{ node: 'l', host: '127.0.0.1', port: right.port }, { node: 'x', host: '127.0.0.1', port: wrong.port }])
  await vi.waitFor(() => expect(all.rttOf('l')).toBeGreaterThan(0), soon)
  expect(events).toEqual(['up'])
  right.close()
  await vi.waitFor(() => expect(events).toEqual(['up', 'l down']), soon)
  expect([all.rttOf('l'), all.rttOf('x')]).toEqual([undefined, undefined])
})

test('a line that falls silent is down without being closed, and comes up again', async () => {
  let mute = false
  const open: Socket[] = []
  const talker = createServer((socket) => {
    open.push(socket)
    socket.on('error', () => undefined)
    if (mute) return
    socket.write('l\n')
    socket.on('data', (bytes) => mute || socket.write(bytes))
  }).listen(0, '127.0.0.1')
  await once(talker, 'listening')
  onTestFinished(() => {
    talker.close()
    for (const socket of open) socket.destroy()
  })
  const { all, events } = lines()
  const address = talker.address() as { port: number }
  all.want([{ node: 'l', host: '127.0.0.1', port: address.port }])
  await vi.waitFor(() => expect(events).toEqual(['up']), soon)
  mute = true
  await vi.waitFor(() => expect(events).toEqual(['up', 'l down']), soon)
  mute = false
  await vi.waitFor(() => expect(events).toEqual(['up', 'l down', 'up']), soon)
  // Nobody needs it any more, which is no news.
  all.want([])
  await vi.waitFor(() => expect(open.every(({ destroyed }) => destroyed)).toBe(true), soon)
  expect([all.rttOf('l'), events]).toEqual([undefined, ['up', 'l down', 'up']])
}, 40_000)

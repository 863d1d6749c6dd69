import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from './free-port.ts'

const taken = async (port: number): Promise<Server> => {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return server
}

test('of a range a port is found while one is free', async () => {
  const from = await freePort()
  const range = [from, from + 2] as const
  const found = new Set<number>()
  for (let i = 0; i < 3; i += 1) {
    const port = await freePort('127.0.0.1', range)
    expect(port).toBeGreaterThanOrEqual(from)
    expect(port).toBeLessThanOrEqual(from + 2)
    found.add(port)
    await taken(port)
  }
  expect(found.size).toBe(3)
  await expect(freePort('127.0.0.1', range)).rejects.toThrow(`none of the ports ${from} to ${from + 2} of 127.0.0.1 is free`)
})

test('an address of another machine is an error', async () => {
  await expect(freePort('192.0.2.1', [50_000, 50_001])).rejects.toThrow('EADDRNOTAVAIL')
})

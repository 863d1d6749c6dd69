import { once } from 'node:events'
import { createServer } from 'node:net'

/** First and last port. */
export type PortRange = readonly [from: number, to: number]

/**
 * A TCP port of an address of this machine that was free a moment ago, of a range where one is given.
 * @throws Error the system's where the address is not this machine's; when all of the range are taken
 */
export const freePort = async (host = '127.0.0.1', range?: PortRange): Promise<number> => {
  if (!range) return bindable(host, 0)
  const [from, to] = range
  const count = to - from + 1
  const first = Math.floor(Math.random() * count)
  for (let i = 0; i < count; i += 1) {
    try {
      return await bindable(host, from + ((first + i) % count))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
  throw new Error(`none of the ports ${from} to ${to} of ${host} is free`)
}

const bindable = async (host: string, port: number): Promise<number> => {
  const server = createServer().listen(port, host)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

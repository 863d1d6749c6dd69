import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { freePort, type PortRange } from '@drover/engines'
import { portOf } from '@drover/service'

/** Coordinators that are answered at once; each keeps one connection. */
const MOST = 1_000
/** What somebody may say between two answers; a coordinator says one byte. */
const MOST_BYTES = 1_024

/** Answers those who want to know whether this machine can be reached: with its node's name once, then with what it is sent. */
export interface LineServer {
  port: number
  close(): void
}

/**
 * @param address IPv4 address of this machine
 * @throws Error the system's when it cannot listen there
 */
export const startLineServer = async (node: string, address: string, ports: PortRange | undefined): Promise<LineServer> => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    if (sockets.size >= MOST) return void socket.destroy()
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
    socket.on('data', (bytes) => (bytes.length > MOST_BYTES ? socket.destroy() : socket.write(bytes)))
    socket.write(`${node}\n`)
  })
  server.listen(ports ? await freePort(address, ports) : 0, address)
  await once(server, 'listening')
  return {
    port: portOf(server),
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { setImmediate as afterReading, setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError, portOf } from '@drover/service'
import { serve } from '@hono/node-server'

/**
 * A connection on which nothing was asked for so long is closed when the server ends, ms. Whoever uses a connection at all uses it
 * again sooner, or gives it up; closing it at once would close it under requests that are on their way.
 */
const IDLE_MS = 1_000
const LOOK_MS = 25
/** What is kept of one answer that its client does not read, bytes, about: the rest of it waits in Redis. Node's own 64 KB are much with thousands of clients. */
const HELD_BYTES = 16 * 1024

/** What is known of one open connection. */
interface Connection {
  /** Requests that are not answered to the end. */
  open: Set<ServerResponse>
  /** `performance.now()` of the last sign of use, and how many bytes had come by then. */
  usedAt: number
  read: number
}

/** An HTTP server that ends without cutting off a request. */
export interface HttpServer {
  url: string
  /**
   * Accepts no more connections, and answers what still comes over the open ones, each answer the last on its connection. A request is
   * never refused or cut for coming late: a client sees a connection refused, which it may try elsewhere, or a whole answer.
   * Resolves when no connection is left, or after `limitMs`.
   */
  drain(limitMs: number): Promise<void>
  /** Ends the connections that are left, after a moment for what was just written. */
  close(): Promise<void>
}

export interface ListenOptions {
  fetch: Parameters<typeof serve>[0]['fetch']
  host: string
  port: number
}

/** @throws ExitError when the address cannot be listened on */
export const listen = async ({ fetch, host, port }: ListenOptions): Promise<HttpServer> => {
  const connections = new Map<Socket, Connection>()
  let draining = false
  const server = await new Promise<Server>((resolve, reject) => {
    const made = serve({ fetch, hostname: host, port, overrideGlobalObjects: false, serverOptions: { highWaterMark: HELD_BYTES } }, () => resolve(made)) as Server
    made.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'something else listens there already' : error.message
      reject(new ExitError(`cannot listen on ${host}:${port}: ${reason}`, EXIT.refused))
    })
    made.on('connection', (socket) => {
      socket.setKeepAlive(true, 30_000).setNoDelay(true)
      connections.set(socket, { open: new Set(), usedAt: performance.now(), read: 0 })
      socket.once('close', () => connections.delete(socket))
    })
    // Before the handler: it must know that its answer is the connection's last one.
    made.prependListener('request', ({ socket }: IncomingMessage, answer: ServerResponse) => {
      const connection = connections.get(socket)
      if (draining) answer.shouldKeepAlive = false
      connection?.open.add(answer)
      answer.once('close', () => {
        if (!connection) return
        connection.open.delete(answer)
        connection.usedAt = performance.now()
        connection.read = socket.bytesRead
      })
    })
  })
  // Clients keep connections for their next request; Node's 5 s would close them under a request now and then.
  server.keepAliveTimeout = 75_000
  // A model's file over a slow link; whoever sends no header is let go long before.
  server.requestTimeout = 6 * 3_600_000

  const bound = portOf(server)

  const drain = async (limitMs: number): Promise<void> => {
    draining = true
    // Not the HTTP server's own `close`: that ends connections that are idle just now.
    NetServer.prototype.close.call(server)
    for (const { open } of connections.values()) for (const answer of open) if (!answer.headersSent) answer.shouldKeepAlive = false
    const began = performance.now()
    for (const connection of connections.values()) connection.usedAt = began
    for (; connections.size > 0 && performance.now() - began < limitMs; await sleep(LOOK_MS)) {
      // What has come while this process was busy is read first: a request may be among it.
      await afterReading()
      const now = performance.now()
      for (const [socket, connection] of connections) {
        // A request is on its way in.
        if (socket.bytesRead > connection.read && connection.open.size === 0) {
          connection.read = socket.bytesRead
          connection.usedAt = now
        }
        if (connection.open.size > 0) continue
        // First a word to the client, which then closes it, too.
        if (now - connection.usedAt >= 2 * IDLE_MS) socket.destroy()
        else if (now - connection.usedAt >= IDLE_MS) socket.end()
      }
    }
  }

  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    drain,
    async close() {
      for (const end = performance.now() + 500; [...connections.values()].some(({ open }) => open.size > 0) && performance.now() < end; ) await sleep(LOOK_MS)
      server.closeAllConnections()
    },
  }
}

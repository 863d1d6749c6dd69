import { once } from 'node:events'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'

/** What is wrong with a link. `up`: towards the server; `down`: towards who connects. */
export interface LinkFault {
  /** Everything comes so much later, ms. */
  delay?: number
  /** Nothing passes, new connections included; what is under way waits, as on a cut line. */
  stopped?: 'up' | 'down' | 'both'
  /** Bytes a second, each way. */
  rate?: number
  /** New connections are refused. */
  refused?: boolean
}

export interface FaultProxy {
  /** Where to connect, the same for as long as it lives. */
  port: number
  /** Where it leads to, from the next connection on. */
  target(port: number): void
  /** Replaces what is wrong; `{}`: nothing. */
  set(fault: LinkFault): Promise<void>
  /** Ends every connection at once, by a reset. */
  reset(): void
  /** Connections under way. */
  readonly open: number
  close(): void
}

interface Pair {
  near: Socket
  far: Socket
}

/** A way pauses its source at so many bytes that wait. */
const HELD = 256 * 1024

/** One direction of one connection: what it reads goes on later, in order. */
const pump = (from: Socket, to: Socket, way: 'up' | 'down', fault: () => LinkFault, links: Set<() => void>): void => {
  const queue: { due: number; data: Buffer | undefined }[] = []
  let held = 0
  let timer: NodeJS.Timeout | undefined
  const isStopped = () => fault().stopped === 'both' || fault().stopped === way
  const turn = (): void => {
    clearTimeout(timer)
    timer = undefined
    while (queue.length > 0 && !isStopped() && !to.destroyed) {
      const [head] = queue
      const now = performance.now()
      if (!head) return
      if (head.due > now) {
        timer = setTimeout(turn, head.due - now)
        return
      }
      if (to.writableNeedDrain) return
      const { rate } = fault()
      const { data } = head
      if (!data) {
        to.end()
        queue.shift()
        return
      }
      const most = rate === undefined ? data.length : Math.max(1, Math.floor(rate / 20))
      to.write(most >= data.length ? data : data.subarray(0, most))
      held -= Math.min(most, data.length)
      if (most >= data.length) queue.shift()
      else head.data = data.subarray(most)
      if (held < HELD && from.isPaused()) from.resume()
      if (rate !== undefined) {
        timer = setTimeout(turn, 50)
        return
      }
    }
  }
  const take = (data: Buffer | undefined): void => {
    queue.push({ due: performance.now() + (fault().delay ?? 0), data })
    held += data?.length ?? 0
    if (held > HELD) from.pause()
    if (timer === undefined) turn()
  }
  from.on('data', take)
  from.on('end', () => take(undefined))
  to.on('drain', turn)
  links.add(turn)
  const over = () => {
    clearTimeout(timer)
    links.delete(turn)
  }
  from.on('close', () => {
    // What was said before the end still arrives; after an error nothing does.
    if (from.errored || !from.readableEnded) to.destroy()
  })
  to.on('close', over)
}

/** A way for TCP connections that can be made bad: slow, stopped one way or both, reset, refused. It leads to a port of this machine. */
export const startFaultProxy = async (targetPort = 0): Promise<FaultProxy> => {
  let to = targetPort
  let fault: LinkFault = {}
  const pairs = new Set<Pair>()
  const turns = new Set<() => void>()
  let port = 0

  const connected = (near: Socket): void => {
    const far = new Socket({ allowHalfOpen: true })
    const pair = { near, far }
    pairs.add(pair)
    for (const socket of [near, far]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined) // 'close' follows, and is what counts
    }
    const over = () => {
      if (near.destroyed && far.destroyed) pairs.delete(pair)
    }
    near.on('close', over)
    far.on('close', over)
    // Nobody there: who connects hears it at once, as it would without us.
    far.once('error', () => near.resetAndDestroy())
    pump(near, far, 'up', () => fault, turns)
    pump(far, near, 'down', () => fault, turns)
    far.connect(to, '127.0.0.1')
  }
  const listen = async (): Promise<Server> => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, connected)
    server.listen({ port, host: '127.0.0.1', backlog: 1024 })
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    return server
  }
  let server: Server | undefined = await listen()
  const reset = () => {
    for (const { near, far } of pairs) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }
  const stopListening = () => {
    server?.close()
    server = undefined
  }
  return {
    get port() {
      return port
    },
    target: (next) => void (to = next),
    async set(next) {
      fault = next
      for (const turn of turns) turn()
      if (next.refused === true) stopListening()
      else server ??= await listen()
    },
    reset,
    get open() {
      return pairs.size
    },
    close() {
      stopListening()
      reset()
    },
  }
}

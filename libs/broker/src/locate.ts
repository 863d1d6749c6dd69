import { Socket, connect } from 'node:net'
import { AbstractConnector, type RedisOptions } from 'ioredis'

/** Where Redis is now. Rejects when that cannot be learnt; it is asked again at the next try. */
export type Locate = () => Promise<{ host: string; port: number }>

/** A connector for ioredis that asks for the address each time, so that a Redis that has moved is found again. */
export const locatedBy = (locate: Locate) =>
  class LocatedConnector extends AbstractConnector {
    constructor(options: unknown) {
      super((options as RedisOptions).disconnectTimeout ?? 2_000)
    }

    async connect(): Promise<Socket> {
      this.connecting = true
      const socket = await locate().then(
        ({ host, port }) => (this.connecting ? connect({ host, port }) : failed(new Error('Connection is closed.'))),
        // As a connection that failed: the client takes a connector that throws for the end of all tries.
        (error: unknown) => failed(error instanceof Error ? error : new Error(String(error))),
      )
      socket.once('error', (error) => (this.firstError = error))
      this.stream = socket
      return socket
    }
  }

const failed = (error: Error): Socket => new Socket().destroy(error)

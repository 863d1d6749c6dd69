import type { Server } from 'node:net'
import { z } from 'zod'

const Listening = z.object({ listening: z.url() })

/** Tells the parent that started us over IPC, if any, where we can be reached; with port 0 nobody else could know. */
export const announceListening = (url: string): void => {
  // A parent that is gone by now is noticed elsewhere; here it must not become an unhandled error.
  if (process.connected) process.send?.({ listening: url } satisfies z.infer<typeof Listening>, undefined, undefined, () => {})
}

/** The address in a child's message, or `undefined` when the message says something else. */
export const readListening = (message: unknown): string | undefined => Listening.safeParse(message).data?.listening

/** The port of a server that listens over TCP; with port 0 it is only known then. */
export const portOf = (server: Pick<Server, 'address'>): number => {
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a store does to a request instead of, or before, doing it. */
export type S3Fault =
  | { kind: 'none' }
  /** It answers so, in its own words. */
  | { kind: 'refuses'; status: number; code: string }
  /** It takes the request and never answers. */
  | { kind: 'hangs' }
  /** It breaks off in the middle of what it answers. */
  | { kind: 'breaks off' }
  /** It does as it is told, and the answer is lost. */
  | { kind: 'answers nobody' }
  | { kind: 'is slow'; ms: number }
  /** The first thing that is to be written waits; all else is done. */
  | { kind: 'holds a write'; until: Promise<void> }

export interface S3Faults {
  url: string
  set(fault: S3Fault): void
  /** Headers of the request that came last. */
  readonly seen: IncomingMessage['headers']
  /** Requests to which something was done. */
  readonly met: number
  close(): void
}

/** A way to an S3 server that can be made bad. Headers pass as they are: they are signed. */
export const startS3Faults = async (port: number): Promise<S3Faults> => {
  let fault: S3Fault = { kind: 'none' }
  let seen: IncomingMessage['headers'] = {}
  let met = 0
  const held = new Set<S3Fault>()

  const pass = (incoming: IncomingMessage, response: ServerResponse, its: S3Fault): void => {
    const onward = request({ host: '127.0.0.1', port, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      if (its.kind === 'answers nobody') {
        answer.resume()
        answer.once('end', () => response.destroy())
        return
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      if (its.kind !== 'breaks off') return void answer.pipe(response)
      answer.once('data', (bytes: Buffer) => response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy()))
      answer.once('end', () => response.destroy())
      answer.resume()
    })
    onward.once('error', () => response.destroy())
    incoming.pipe(onward)
  }

  const server = createServer((incoming, response) => {
    const its = fault
    seen = incoming.headers
    response.on('error', () => undefined)
    if (its.kind === 'holds a write') {
      const holds = incoming.method === 'PUT' && !held.has(its)
      if (!holds) return void pass(incoming, response, its)
      held.add(its)
      met += 1
      return void its.until.then(() => pass(incoming, response, its))
    }
    if (its.kind !== 'none') met += 1
    if (its.kind === 'hangs') return void incoming.resume()
    if (its.kind === 'refuses') {
      incoming.resume()
      return void incoming.once('end', () => response.writeHead(its.status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>${its.code}</Code><Message>as the test wants it</Message></Error>`))
    }
    setTimeout(() => pass(incoming, response, its), its.kind === 'is slow' ? its.ms : 0)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    set(next) {
      fault = next
      // What hung before hangs no longer.
      server.closeAllConnections()
    },
    get seen() {
      return seen
    },
    get met() {
      return met
    },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

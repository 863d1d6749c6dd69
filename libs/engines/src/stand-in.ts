import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A request as a stand-in server heard it. */
export interface Heard {
  method: string
  path: string
  headers: IncomingHttpHeaders
  body: string
  response: ServerResponse
}

/** A server that stands where an engine would, for the tests of this package. */
export interface StandIn extends AsyncDisposable {
  url: string
  port: number
  heard: Heard[]
  server: Server
}

export const standIn = async (answer: (heard: Heard) => void): Promise<StandIn> => {
  const heard: Heard[] = []
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += String(chunk)
    const one: Heard = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body, response }
    heard.push(one)
    answer(one)
  }
  const server = createServer((request, response) => {
    take(request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    heard,
    server,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** An address at which nobody listens. */
export const deadUrl = async (): Promise<string> => {
  const { url, ...server } = await standIn(() => {})
  await server[Symbol.asyncDispose]()
  return url
}

/** Answers with a JSON body. */
export const json = (response: ServerResponse, body: unknown, status = 200, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers }).end(JSON.stringify(body))
}

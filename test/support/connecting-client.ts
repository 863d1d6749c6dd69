import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long all gateways may refuse a connection, ms. */
const PATIENCE_MS = 10_000
const PAUSE_MS = 20

export interface WholeAnswer {
  status: number
  headers: IncomingMessage['headers']
  body: string
  /** The gateway that answered. */
  url: string
}

/**
 * A client of several gateways that keeps its connections for the next request, and goes to another gateway in two cases only: the
 * connection was refused, or a fresh one was reset before any byte of an answer. Everything else is a failure: a kept connection that
 * is closed under a request, too.
 */
export class ConnectingClient {
  /** Connections that could not be used. */
  unconnected = 0
  /** Requests that went over a connection that had been used before. */
  reused = 0
  #urls: readonly string[]
  #agent = new Agent({ keepAlive: true, maxFreeSockets: Infinity })
  #turn = 0

  constructor(urls: readonly string[]) {
    this.#urls = urls
  }

  /** @throws Error with the reason, when the request was cut off or nobody took it */
  async post(path: string, body: object): Promise<WholeAnswer> {
    const text = JSON.stringify(body)
    const start = this.#turn++
    const end = performance.now() + PATIENCE_MS
    for (let tries = 0; performance.now() < end; tries += 1) {
      const url = this.#urls[(start + tries) % this.#urls.length]!
      const answer = await this.#send(url, path, text)
      if (answer) return answer
      this.unconnected += 1
      if (tries % this.#urls.length === this.#urls.length - 1) await sleep(PAUSE_MS)
    }
    throw new Error('no gateway takes connections')
  }

  /** `undefined`: there was no connection. */
  #send(url: string, path: string, text: string): Promise<WholeAnswer | undefined> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
      const sent = request(url + path, { method: 'POST', agent: this.#agent, headers }, (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (body += chunk))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body, url }))
        response.on('error', (error) => reject(new Error(`the answer was cut off after ${body.length} characters`, { cause: error })))
      })
      sent.on('socket', () => (this.reused += sent.reusedSocket ? 1 : 0))
      sent.on('error', (error: NodeJS.ErrnoException) => {
        if (error.syscall === 'connect' || (!sent.reusedSocket && error.code === 'ECONNRESET')) resolve(undefined)
        else reject(new Error(`a ${sent.reusedSocket ? 'kept' : 'fresh'} connection broke before its answer (${error.code})`, { cause: error }))
      })
      sent.end(text)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

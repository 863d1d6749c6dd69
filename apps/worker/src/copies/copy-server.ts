import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Tickets } from '@drover/broker'
import { canonicalName } from '@drover/core'
import { DESCRIBE_PATH, FILES_PATH, SEAL_HEADER, TICKET_HEADER } from './description.ts'
import type { FilesHere } from './files-here.ts'
import { Rate } from './rate.ts'

/** Files that are sent at once; whoever comes then is to come again. */
const MOST = 16
/** Bytes that are read at once. */
const PIECE = 1024 ** 2
/** A reader that takes nothing for this long is gone, ms. */
const SILENT_MS = 60_000

export interface CopyServerOptions {
  node: string
  address: string
  /** 0: any that is free. */
  port: number
  files: FilesHere
  tickets(): Promise<Tickets>
  /** Bytes a second for all together; absent: as fast as it goes. */
  rate: number | undefined
  onError(error: unknown): void
}

/** Hands the files of this node's models to other nodes, and to nobody else. */
export interface CopyServer {
  port: number
  close(): void
}

/** @throws Error the system's when it cannot listen there */
export const startCopyServer = async ({ node, address, port, files, tickets, rate, onError }: CopyServerOptions): Promise<CopyServer> => {
  const pace = rate === undefined ? undefined : new Rate(rate)
  // Of a slow line a small piece at a time, so that it is never silent for long.
  const piece = Math.max(1_024, Math.min(PIECE, Math.floor((rate ?? Infinity) / 4)))
  let sending = 0

  const describe = async (model: string, ticket: string, response: ServerResponse) => {
    const name = canonicalName(model)
    const description = name && (await files.describe(name))
    if (!description) return refuse(response, 404, `node ${node} has no files of this model that it could send`)
    const text = JSON.stringify(description)
    response.writeHead(200, { 'content-type': 'application/json', [SEAL_HEADER]: (await tickets()).seal(ticket, text) }).end(text)
  }

  const send = async (digest: string, range: string | undefined, response: ServerResponse) => {
    const found = /^[0-9a-f]{64}$/.test(digest) ? files.find(digest) : undefined
    if (!found) return refuse(response, 404, 'no such file was described')
    const [, from] = range === undefined ? [] : (/^bytes=(\d{1,15})-$/.exec(range) ?? [])
    const start = Number(from ?? 0)
    if ((range !== undefined && from === undefined) || (start > 0 && start >= found.size)) return refuse(response, 416, 'a range is bytes=N-, with N within the file')
    if (sending >= MOST) return refuse(response, 503, `node ${node} is sending ${MOST} files already`)
    const file = await open(found.path).catch(() => undefined)
    if (!file) return refuse(response, 404, 'the file is no longer there')
    sending += 1
    response.setTimeout(SILENT_MS, () => response.destroy())
    try {
      if ((await file.stat()).size !== found.size) return refuse(response, 404, 'the file has changed since it was described')
      response.writeHead(from === undefined ? 200 : 206, {
        'content-type': 'application/octet-stream',
        'content-length': found.size - start,
        ...(from !== undefined && { 'content-range': `bytes ${start}-${found.size - 1}/${found.size}` }),
      })
      if (found.size === start) return response.end()
      const pieces = file.createReadStream({ start, end: found.size - 1, highWaterMark: piece, autoClose: false })
      // Who leaves in the middle is nobody's trouble here.
      await (pace ? pipeline(pieces, (source: AsyncIterable<Buffer>) => paced(source, pace), response) : pipeline(pieces, response)).catch(() => response.destroy())
    } finally {
      sending -= 1
      await file.close()
    }
  }

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url: path = '' } = request
    const { [TICKET_HEADER]: ticket = '', range } = request.headers
    // Neither what is here nor what is asked is told to somebody who has no ticket.
    if (!(await tickets()).admits(String(ticket), { node, method, path })) return refuse(response, 403, 'no ticket of this installation, or the clocks of the two machines differ by minutes')
    if (method !== 'GET') return refuse(response, 405, 'files are only read')
    const url = new URL(path, 'http://node')
    if (url.pathname === DESCRIBE_PATH) return describe(url.searchParams.get('model') ?? '', String(ticket), response)
    if (url.pathname.startsWith(FILES_PATH)) return send(url.pathname.slice(FILES_PATH.length), range, response)
    return refuse(response, 404, 'there is nothing here')
  }

  const server = createServer((request, response) => {
    response.on('error', () => response.destroy())
    void answer(request, response).catch((error: unknown) => {
      onError(error)
      response.destroy()
    })
  })
  // A description may take as long as reading its files.
  server.requestTimeout = SILENT_MS
  server.on('connection', (socket) => socket.setNoDelay(true).setTimeout(0))
  server.on('clientError', (_error, socket) => socket.destroy())
  server.listen(port, address)
  await once(server, 'listening')
  const listening = server.address()
  return {
    port: typeof listening === 'object' && listening ? listening.port : 0,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

const refuse = (response: ServerResponse, status: number, reason: string) => response.writeHead(status, { 'content-type': 'text/plain' }).end(reason)

async function* paced(source: AsyncIterable<Buffer>, rate: Rate): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    await rate.take(piece.length)
    yield piece
  }
}

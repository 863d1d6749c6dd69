import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Tickets } from '@drover/broker'
import { canonicalName, COPY_BLOBS_PATH, COPY_DESCRIBE_PATH, COPY_FILES_PATH, COPY_SEAL_HEADER, COPY_TICKET_HEADER } from '@drover/core'
import { portOf } from '@drover/service'
import type { BlobIntake } from './blob-intake.ts'
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
  intake: BlobIntake
  tickets(): Promise<Tickets>
  /** Bytes a second for all together; absent: as fast as it goes. */
  rate: number | undefined
  onError(error: unknown): void
}

/** Hands the files of this node's models to other nodes, and takes those that models are to be made of from gateways; nobody else is answered. */
export interface CopyServer {
  port: number
  close(): void
}

/** @throws Error the system's when it cannot listen there */
export const startCopyServer = async ({ node, address, port, files, intake, tickets, rate, onError }: CopyServerOptions): Promise<CopyServer> => {
  const pace = rate === undefined ? undefined : new Rate(rate)
  // Of a slow line a small piece at a time, so that it is never silent for long.
  const piece = Math.max(1_024, Math.min(PIECE, Math.floor((rate ?? Infinity) / 4)))
  let sending = 0

  const describe = async (model: string, ticket: string, response: ServerResponse) => {
    const name = canonicalName(model)
    const description = name && (await files.describe(name))
    if (!description) return refuse(response, 404, `node ${node} has no files of this model that it could send`)
    const text = JSON.stringify(description)
    response.writeHead(200, { 'content-type': 'application/json', [COPY_SEAL_HEADER]: (await tickets()).seal(ticket, text) }).end(text)
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

  const take = async (request: IncomingMessage, digest: string, model: string, response: ServerResponse) => {
    const name = canonicalName(model)
    if (!name || !/^[0-9a-f]{64}$/.test(digest)) return refuse(response, 404, 'this is no blob of a model')
    const left = new AbortController()
    response.once('close', () => left.abort(new Error('the gateway has left')))
    if (request.method === 'HEAD') return response.writeHead((await intake.has(name, digest, left.signal)) ? 200 : 404).end()
    const size = Number(request.headers['content-length'])
    if (!Number.isSafeInteger(size)) return refuse(response, 411, 'how long it is must be said')
    const refused = await intake.take(name, { digest, size, content: request }, left.signal)
    return refused === undefined ? response.writeHead(201).end() : refuse(response, 400, refused)
  }

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url: path = '' } = request
    const { [COPY_TICKET_HEADER]: ticket = '', range } = request.headers
    // Neither what is here nor what is asked is told to somebody who has no ticket.
    if (!(await tickets()).admits(String(ticket), { node, method, path })) return refuse(response, 403, 'no ticket of this installation, or the clocks of the two machines differ by minutes')
    const url = new URL(path, 'http://node')
    if ((method === 'HEAD' || method === 'PUT') && url.pathname.startsWith(COPY_BLOBS_PATH)) return take(request, url.pathname.slice(COPY_BLOBS_PATH.length), url.searchParams.get('model') ?? '', response)
    if (method !== 'GET') return refuse(response, 405, 'files are only read')
    if (url.pathname === COPY_DESCRIBE_PATH) return describe(url.searchParams.get('model') ?? '', String(ticket), response)
    if (url.pathname.startsWith(COPY_FILES_PATH)) return send(url.pathname.slice(COPY_FILES_PATH.length), range, response)
    return refuse(response, 404, 'there is nothing here')
  }

  const server = createServer((request, response) => {
    response.on('error', () => response.destroy())
    void answer(request, response).catch((error: unknown) => {
      // Who has left, or sends no more, is nobody's trouble here.
      if (!response.destroyed && !request.destroyed) onError(error)
      response.destroy()
    })
  })
  // A large file may come slowly; who sends nothing at all is cut off.
  server.requestTimeout = 0
  server.headersTimeout = SILENT_MS
  server.on('connection', (socket) => socket.setNoDelay(true).setTimeout(0))
  server.on('clientError', (_error, socket) => socket.destroy())
  server.listen(port, address)
  await once(server, 'listening')
  return {
    port: portOf(server),
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

import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { constants, createZstdDecompress } from 'node:zlib'
import { BrokerError } from '@drover/core'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Longest that the rest of a refused body is taken in, ms. */
const DROP_MS = 5_000

/** Most that a compressed body may become (Ollama v0.33 has the same bound), and the memory of its decoder: 2 to this power bytes. */
const INFLATED_LIMIT = 20 * 1024 * 1024
const WINDOW_LOG = 25

/** A client that is still sending reads its refusal only behind that: closing now would show it a broken connection instead. */
export const drop = (incoming: IncomingMessage): void => {
  incoming.resume()
  const timer = setTimeout(() => incoming.destroy(), DROP_MS)
  incoming.once('close', () => clearTimeout(timer))
}

/** A body as it comes. Who stops reading leaves the connection as it is: the answer is still to go over it. */
export async function* bytesOf(incoming: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    yield* incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
  } finally {
    if (!incoming.readableEnded) drop(incoming)
  }
}

const cutOff = (cause?: unknown) => new BrokerError('bad_request', 'the request body was cut off', { cause })

/** What a request's `content-encoding` says is to be done with its body. */
const encodingOf = (incoming: IncomingMessage, zstd: boolean): 'none' | 'zstd' | BrokerError => {
  const encoding = (incoming.headers['content-encoding'] ?? '').trim().toLowerCase()
  if (encoding === '' || encoding === 'identity') return 'none'
  if (encoding === 'zstd' && zstd) return 'zstd'
  const accepted = zstd ? 'send the body as it is, or compressed with zstd' : 'send the body as it is'
  return new BrokerError('bad_request', `request bodies in content encoding ${JSON.stringify(encoding.slice(0, 40))} are not read here: ${accepted}`, { status: 415 })
}

export interface BodyOptions {
  /** Most bytes, as sent. */
  limit: number
  /** Whether a body compressed with zstd is read, 20 MiB at most when inflated. */
  zstd?: boolean
}

/**
 * A request body as text. One that is too large is refused as soon as that shows, without being kept; what a compressed one hides
 * beyond its bound is not inflated.
 * @throws BrokerError `body_too_large`, `bad_request` (not UTF-8, cut off, or in an encoding that is not read)
 */
export const readBody = (incoming: IncomingMessage, { limit, zstd = false }: BodyOptions): Promise<string> =>
  new Promise((resolve, reject) => {
    const encoding = encodingOf(incoming, zstd)
    const decoder = encoding === 'zstd' ? createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG } }) : undefined
    const plain: Readable = decoder ?? incoming
    const most = decoder ? Math.min(limit, INFLATED_LIMIT) : limit
    const chunks: Buffer[] = []
    let sent = 0
    let length = 0
    const refuse = (error: BrokerError) => {
      incoming.off('data', count)
      plain.off('data', take)
      if (decoder) {
        incoming.unpipe(decoder)
        decoder.destroy()
      }
      chunks.length = 0
      drop(incoming)
      reject(error)
    }
    const tooLarge = (most: number, what = '') => refuse(new BrokerError('body_too_large', `the request body is larger than ${most} bytes${what}`))
    const count = (chunk: Buffer) => {
      sent += chunk.length
      if (sent > limit) tooLarge(limit)
    }
    const take = (chunk: Buffer) => {
      length += chunk.length
      if (length > most) tooLarge(most, decoder ? ' when inflated' : '')
      else chunks.push(chunk)
    }
    if (typeof encoding === 'object') return refuse(encoding)
    if (Number(incoming.headers['content-length'] ?? 0) > limit) return tooLarge(limit)
    plain.on('data', take)
    plain.on('end', () => {
      try {
        resolve(utf8.decode(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
      } catch (cause) {
        reject(new BrokerError('bad_request', 'the request body is not valid UTF-8', { cause }))
      }
    })
    incoming.on('error', (cause) => reject(cutOff(cause)))
    incoming.on('close', () => {
      if (!incoming.complete) reject(cutOff())
    })
    if (decoder) {
      incoming.on('data', count)
      decoder.on('error', (cause) => refuse(new BrokerError('bad_request', 'the request body is not valid zstd', { cause })))
      incoming.pipe(decoder)
    }
  })

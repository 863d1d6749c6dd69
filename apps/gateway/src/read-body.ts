import type { IncomingMessage } from 'node:http'
import { BrokerError } from '@drover/core'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Longest that the rest of a refused body is taken in, ms. */
const DROP_MS = 5_000

/** A client that is still sending reads its refusal only behind that: closing now would show it a broken connection instead. */
const drop = (incoming: IncomingMessage): void => {
  incoming.resume()
  const timer = setTimeout(() => incoming.destroy(), DROP_MS)
  incoming.once('close', () => clearTimeout(timer))
}

/**
 * A request body as text. One that is too large is refused as soon as that shows, without being kept.
 * @throws BrokerError `body_too_large`, `bad_request` (not UTF-8, or cut off)
 */
export const readBody = (incoming: IncomingMessage, limit: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const refuse = () => {
      incoming.off('data', take)
      chunks.length = 0
      drop(incoming)
      reject(new BrokerError('body_too_large', `the request body is larger than ${limit} bytes`))
    }
    const take = (chunk: Buffer) => {
      length += chunk.length
      if (length > limit) refuse()
      else chunks.push(chunk)
    }
    if (Number(incoming.headers['content-length'] ?? 0) > limit) return refuse()
    incoming.on('data', take)
    incoming.on('end', () => {
      try {
        resolve(utf8.decode(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
      } catch (cause) {
        reject(new BrokerError('bad_request', 'the request body is not valid UTF-8', { cause }))
      }
    })
    incoming.on('error', (cause) => reject(new BrokerError('bad_request', 'the request body was cut off', { cause })))
    incoming.on('close', () => {
      if (!incoming.complete) reject(new BrokerError('bad_request', 'the request body was cut off'))
    })
  })

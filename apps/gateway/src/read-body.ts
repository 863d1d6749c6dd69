import type { IncomingMessage } from 'node:http'
import { BrokerError } from '@drover/core'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * A request body as text. One that is too large is refused as soon as that shows, without being kept.
 * @throws BrokerError `body_too_large`, `bad_request` (not UTF-8, or cut off)
 */
export const readBody = (incoming: IncomingMessage, limit: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const tooLarge = () => new BrokerError('body_too_large', `the request body is larger than ${limit} bytes`)
    if (Number(incoming.headers['content-length'] ?? 0) > limit) {
      incoming.resume()
      reject(tooLarge())
      return
    }
    const chunks: Buffer[] = []
    let length = 0
    incoming.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > limit) {
        chunks.length = 0
        reject(tooLarge())
      } else chunks.push(chunk)
    })
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

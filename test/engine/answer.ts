import { Readable } from 'node:stream'
import type { IncomingMessage, ServerResponse } from 'node:http'

const LIMIT = 128 * 1024 * 1024

/** A request's body as text. @throws Error when the client leaves or the body is over 128 MB */
export const readBody = (request: IncomingMessage): Promise<string> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > LIMIT) request.destroy(new Error('body too large'))
      else chunks.push(chunk)
    })
    request.on('end', () => resolve(Buffer.concat(chunks).toString()))
    request.on('error', reject)
    request.on('close', () => reject(new Error('the client left')))
  })

export const send = (response: ServerResponse, status: number, contentType: string, body: string) => {
  if (Readable.isDisturbed(response.req) === false) response.req.resume()
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

export const JSON_TYPE = 'application/json; charset=utf-8'

export const sendJson = (response: ServerResponse, value: unknown, status = 200) =>
  send(response, status, JSON_TYPE, JSON.stringify(value))

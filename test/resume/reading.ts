import { Agent, request } from 'undici'
import { eventReader, PATHS, readEvent, type DialectName } from '../campaign/formats.ts'

const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: null, keepAliveTimeout: 5_000 })

/** What a client has read of a stream. */
export interface Read {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  /** The JSON events, in order. */
  events: Record<string, unknown>[]
  ended: boolean
  error: string | undefined
  /** Longest time between two pieces of text, ms. */
  gapMs: number
}

export interface Reading {
  /** Resolves with the headers. */
  head: Promise<Read['headers']>
  /** Resolves when so many characters have been read. */
  chars(count: number): Promise<void>
  /** Characters that have been read. */
  soFar(): number
  told: Promise<Read>
}

/** Asks for a stream, as a client that knows nothing of Drover, and keeps book of what it is told. */
export const reading = (url: string, dialect: DialectName, body: string, headers: Record<string, string> = {}): Reading => {
  const waiting: { length: number; resolve(): void }[] = []
  const read: Read = { status: 0, headers: {}, text: '', events: [], ended: false, error: undefined, gapMs: 0 }
  let heard: number | undefined
  const head = Promise.withResolvers<Read['headers']>()
  const run = async (): Promise<Read> => {
    const response = await request(url + PATHS[dialect], { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers }, dispatcher: agent })
    read.status = response.statusCode
    read.headers = response.headers
    head.resolve(response.headers)
    const take = eventReader(dialect, (data) => {
      const { text, ends, error } = readEvent(dialect, data)
      if (data !== '[DONE]') read.events.push(JSON.parse(data) as Record<string, unknown>)
      if (text !== '') {
        const now = performance.now()
        if (heard !== undefined) read.gapMs = Math.max(read.gapMs, now - heard)
        heard = now
      }
      read.text += text
      read.ended ||= ends
      read.error ??= error
      for (const each of waiting) if (read.text.length >= each.length) each.resolve()
    })
    response.body.setEncoding('utf8')
    for await (const chunk of response.body as AsyncIterable<string>) take(chunk)
    return read
  }
  const told = run()
  told.catch(head.reject)
  head.promise.catch(() => undefined)
  void told.catch(() => undefined).then(() => waiting.forEach(({ resolve }) => resolve()))
  return {
    head: head.promise,
    chars: (length) => new Promise((resolve) => (read.text.length >= length ? resolve() : void waiting.push({ length, resolve }))),
    soFar: () => read.text.length,
    told,
  }
}

import { Agent, request } from 'undici'

const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: null })

/** One event as a reader gets it. */
export interface ServerEvent {
  /** Of this event, or the last one before it that had one. */
  id: string
  /** It has an id of its own. */
  named: boolean
  type: string
  data: string
}

export interface EventReader {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** Events so far. */
  events: ServerEvent[]
  /** The id to go on with. */
  last: string
  comments: string[]
  /** Resolves when so many events have been read, or nothing more comes. */
  read(count: number): Promise<void>
  /** Closes the connection. */
  leave(): void
  /** Resolves when nothing more comes: `true` after an end, `false` when the connection broke. */
  over: Promise<boolean>
  /** While true, nothing is taken from the connection. */
  pause(paused: boolean): void
}

/** Reads server-sent events as the standard says (https://html.spec.whatwg.org/multipage/server-sent-events.html), for one connection. */
export const readEvents = async (url: string, last = ''): Promise<EventReader> => {
  const abort = new AbortController()
  const { statusCode, headers, body } = await request(url, { headers: { accept: 'text/event-stream', ...(last && { 'last-event-id': last }) }, dispatcher: agent, signal: abort.signal })
  const over = Promise.withResolvers<boolean>()
  const waiting: { count: number; resolve(): void }[] = []
  const reader: EventReader = {
    status: statusCode,
    headers,
    events: [],
    last,
    comments: [],
    read: (count) => new Promise((resolve) => (reader.events.length >= count || ended ? resolve() : waiting.push({ count, resolve }))),
    leave: () => abort.abort(),
    over: over.promise,
    pause: (paused) => void (paused ? body.pause() : body.resume()),
  }
  let ended = false
  const finish = (well: boolean) => {
    ended = true
    over.resolve(well)
    for (const { resolve } of waiting) resolve()
  }
  let rest = ''
  let event = { named: false, type: 'message', data: [] as string[] }
  const line = (text: string) => {
    if (text === '') {
      if (event.data.length > 0) reader.events.push({ ...event, id: reader.last, data: event.data.join('\n') })
      event = { named: false, type: 'message', data: [] }
      for (const each of waiting) if (reader.events.length >= each.count) each.resolve()
      return
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(text) ?? []
    if (field === '') reader.comments.push(value)
    else if (field === 'id') {
      reader.last = value
      event.named = true
    } else if (field === 'event') event.type = value
    else if (field === 'data') event.data.push(value)
  }
  body.setEncoding('utf8')
  body.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const each of lines) line(each.replace(/\r$/, ''))
  })
  body.on('end', () => finish(true))
  body.on('error', () => finish(false))
  return reader
}

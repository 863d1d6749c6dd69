import { request, Agent } from 'undici'
import { token, verifyText, type Verdict } from '../engine/tokens.ts'

/** Answers of any length, and none is cut off by a time-out of the client's own. */
const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: null, keepAliveTimeout: 10_000 })

export interface Ask {
  /** What the scripted engine knows the job by. */
  key: string
  model?: string
  stream?: boolean
  /** Anything of `script.ts`: `tokens`, `rate`, `stall_at` and so on. */
  script?: Record<string, number | string>
  /** Further top-level fields. */
  fields?: Record<string, unknown>
  headers?: Record<string, string>
}

/** What came of a request, as a client can tell. */
export interface Told {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** All text of the answer, put together. */
  text: string
  /** The stream had its end event, or the body was whole. */
  ended: boolean
  /** The error that the answer ends with. */
  error: string | undefined
  /** Whether the text is exactly the job's own tokens. */
  verdict: Verdict
}

export interface Asking {
  /** Resolves with the status as soon as the header is there. */
  head: Promise<number>
  /** Resolves when so many tokens have been read. */
  tokens(count: number): Promise<void>
  /** Closes the connection. */
  leave(): void
  /** Resolves when the answer is over, however it ends. Rejects after `leave`, or when the connection breaks. */
  told: Promise<Told>
}

type Format = 'ollama.chat' | 'ollama.generate' | 'openai.chat'
const paths: Record<Format, string> = { 'ollama.chat': '/api/chat', 'ollama.generate': '/api/generate', 'openai.chat': '/v1/chat/completions' }

interface Event {
  message?: { content?: string }
  response?: string
  choices?: { delta?: { content?: string | null }; message?: { content?: string | null } }[]
  done?: boolean
  error?: string | { message: string }
}

const textOf = (event: Event): string =>
  event.message?.content ?? event.response ?? event.choices?.map(({ delta, message }) => delta?.content ?? message?.content ?? '').join('') ?? ''
const errorOf = ({ error }: Event): string | undefined => (typeof error === 'object' ? error.message : error)

/** Asks a gateway (or an engine) as a raw client would, and keeps book of what it is told. */
export const ask = (url: string, format: Format, { key, model = 'scripted:latest', stream = true, script = {}, fields = {}, headers = {} }: Ask): Asking => {
  const prompt = `job=${key} ${Object.entries({ tokens: 20, ...script }).map(([name, value]) => `${name}=${value}`).join(' ')}`
  const body = { model, stream, ...(format === 'ollama.generate' ? { prompt } : { messages: [{ role: 'user', content: prompt }] }), ...fields }
  const abort = new AbortController()
  const head = Promise.withResolvers<number>()
  head.promise.catch(() => undefined)
  const waiting: { length: number; resolve(): void }[] = []
  let text = ''
  const add = (more: string) => {
    text += more
    for (const each of waiting) if (text.length >= each.length) each.resolve()
  }

  const run = async (): Promise<Told> => {
    const response = await request(url + paths[format], {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
      dispatcher: agent,
      signal: abort.signal,
    })
    head.resolve(response.statusCode)
    let ended = false
    let error: string | undefined
    const take = (event: Event) => {
      error ??= errorOf(event)
      add(textOf(event))
      if (event.done === true) ended = true
    }
    if (!stream || response.statusCode !== 200) {
      take((await response.body.json()) as Event)
      ended = response.statusCode === 200
    } else {
      let rest = ''
      response.body.setEncoding('utf8')
      for await (const chunk of response.body as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          if (line === '' || line.startsWith(':')) continue
          const data = format === 'openai.chat' ? line.slice('data: '.length) : line
          if (data === '[DONE]') ended = true
          else take(JSON.parse(data) as Event)
        }
      }
    }
    return { status: response.statusCode, headers: response.headers, text, ended, error, verdict: verifyText(key, text) }
  }
  const told = run()
  told.catch((error: unknown) => {
    head.reject(error)
    for (const each of waiting) each.resolve()
  })
  return {
    head: head.promise,
    tokens: (count) =>
      new Promise((resolve) => {
        let length = 0
        for (let i = 0; i < count; i += 1) length += token(key, i).length
        if (text.length >= length) resolve()
        else waiting.push({ length, resolve })
      }),
    leave: () => abort.abort(),
    told,
  }
}

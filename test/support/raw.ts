import { once } from 'node:events'
import { connect } from 'node:net'
import { text as readAll } from 'node:stream/consumers'
import { Agent, request } from 'undici'
import { PATHS, type DialectName } from './world.ts'

const agent = new Agent({ headersTimeout: 60_000, bodyTimeout: 60_000 })

export interface RawAnswer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS'

/** One request as it is given, and its answer as it came. */
export const send = async (
  url: string,
  { method = 'POST', body, headers = {} }: { method?: Method; body?: string | Buffer | AsyncIterable<Buffer>; headers?: Record<string, string> } = {},
): Promise<RawAnswer> => {
  const response = await request(url, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: body as string }),
    dispatcher: agent,
  })
  return { status: response.statusCode, headers: response.headers, text: await response.body.text() }
}

/** Bytes on a fresh connection, our side closed behind them where `end` says so; what comes back until the other side closes. */
export const sendBytes = async (url: string, bytes: string | Buffer, { end = false } = {}): Promise<string> => {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  await once(socket, 'connect')
  if (end) socket.end(bytes)
  else socket.write(bytes)
  return readAll(socket)
}

/** The smallest request that a dialect accepts. */
export const smallest = (dialect: DialectName, prompt: string, fields: Record<string, unknown> = {}): Record<string, unknown> => ({
  model: 'scripted',
  ...(dialect === 'ollama.generate' ? { prompt } : { messages: [{ role: 'user', content: prompt }] }),
  ...fields,
})

/** Posts a value to a dialect's route, as JSON unless it is text or bytes already. */
export const post = (url: string, dialect: DialectName, body: unknown, headers: Record<string, string> = {}): Promise<RawAnswer> =>
  send(url + PATHS[dialect], { body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body), headers })

/** The text of an error body, in exactly the form of the dialect. @throws Error when it has another form */
export const errorTextOf = (dialect: DialectName, { text, headers }: Pick<RawAnswer, 'text' | 'headers'>): string => {
  if (!/^application\/json\b/.test(String(headers['content-type']))) throw new Error(`an error of type ${String(headers['content-type'])}: ${text}`)
  const value = JSON.parse(text) as Record<string, unknown>
  const { error, ...more } = value
  if (Object.keys(more).length > 0) throw new Error(`an error has more than an error: ${text}`)
  if (dialect !== 'openai.chat') {
    if (typeof error !== 'string' || error === '') throw new Error(`not an error of the native API: ${text}`)
    return error
  }
  if (typeof error !== 'object' || error === null || !('message' in error) || !('type' in error)) throw new Error(`not an error of the OpenAI API: ${text}`)
  if (typeof error.message !== 'string' || error.message === '' || typeof error.type !== 'string') throw new Error(`not an error of the OpenAI API: ${text}`)
  return error.message
}

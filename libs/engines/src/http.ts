import { Buffer } from 'node:buffer'
import type { Readable } from 'node:stream'
import { Agent } from 'undici'
import { BrokerError } from '@drover/core'
import type { AnswerSink, EngineCall, JsonAnswer } from './engine.ts'
import { engineFailure, GATEWAY_HEADER, GatewayLoop } from './failure.ts'
import { PostCall } from './post-call.ts'

/** Where one engine is. */
export interface EngineAddress {
  id: string
  /** `http:` or `https:`; a path is a prefix of every endpoint. */
  url: string
  apiKey?: string | undefined
  /**
   * The engine closes a connection after a streamed answer although its header promises to keep it (llama-server 0.7.0): a request that
   * met the closing one would fail for no fault of its own, so each POST gets a connection of its own.
   */
  closesStreams?: boolean
}

/** What we say to one engine over HTTP. */
export interface EngineHttp {
  /**
   * Reads a small JSON document: at most 16 MB, within `timeoutMs` (`PROMPT_MS` by default).
   * @throws BrokerError `engine_failed`; the signal's reason when that ends it
   */
  get(path: string, signal: AbortSignal, timeoutMs?: number): Promise<JsonAnswer>
  /** The same for a document that is asked for by POST, without a time limit of its own when no `timeoutMs` is given. */
  ask(call: { path: string; body: string }, signal: AbortSignal, timeoutMs?: number): Promise<JsonAnswer>
  /** Sends bytes as they come, or asks whether they are there, without a time limit of its own. */
  send(call: { method: 'HEAD' } | { method: 'POST'; size: number; content: Readable }, path: string, signal: AbortSignal): Promise<JsonAnswer>
  post(call: { method?: 'POST' | 'DELETE'; path: string; body: string }, sink: AnswerSink): EngineCall
  close(): Promise<void>
}

interface Question {
  method: 'GET' | 'POST'
  path: string
  body?: string
}

const CONNECT_TIMEOUT_MS = 5_000
/** Long enough for what an engine answers without work. */
export const PROMPT_MS = 3_000
const GET_LIMIT_BYTES = 16 * 1024 * 1024

/**
 * Connections are as many as there are calls: the worker's slots bound them, and a call that waited here for a connection would
 * look like a hung engine. No timeout either once connected: loading a model may be silent for minutes, so the worker's own
 * timers, which know what is loaded, decide. Redirects are not followed, and the only headers are the ones below.
 */
export const engineHttp = ({ id, url, apiKey, closesStreams = false }: EngineAddress): EngineHttp => {
  const { origin, pathname } = new URL(url)
  const base = pathname.replace(/\/+$/, '')
  const key = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
  const getHeaders = { accept: 'application/json', ...key }
  const postHeaders = {
    'content-type': 'application/json',
    accept: 'application/json, application/x-ndjson, text/event-stream',
    ...key,
  }
  const agent = new Agent({
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 60_000,
    // Over HTTP/2 an abort would only reset a stream of a shared connection.
    allowH2: false,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  })

  const read = async ({ method, path, body: sent }: Question, signal: AbortSignal): Promise<JsonAnswer> => {
    const asked = sent === undefined ? { headers: getHeaders } : { headers: postHeaders, body: sent, reset: closesStreams }
    const { statusCode, headers, body } = await agent.request({ origin, path: base + path, method, ...asked, signal })
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > GET_LIMIT_BYTES) throw new BrokerError('engine_failed', `engine ${id} answered ${method} ${path} with more than 16 MB`)
      chunks.push(chunk)
    }
    if (headers[GATEWAY_HEADER] !== undefined) throw new GatewayLoop(id)
    return { status: statusCode, json: parseJson(Buffer.concat(chunks).toString('utf8')) }
  }

  const inTime = async (question: Question, signal: AbortSignal, timeoutMs?: number): Promise<JsonAnswer> => {
    signal.throwIfAborted()
    // Not AbortSignal.any: this runs every second for the life of a process, and the caller's signal lives as long.
    const ended = new AbortController()
    const late = new BrokerError('engine_failed', `engine ${id} did not answer ${question.method} ${question.path} in ${timeoutMs} ms`)
    const leave = () => ended.abort(signal.reason)
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => ended.abort(late), timeoutMs)
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await read(question, ended.signal)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      throw ended.signal.aborted ? late : engineFailure(id, error)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
    }
  }

  return {
    get: (path, signal, timeoutMs = PROMPT_MS) => inTime({ method: 'GET', path }, signal, timeoutMs),
    ask: ({ path, body }, signal, timeoutMs) => inTime({ method: 'POST', path, body }, signal, timeoutMs),
    async send(call, path, signal) {
      const sent = call.method === 'POST' ? { headers: { ...key, 'content-type': 'application/octet-stream', 'content-length': String(call.size) }, body: call.content } : { headers: key }
      try {
        const { statusCode, body } = await agent.request({ origin, path: base + path, method: call.method, ...sent, signal })
        return { status: statusCode, json: parseJson(await body.text()) }
      } catch (error) {
        signal.throwIfAborted()
        throw engineFailure(id, error)
      }
    },
    post({ method = 'POST', path, body }, sink) {
      const call = new PostCall(id, sink)
      agent.dispatch({ origin, path: base + path, method, headers: postHeaders, body, reset: closesStreams }, call)
      return call
    },
    close: () => agent.destroy(),
  }
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

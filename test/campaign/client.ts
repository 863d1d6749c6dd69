import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { token } from '../engine/tokens.ts'
import { bodyOf, eventReader, PATHS, readEvent, readWhole, type DialectName, type Said } from './formats.ts'
import type { Tell } from './history.ts'

/** What one client asks for, and how it behaves. */
export interface Order {
  key: string
  dialect: DialectName
  model: string
  stream: boolean
  sampling: 'zero' | 'seed' | 'free'
  /** Tokens of the answer that the engine would give, and most that the client wants. */
  tokens: number
  limit?: number | undefined
  /** More of what the scripted engine is told. */
  script?: Record<string, number | string>
  /** It leaves: so many ms after it asked, or when it has read so many tokens. */
  leaves?: { afterMs: number } | { afterTokens: number } | undefined
  /** It waits so long after each piece that it has read, ms. */
  slowMs?: number | undefined
  /** Its job must be over by then, ms: what the gateways have as time-out, where that is short. */
  deadlineMs?: number
  poison?: true
}

/** `again`: nothing was accepted, and another try may do better. */
export type Came = 'over' | 'again'

/** After this a client gives up: nobody knows then what became of its job. ms */
export const PATIENCE_MS = 60_000
/** So long after its deadline, too. ms */
const PAST_DEADLINE_MS = 6_000

const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: null, keepAliveTimeout: 5_000 })

/** ms that a reader's receiving may fall behind before its socket is full: one that is slow reads in small pieces. */
const SMALL = 4 * 1024

const lengthOf = (key: string, tokens: number): number => {
  let length = 0
  for (let i = 0; i < tokens; i += 1) length += token(key, i).length
  return length
}

/** Asks once, and tells the history what came of it. Never rejects. */
export const ask = async (urls: readonly string[], gateway: number, order: Order, tell: Tell): Promise<Came> => {
  const { key, dialect, model, stream, sampling, tokens, limit, script = {}, leaves, slowMs, deadlineMs } = order
  const expected = Math.min(tokens, limit ?? Infinity)
  tell({ who: 'client', type: 'invoke', key, gateway, model, dialect, stream, tokens: expected, sampling, ...(order.poison && { poison: true as const }), ...(slowMs !== undefined && { slow: true as const }), ...(deadlineMs !== undefined && { deadlineMs }) })
  const marker = Object.entries({ tokens, ...script }).map(([name, value]) => `${name}=${value}`).join(' ')
  const body = bodyOf(dialect, { model, prompt: `job=${key} ${marker}`, stream, sampling, limit })
  const abort = new AbortController()
  let why: 'time-out' | 'left' | undefined
  const give = (reason: 'time-out' | 'left') => {
    why ??= reason
    abort.abort()
  }
  const timers = [setTimeout(give, deadlineMs === undefined ? PATIENCE_MS : deadlineMs + PAST_DEADLINE_MS, 'time-out')]
  if (leaves && 'afterMs' in leaves) timers.push(setTimeout(give, leaves.afterMs, 'left'))
  const leaveAt = leaves && 'afterTokens' in leaves ? lengthOf(key, leaves.afterTokens) : Infinity

  let text = ''
  let status = 0
  const told: { ends: boolean; error: string | undefined } = { ends: false, error: undefined }
  let heard = performance.now()
  let gapMs = 0
  let gapEnd = 0
  const take = ({ text: more, ends, error }: Said) => {
    if (more !== '') {
      const now = performance.now()
      if (text !== '' && now - heard > gapMs) {
        gapMs = Math.round(now - heard)
        gapEnd = Number(process.hrtime.bigint()) / 1e6
      }
      heard = now
      text += more
      if (text.length >= leaveAt) give('left')
    }
    told.ends ||= ends
    told.error ??= error
  }
  const read = async () => {
    const response = await request((urls[gateway] ?? '') + PATHS[dialect], {
      method: 'POST', body, headers: { 'content-type': 'application/json' }, dispatcher: agent, signal: abort.signal, ...(slowMs !== undefined && { highWaterMark: SMALL }),
    })
    status = response.statusCode
    const { 'x-drover-job': job, 'x-drover-node': node } = response.headers
    tell({ who: 'client', type: 'head', key, status, ...(typeof job === 'string' && { job }), ...(typeof node === 'string' && { node }) })
    if (!stream || status !== 200) return take(readWhole(dialect, await response.body.text()))
    const reader = eventReader(dialect, (data) => take(readEvent(dialect, data)))
    response.body.setEncoding('utf8')
    for await (const chunk of response.body as AsyncIterable<string>) {
      reader(chunk)
      if (slowMs !== undefined) await sleep(slowMs)
    }
  }
  try {
    await read()
    const both = told.ends && told.error !== undefined ? { both: true as const } : {}
    if (told.error !== undefined) tell({ who: 'client', type: 'fail', key, status, error: told.error, text, ...both })
    else if (told.ends) tell({ who: 'client', type: 'ok', key, text, gapMs, gapEnd })
    else tell({ who: 'client', type: 'info', key, why: 'cut', text })
    return status === 503 && text === '' ? 'again' : 'over'
  } catch (error) {
    const code = (error as { code?: unknown }).code
    const refused = code === 'ECONNREFUSED' || (status === 0 && code === 'ECONNRESET' && why === undefined)
    const form = error instanceof SyntaxError && why === undefined
    tell({ who: 'client', type: 'info', key, why: why ?? (form ? 'form' : refused ? 'refused' : 'connection'), text, detail: error instanceof Error ? error.message.slice(0, 200) : String(error) })
    return refused ? 'again' : 'over'
  } finally {
    for (const timer of timers) clearTimeout(timer)
  }
}

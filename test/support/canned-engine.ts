import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A whole answer: an object is JSON, a list of objects is a stream in the form of the path. */
export interface Canned {
  status?: number
  answer: object | object[]
}

export interface CannedEngine {
  url: string
  /** Inference requests as they came, the last one at the end. A worker's own question for a prompt is none. */
  seen: { path: string; body: Record<string, unknown> }[]
  /** What the path answers from now on; without it, status 404. */
  answers(path: string, canned: Canned): void
  close(): Promise<void>
}

const views = (kind: 'ollama' | 'llama-server', model: string): Record<string, object> =>
  kind === 'ollama'
    ? {
        '/api/version': { version: '0.33.0' },
        '/api/tags': { models: [{ name: model, model, size: 1, digest: 'a'.repeat(64), modified_at: '2026-01-01T00:00:00Z', details: {} }] },
        '/api/ps': { models: [] },
      }
    : {
        '/props': { total_slots: 4, model_alias: model, build_info: 'b11669-Debian' },
        '/v1/models': { object: 'list', data: [{ id: model, object: 'model', meta: { size: 1, n_ctx: 4_096, n_ctx_train: 4_096 } }] },
        '/health': { status: 'ok' },
      }

const isSse = (path: string): boolean => path.startsWith('/v1') || path === '/infill'

const streamed = (path: string, events: object[]): string =>
  isSse(path)
    ? events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('') + (path.startsWith('/v1') ? 'data: [DONE]\n\n' : '')
    : events.map((event) => `${JSON.stringify(event)}\n`).join('')

/** An engine on the wire that answers with what a test puts into its mouth: calls of tools, thoughts, refusals. It shows what it was asked. */
export const startCannedEngine = async (kind: 'ollama' | 'llama-server', model: string): Promise<CannedEngine> => {
  const seen: CannedEngine['seen'] = []
  const canned = new Map<string, Canned>()
  const known = views(kind, model)
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://engine').pathname
    const reply = (status: number, type: string, text: string) => response.writeHead(status, { 'content-type': type }).end(text)
    if (request.method === 'GET') return void reply(known[path] ? 200 : 404, 'application/json', JSON.stringify(known[path] ?? {}))
    let text = ''
    request.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    request.on('end', () => {
      const body = JSON.parse(text) as Record<string, unknown>
      if (path !== '/apply-template' && body['_debug_render_only'] === undefined) seen.push({ path, body })
      const { status = 404, answer = { error: `no answer for ${path}` } } = { status: canned.has(path) ? 200 : 404, ...canned.get(path) }
      if (!Array.isArray(answer)) return void reply(status, 'application/json', JSON.stringify(answer))
      reply(status, isSse(path) ? 'text/event-stream' : 'application/x-ndjson', streamed(path, answer))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    answers: (path, answer) => void canned.set(path, answer),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const HEAD = { model: 'm', created_at: '2026-11-20T12:00:00.123456789Z' }

/** What one turn says, on either engine. */
export interface Turn {
  text?: string
  thinking?: string
  call?: { name: string; arguments: Record<string, unknown> }
}

/** The turn as Ollama streams it at `/api/chat`. */
export const ollamaTurn = ({ text = '', thinking, call }: Turn): object[] => [
  ...(thinking ? [{ ...HEAD, message: { role: 'assistant', content: '', thinking }, done: false }] : []),
  ...(text ? [{ ...HEAD, message: { role: 'assistant', content: text }, done: false }] : []),
  ...(call ? [{ ...HEAD, message: { role: 'assistant', content: '', tool_calls: [{ id: 'call_abc', function: { index: 0, ...call } }] }, done: false }] : []),
  { ...HEAD, message: { role: 'assistant', content: '' }, done: true, done_reason: 'stop', total_duration: 9, prompt_eval_count: 7, eval_count: 3 },
]

const CHUNK = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', system_fingerprint: 'b1' }

/** The turn as an engine streams it at `/v1/chat/completions`; thoughts under llama-server's name for them. */
export const openAiTurn = ({ text, thinking, call }: Turn): object[] => {
  const chunk = (delta: object, finish: string | null = null) => ({ ...CHUNK, choices: [{ index: 0, delta, finish_reason: finish }] })
  const given = JSON.stringify(call?.arguments ?? {})
  return [
    chunk({ role: 'assistant', content: null }),
    ...(thinking ? [chunk({ reasoning_content: thinking })] : []),
    ...(text ? [chunk({ content: text })] : []),
    ...(call
      ? [
          chunk({ tool_calls: [{ index: 0, id: 'call_abc', type: 'function', function: { name: call.name, arguments: given.slice(0, 1) } }] }),
          chunk({ tool_calls: [{ index: 0, function: { arguments: given.slice(1) } }] }),
        ]
      : []),
    chunk({}, call ? 'tool_calls' : 'stop'),
    { ...CHUNK, choices: [], usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 } },
  ]
}

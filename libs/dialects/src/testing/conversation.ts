import type { DialectId } from '@drover/core'
import type { JsonObject } from '../delta.ts'
import type { ExchangeRequest } from '../dialect.ts'
import { exchange } from '../exchange.ts'

/** The dialects that these conversations are held in. */
export const SPOKEN = ['ollama.chat', 'ollama.generate', 'openai.chat'] as const satisfies DialectId[]
export type Spoken = (typeof SPOKEN)[number]

/** An answer, told by no API in particular. Tool calls come after the text, as models make them. */
export interface Script {
  pieces: { text?: string; thinking?: string }[]
  calls?: { id: string; name: string; arguments: Record<string, unknown> }[]
  finish: 'stop' | 'length'
  prompt: number
  completion: number
}

const line = (event: object) => `${JSON.stringify(event)}\n`
const sse = (event: object) => `data: ${JSON.stringify(event)}\n\n`

interface Said {
  text: string
  thinking?: string
  tool_calls?: object[]
}

const native = (script: Script, say: (said: Said) => object): string => {
  const head = { model: 'engine/model', created_at: '2026-11-20T12:00:00.123456789Z' }
  const chunk = (said: Said) => line({ ...head, ...say(said), done: false })
  const events = script.pieces.map(({ text = '', thinking }) => chunk(thinking ? { text, thinking } : { text }))
  const calls = (script.calls ?? []).map(({ id, ...called }, index) => ({ id, function: { index, ...called } }))
  if (calls.length > 0) events.push(chunk({ text: '', tool_calls: calls }))
  const metrics = { total_duration: 9_000_000, load_duration: 2_000_000, prompt_eval_count: script.prompt, eval_count: script.completion }
  return [...events, line({ ...head, ...say({ text: '' }), done: true, done_reason: script.finish, ...metrics })].join('')
}

/** The answer as an engine that speaks the dialect streams it, to a request that its gateway has edited. */
export const told = (dialect: Spoken, script: Script): string => {
  if (dialect === 'ollama.chat')
    return native(script, ({ text, ...rest }) => ({ message: { role: 'assistant', content: text, ...rest } }))
  if (dialect === 'ollama.generate') return native(script, ({ text, ...rest }) => ({ response: text, ...rest }))
  const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'engine/model', system_fingerprint: 'b1' }
  const chunk = (delta: object, finish: string | null = null) => sse({ choices: [{ index: 0, delta, finish_reason: finish }], ...head })
  const calls = (script.calls ?? []).flatMap(({ id, name, arguments: given }, index) => {
    const text = JSON.stringify(given)
    return [
      chunk({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: text.slice(0, 1) } }] }),
      chunk({ tool_calls: [{ index, function: { arguments: text.slice(1) } }] }),
    ]
  })
  const usage = { prompt_tokens: script.prompt, completion_tokens: script.completion, total_tokens: script.prompt + script.completion }
  return [
    chunk({ role: 'assistant', content: null }),
    ...script.pieces.map(({ text: content, thinking: reasoning_content }) => chunk({ content, reasoning_content })),
    ...calls,
    chunk({}, script.calls?.length && script.finish === 'stop' ? 'tool_calls' : script.finish),
    sse({ choices: [], ...head, usage }),
    'data: [DONE]\n\n',
  ].join('')
}

const BODIES: Record<Spoken, Record<string, unknown>> = {
  'ollama.chat': { model: 'Asked', messages: [{ role: 'user', content: 'hello' }] },
  'ollama.generate': { model: 'Asked', prompt: 'hello' },
  'openai.chat': { model: 'Asked', messages: [{ role: 'user', content: 'hello' }] },
}

const LLAMA: ExchangeRequest['engine'] = { kind: 'llama-server', speaks: ['openai.chat'], model: 'engine/model' }
const OLLAMA: ExchangeRequest['engine'] = { kind: 'ollama', speaks: ['ollama.chat', 'ollama.generate', 'openai.chat'], model: 'engine/model' }
/** An Ollama without its `/v1`, as an old one is. */
const NATIVE: ExchangeRequest['engine'] = { kind: 'ollama', speaks: ['ollama.chat', 'ollama.generate'], model: 'engine/model' }

export const engines = { llama: LLAMA, ollama: OLLAMA, native: NATIVE }

export interface Asking {
  engine?: ExchangeRequest['engine']
  stream?: boolean
  body?: Record<string, unknown>
  policy?: ExchangeRequest['policy']
}

/** An exchange for a short greeting, with what a test wants different. */
export const ask = (dialect: Spoken, { engine = OLLAMA, stream = true, body = {}, policy = {} }: Asking = {}) =>
  exchange({
    dialect,
    body: { ...BODIES[dialect], ...body },
    stream,
    asked: 'Asked',
    engine,
    policy,
    id: '0-abcdefghijklmnopqrstuv',
    createdAt: Date.UTC(2026, 10, 20, 12),
  })

/** What the engine is asked. */
export const asked = (dialect: Spoken, asking: Asking = {}): { path: string; body: Record<string, unknown> } => {
  const { call } = ask(dialect, asking)
  if (!call) throw new Error('no engine is called')
  return { path: call.path, body: JSON.parse(call.body) }
}

/** All that comes out for an engine's answer that arrives in these pieces. */
export const answer = (dialect: Spoken, pieces: string | string[], asking: Asking = {}): string => {
  const talk = ask(dialect, asking)
  return [pieces].flat().map((piece) => talk.push(piece)).join('') + talk.finish()
}

/** The JSON of each event of a stream, or of the one body. */
export const eventsOf = (stream: string): JsonObject[] =>
  stream
    .split('\n')
    .filter((text) => text && text !== 'data: [DONE]')
    .map((text) => JSON.parse(text.replace(/^data: /, '')))

const at = (value: unknown, ...path: (string | number)[]): unknown =>
  path.reduce((inner: unknown, step) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, step) : undefined), value)

const joined = (events: JsonObject[], ...paths: (string | number)[][]) =>
  events.map((event) => paths.map((path) => at(event, ...path)).find((value) => typeof value === 'string') ?? '').join('')

const callsOf = (events: JsonObject[], ...paths: (string | number)[][]) => {
  const calls = new Map<unknown, { name: string; text: string }>()
  for (const call of events.flatMap((event) => paths.flatMap((path) => at(event, ...path) ?? []))) {
    const given = at(call, 'function', 'arguments')
    const key = at(call, 'index') ?? at(call, 'function', 'index') ?? at(call, 'id')
    const known = calls.get(key) ?? { name: '', text: '' }
    known.name += at(call, 'function', 'name') ?? ''
    known.text += typeof given === 'string' ? given : JSON.stringify(given)
    calls.set(key, known)
  }
  return [...calls.values()].map(({ name, text }) => ({ name, arguments: JSON.parse(text) as unknown }))
}

/** What a client of this dialect understands, of a stream or of one body. */
export const heard = (dialect: Spoken, answer: string) => {
  const events = eventsOf(answer)
  if (dialect === 'openai.chat') {
    const choice = ['choices', 0]
    const sides = [[...choice, 'delta'], [...choice, 'message']]
    return {
      text: joined(events, ...sides.map((side) => [...side, 'content'])),
      thinking: joined(events, ...sides.flatMap((side) => [[...side, 'reasoning_content'], [...side, 'reasoning']])),
      calls: callsOf(events, ...sides.map((side) => side.concat('tool_calls'))),
      cut: joined(events, [...choice, 'finish_reason']) === 'length',
    }
  }
  const side = dialect === 'ollama.chat' ? ['message'] : []
  return {
    text: joined(events, dialect === 'ollama.chat' ? ['message', 'content'] : ['response']),
    thinking: joined(events, [...side, 'thinking']),
    calls: callsOf(events, [...side, 'tool_calls']),
    cut: at(events.at(-1), 'done_reason') === 'length',
  }
}

import type { JsonObject } from '../delta.ts'
import type { ExchangeRequest } from '../dialect.ts'
import { exchange } from '../exchange.ts'
import { engines, type Script } from './conversation.ts'

const event = (fields: JsonObject) => `event: ${String(fields['type'])}\ndata: ${JSON.stringify(fields)}\n\n`

/** Engines by what they make of `/v1/messages`: one has it, the others have OpenAI's or Ollama's own API. */
export const MESSAGE_ENGINES = {
  own: { kind: 'llama-server', speaks: ['openai.chat', 'anthropic.messages', 'anthropic.count_tokens'], model: 'engine/model' },
  openai: engines.llama,
  native: engines.native,
} as const satisfies Record<string, ExchangeRequest['engine']>
export type MessageEngine = keyof typeof MESSAGE_ENGINES

/** The answer as an engine that has `/v1/messages` streams it. */
export const toldAsMessages = ({ pieces, calls = [], finish, prompt, completion }: Script): string => {
  let index = 0
  const block = (content_block: JsonObject, deltas: JsonObject[]) => {
    const at = index++
    const parts = deltas.map((delta) => event({ type: 'content_block_delta', index: at, delta }))
    return [event({ type: 'content_block_start', index: at, content_block }), ...parts, event({ type: 'content_block_stop', index: at })].join('')
  }
  const texts = pieces.map(({ text, thinking }) =>
    thinking === undefined
      ? block({ type: 'text', text: '' }, [{ type: 'text_delta', text: text ?? '' }])
      : block({ type: 'thinking', thinking: '' }, [{ type: 'thinking_delta', thinking }, { type: 'signature_delta', signature: '' }]),
  )
  const tools = calls.map(({ id, name, arguments: given }) => {
    const json = JSON.stringify(given)
    const cut = [json.slice(0, 1), json.slice(1)].map((partial_json) => ({ type: 'input_json_delta', partial_json }))
    return block({ type: 'tool_use', id, name }, cut)
  })
  const stop_reason = finish === 'length' ? 'max_tokens' : calls.length > 0 ? 'tool_use' : 'end_turn'
  const usage = { cache_read_input_tokens: Math.min(prompt, 3), input_tokens: prompt - Math.min(prompt, 3), output_tokens: 0 }
  const message = { id: 'chatcmpl-1', type: 'message', role: 'assistant', content: [], model: 'engine/model', stop_reason: null, stop_sequence: null, usage }
  return [
    event({ type: 'message_start', message }),
    ...texts,
    ...tools,
    event({ type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: completion } }),
    event({ type: 'message_stop' }),
  ].join('')
}

export interface Asking {
  engine?: ExchangeRequest['engine']
  stream?: boolean
  body?: JsonObject
  policy?: ExchangeRequest['policy']
}

/** An exchange for a short greeting, with what a test wants different. */
export const askMessage = (
  dialect: 'anthropic.messages' | 'anthropic.count_tokens',
  { engine = MESSAGE_ENGINES.own, stream = true, body = {}, policy = {} }: Asking = {},
) =>
  exchange({
    dialect,
    body: { model: 'Asked', max_tokens: 9, messages: [{ role: 'user', content: 'hello' }], ...body },
    stream,
    asked: 'Asked',
    engine,
    policy,
    id: '0-abcdefghijklmnopqrstuv',
    createdAt: Date.UTC(2026, 10, 20, 12),
  })

/** What the engine is asked. */
export const askedOf = (asking: Asking = {}, dialect: 'anthropic.messages' | 'anthropic.count_tokens' = 'anthropic.messages') => {
  const { call } = askMessage(dialect, asking)
  if (!call) throw new Error('no engine is called')
  return { path: call.path, body: JSON.parse(call.body) as JsonObject }
}

/** All that comes out for an engine's answer that arrives in these pieces. */
export const answerOf = (pieces: string | string[], asking: Asking = {}): string => {
  const talk = askMessage('anthropic.messages', asking)
  return [pieces].flat().map((piece) => talk.push(piece)).join('') + talk.finish()
}

/** The JSON of each event. @throws Error for one whose line of type says something else */
export const messageEvents = (stream: string): JsonObject[] =>
  stream
    .split('\n\n')
    .filter(Boolean)
    .map((text) => {
      const [, type, data] = /^event: (.*)\ndata: (.*)$/.exec(text) ?? []
      const value = JSON.parse(data ?? '') as JsonObject
      if (value['type'] !== type) throw new Error(`an event of type ${type} says ${String(value['type'])}`)
      return value
    })

interface Delta {
  text?: string
  thinking?: string
  partial_json?: string
  stop_reason?: string
}

/** What a client understands of a stream, as the blocks of a message. @throws Error where the events are not in the API's order */
export const heardMessage = (stream: string) => {
  const events = messageEvents(stream)
  const blocks: JsonObject[] = []
  let json = ''
  let open: number | undefined
  let stop_reason: string | undefined
  let usage: JsonObject = {}
  for (const [at, said] of events.entries()) {
    const { type, index } = said
    const delta = (said['delta'] ?? {}) as Delta
    if ((at === 0) !== (type === 'message_start') || (at === events.length - 1) !== (type === 'message_stop')) throw new Error(`${String(type)} at ${at}`)
    if (type === 'message_start') usage = (said['message'] as { usage: JsonObject }).usage
    else if (type === 'content_block_start') {
      if (open !== undefined || index !== blocks.length) throw new Error(`block ${String(index)} begins inside another`)
      open = blocks.push({ ...(said['content_block'] as JsonObject) }) - 1
      json = ''
    } else if (type === 'content_block_delta') {
      const block = blocks.at(-1)
      if (open !== index || !block) throw new Error(`a piece of block ${String(index)}, which is not open`)
      if (delta.text !== undefined) block['text'] += delta.text
      if (delta.thinking !== undefined) block['thinking'] += delta.thinking
      if (delta.partial_json !== undefined) json += delta.partial_json
    } else if (type === 'content_block_stop') {
      if (open !== index) throw new Error(`block ${String(index)} ends and is not open`)
      const block = blocks.at(-1)
      if (block?.['type'] === 'tool_use' && json) block['input'] = JSON.parse(json)
      open = undefined
    } else if (type === 'message_delta') {
      stop_reason = delta.stop_reason
      usage = { ...usage, ...(said['usage'] as JsonObject) }
    }
  }
  if (open !== undefined) throw new Error('the last block is open')
  return { content: blocks, stop_reason, usage }
}

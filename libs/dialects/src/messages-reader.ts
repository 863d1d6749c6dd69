import { BrokerError, type Usage } from '@drover/core'
import { isObject, type Delta, type EventReader, type Finish, type JsonObject } from './delta.ts'
import { errorText, protocol, readEvent, usageOf } from './engine-event.ts'

const FINISHES: Record<string, Finish> = { max_tokens: 'length', model_context_window_exceeded: 'length', tool_use: 'tool_calls', refusal: 'content_filter' }

const object = (value: unknown): JsonObject => (isObject(value) ? value : {})

const count = (value: unknown): number => (typeof value === 'number' ? value : 0)

/** Where an engine says other than Anthropic's API does, its event as the API has it; else the same object. */
export const asDocumented = (event: JsonObject): JsonObject => {
  const { type, delta, content_block: block, message } = event
  // Ollama (v0.33) leaves out reasons and sequences that there are none of; in the API these are null.
  if (type === 'message_start' && isObject(message) && message['stop_reason'] === undefined)
    return { ...event, message: { ...message, stop_reason: null, stop_sequence: null } }
  if (type === 'message_delta' && isObject(delta) && delta['stop_sequence'] === undefined)
    return { ...event, delta: { ...delta, stop_sequence: null } }
  // llama-server names the sequence that ended the answer, yet calls it the end of a turn.
  if (type === 'message_delta' && isObject(delta) && delta['stop_reason'] === 'end_turn' && typeof delta['stop_sequence'] === 'string')
    return { ...event, delta: { ...delta, stop_reason: 'stop_sequence' } }
  // It begins a call without its input, which every call has.
  if (type === 'content_block_start' && isObject(block) && block['type'] === 'tool_use' && block['input'] === undefined)
    return { ...event, content_block: { ...block, input: {} } }
  return event
}

/** Reads the events of Anthropic's `/v1/messages`. */
export class MessagesReader implements EventReader {
  ended = false
  usage: Usage | undefined
  #started = false
  #finished = false
  /** Places of tool calls among all blocks. */
  readonly #tools = new Map<unknown, number>()

  see(data: string): JsonObject {
    const event = readEvent(data)
    const { type, message } = event
    // llama-server's `event: error` has its fields bare: a text, and a type that is no event's.
    if (typeof message === 'string') throw new BrokerError('engine_failed', errorText(event))
    if (typeof type !== 'string') throw protocol('the engine sent an event without a type')
    if (type === 'message_start') this.#started = true
    if (type === 'message_delta' && typeof object(event['delta'])['stop_reason'] === 'string') this.#finished = true
    this.#count(event)
    if (type === 'message_stop') {
      if (!this.#started || !this.#finished) throw protocol('the engine ended its stream without a stop reason')
      this.ended = true
    }
    return event
  }

  /** Tokens of the prompt that lay in the engine's cache are counted apart; a later count stands for the whole message. */
  #count({ type, message, usage }: JsonObject): void {
    const said = type === 'message_start' ? object(message)['usage'] : type === 'message_delta' ? usage : undefined
    if (!isObject(said)) return
    const { input_tokens: input, cache_read_input_tokens: cached, cache_creation_input_tokens: created, output_tokens: output } = said
    const prompt = count(input) + count(cached) + count(created)
    this.usage = usageOf(prompt || this.usage?.promptTokens, output ?? this.usage?.completionTokens)
  }

  read(event: JsonObject): Delta[] {
    const { type, index, delta, content_block: block } = event
    if (type === 'content_block_start') return this.#begun(index, object(block))
    if (type === 'content_block_delta') return this.#grown(index, object(delta))
    if (type !== 'message_delta') return []
    const reason = object(delta)['stop_reason']
    const said: Delta = { choice: 0 }
    if (typeof reason === 'string') said.finish = FINISHES[reason] ?? 'stop'
    if (this.usage) said.usage = this.usage
    return [said]
  }

  #begun(index: unknown, { type, id, name, text, thinking }: JsonObject): Delta[] {
    if (type === 'text' && typeof text === 'string' && text) return [{ choice: 0, text }]
    if (type === 'thinking' && typeof thinking === 'string' && thinking) return [{ choice: 0, thinking }]
    if (type !== 'tool_use') return []
    if (typeof name !== 'string') throw protocol('the engine sent a tool call without a name')
    const place = this.#tools.size
    this.#tools.set(index, place)
    return [{ choice: 0, tools: [{ index: place, name, arguments: '', ...(typeof id === 'string' ? { id } : {}) }] }]
  }

  #grown(index: unknown, { type, text, thinking, partial_json: json }: JsonObject): Delta[] {
    if (type === 'text_delta' && typeof text === 'string' && text) return [{ choice: 0, text }]
    if (type === 'thinking_delta' && typeof thinking === 'string' && thinking) return [{ choice: 0, thinking }]
    const place = this.#tools.get(index)
    if (type !== 'input_json_delta' || place === undefined || typeof json !== 'string') return []
    return [{ choice: 0, tools: [{ index: place, arguments: json }] }]
  }
}

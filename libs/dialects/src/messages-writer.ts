import type { Usage } from '@drover/core'
import type { BodyWriter, Delta, EventWriter, Finish, JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { protocol, usageOf } from './engine-event.ts'
import { messageOf } from './messages-collect.ts'

/** An id in the API's own form, the same whenever it is asked for. */
const idOf = (kind: 'msg' | 'toolu', id: string, place: number | '' = ''): string => `${kind}_${id.replaceAll(/[^A-Za-z0-9]/g, '')}${place}`

const stopReason = (finish: Finish | undefined, called: boolean): string => {
  if (finish === 'length') return 'max_tokens'
  if (finish === 'content_filter') return 'refusal'
  return finish === 'tool_calls' || called ? 'tool_use' : 'end_turn'
}

/** One answer as the events of Anthropic's stream, blocks in the order in which the model made them, one open at a time. */
class MessageEvents {
  readonly #request: ExchangeRequest
  #started = false
  #index = -1
  /** What the open block is; a call by its index. */
  #open: 'text' | 'thinking' | number | undefined
  #calls = -1
  #finish: Finish | undefined
  #usage: Usage | undefined

  constructor(request: ExchangeRequest) {
    this.#request = request
  }

  take({ text, thinking, tools, finish, usage }: Delta): JsonObject[] {
    if (finish) this.#finish = finish
    if (usage) this.#usage = usage
    const out = this.#start()
    if (thinking) out.push(...this.#block('thinking', { type: 'thinking', thinking: '', signature: '' }), this.#delta({ type: 'thinking_delta', thinking }))
    if (text) out.push(...this.#block('text', { type: 'text', text: '' }), this.#delta({ type: 'text_delta', text }))
    for (const { index, name = '', arguments: json } of tools ?? []) {
      if (index !== this.#open && index <= this.#calls) throw protocol('the engine mixed the pieces of two tool calls')
      this.#calls = index
      out.push(...this.#block(index, { type: 'tool_use', id: idOf('toolu', this.#request.id, index), name, input: {} }))
      if (json) out.push(this.#delta({ type: 'input_json_delta', partial_json: json }))
    }
    return out
  }

  end(): JsonObject[] {
    const out = [...this.#start(), ...this.#close()]
    const { promptTokens, completionTokens } = this.#usage ?? usageOf(0, 0)
    const delta = { stop_reason: stopReason(this.#finish, this.#calls >= 0), stop_sequence: null }
    out.push({ type: 'message_delta', delta, usage: { input_tokens: promptTokens, output_tokens: completionTokens } }, { type: 'message_stop' })
    return out
  }

  /** The engine tells its usage at the end only; a client takes over what it is told last. */
  #start(): JsonObject[] {
    if (this.#started) return []
    this.#started = true
    const { id, asked: model } = this.#request
    const usage = { input_tokens: 0, output_tokens: 0 }
    const head = { id: idOf('msg', id), type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null, usage }
    return [{ type: 'message_start', message: head }]
  }

  #block(kind: 'text' | 'thinking' | number, content_block: JsonObject): JsonObject[] {
    if (this.#open === kind) return []
    const out = this.#close()
    this.#open = kind
    this.#index += 1
    out.push({ type: 'content_block_start', index: this.#index, content_block })
    return out
  }

  #close(): JsonObject[] {
    if (this.#open === undefined) return []
    this.#open = undefined
    return [{ type: 'content_block_stop', index: this.#index }]
  }

  #delta(delta: JsonObject): JsonObject {
    return { type: 'content_block_delta', index: this.#index, delta }
  }
}

const written = (events: readonly JsonObject[]): string =>
  events.map((event) => `event: ${String(event['type'])}\ndata: ${JSON.stringify(event)}\n\n`).join('')

/** Writes a stream of Anthropic's events from what an engine said in another API. */
export class MessagesWriter implements EventWriter {
  readonly #events: MessageEvents
  /** Why it ended was written before: only that it did is left. */
  #finished = false

  constructor(request: ExchangeRequest) {
    this.#events = new MessageEvents(request)
  }

  write(delta: Delta): string {
    return written(this.#events.take(delta))
  }

  written(delta: Delta): void {
    this.#events.take(delta)
    if (delta.finish) this.#finished = true
  }

  end(): string {
    return written(this.#finished ? this.#events.end().slice(-1) : this.#events.end())
  }
}

/** The whole answer as one message: what its stream adds up to, the engine's own where it speaks this API. */
export const messagesBody = (request: ExchangeRequest): BodyWriter => {
  const message = messageOf(request.asked)
  const events = new MessageEvents(request)
  let own = false
  return {
    take(deltas, event) {
      own ||= event !== undefined
      if (event) message.take(event)
      else for (const delta of deltas) for (const each of events.take(delta)) message.take(each)
    },
    end() {
      if (!own) for (const each of events.end()) message.take(each)
      return JSON.stringify(message.whole())
    },
  }
}

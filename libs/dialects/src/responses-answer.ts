import { BrokerError } from '@drover/core'
import { isObject, type Delta, type Finish, type JsonObject, type TokenLogprob, type ToolPiece } from './delta.ts'
import { usageOf } from './engine-event.ts'
import { isBackground, responseObject } from './responses-object.ts'
import { alternatives } from './responses-to-openai.ts'
import type { GenerationRequest } from './route.ts'
import { toolCallId } from './tool-calls.ts'

/** Most characters of one answer: its end tells all of it once more. */
const ANSWER_CHARS = 64 * 1024 * 1024

/** Most tokens of one answer whose log probabilities are kept. */
const ANSWER_LOGPROBS = 1_000_000

type Status = 'in_progress' | 'completed' | 'incomplete'

interface Thoughts {
  type: 'reasoning'
  id: string
  place: number
  text: string
}

interface Message {
  type: 'message'
  id: string
  place: number
  text: string
  logprobs: TokenLogprob[]
}

interface Call {
  type: 'function_call'
  id: string
  place: number
  call: string
  name: string
  text: string
}

type Item = Thoughts | Message | Call

/** Receives each event with what it says besides its type and its number. */
export type Emit = (type: string, said: JsonObject) => void

/** A token as this API writes it: other engines give more alternatives than were asked for, and fields of their own. */
const trimmed = (most: number) => ({ token, logprob, bytes, top_logprobs: others }: TokenLogprob): TokenLogprob => ({
  token,
  logprob,
  bytes: bytes ?? [...new TextEncoder().encode(token)],
  top_logprobs: (others ?? []).slice(0, most).map((other) => ({
    token: other.token,
    logprob: other.logprob,
    bytes: other.bytes ?? [...new TextEncoder().encode(other.token)],
  })),
})

/** One answer as it grows: its items one behind the other, and an event for every step. */
export class ResponsesAnswer {
  readonly #request: GenerationRequest
  readonly #emit: Emit
  readonly #summary: boolean
  readonly #most: number
  readonly #items: Item[] = []
  readonly #calls = new Map<number, Call>()
  /** The item that text or thoughts are added to. Calls stay open until the end: their pieces may come in any order. */
  #open: Thoughts | Message | undefined
  #began = false
  #chars = 0
  #logprobs = 0
  #last: Delta = { choice: 0 }

  constructor(request: GenerationRequest, emit: Emit) {
    this.#request = request
    this.#emit = emit
    const { reasoning } = request.body
    this.#summary = isObject(reasoning) && (reasoning['summary'] ?? reasoning['generate_summary']) !== undefined
    this.#most = alternatives(request.body) ?? 0
  }

  /** @throws BrokerError `answer_too_large` */
  add({ text, thinking, tools, logprobs, finish, usage, timings, cachedTokens }: Delta): void {
    this.#begin()
    if (thinking) this.#think(thinking)
    // Tokens of thoughts and of calls have probabilities, too, but no place here.
    if (text || (logprobs && !thinking && !tools)) this.#say(text ?? '', logprobs ?? [])
    for (const piece of tools ?? []) this.#callPiece(piece)
    if (finish) this.#last.finish = finish
    if (usage) this.#last.usage = usage
    if (timings) this.#last.timings = timings
    if (cachedTokens !== undefined) this.#last.cachedTokens = cachedTokens
  }

  /** Closes what is open. Returns the whole answer, of which the last event was told. */
  end(): JsonObject {
    this.#begin()
    // An answer without a word is an empty message.
    if (this.#items.length === 0) this.#openMessage()
    if (this.#open) this.#close(this.#open)
    for (const item of this.#calls.values()) this.#close(item)
    const status = this.#cut() ? 'incomplete' : 'completed'
    const response = this.#response(status)
    this.#emit(`response.${status}`, { response })
    return response
  }

  #cut(): string | undefined {
    const reasons: Partial<Record<Finish, string>> = { length: 'max_output_tokens', content_filter: 'content_filter' }
    return reasons[this.#last.finish ?? 'stop']
  }

  #begin(): void {
    if (this.#began) return
    this.#began = true
    // Of one that runs in the background, that it was created was told before it had begun.
    if (!isBackground(this.#request)) this.#emit('response.created', { response: this.#response('in_progress') })
    this.#emit('response.in_progress', { response: this.#response('in_progress') })
  }

  #grow(chars: number): void {
    this.#chars += chars
    if (this.#chars > ANSWER_CHARS) throw new BrokerError('answer_too_large', `the answer is longer than ${ANSWER_CHARS} characters`)
  }

  #place(item: Item): void {
    this.#items.push(item)
    this.#emit('response.output_item.added', { output_index: item.place, item: this.#shown(item, 'in_progress', true) })
  }

  #newId(prefix: string): string {
    return `${prefix}_${this.#request.id}_${this.#items.length}`
  }

  #think(text: string): void {
    this.#grow(text.length)
    let item = this.#open
    if (item?.type !== 'reasoning') {
      if (item) this.#close(item)
      item = this.#open = { type: 'reasoning', id: this.#newId('rs'), place: this.#items.length, text: '' }
      this.#place(item)
      this.#emit(this.#summary ? 'response.reasoning_summary_part.added' : 'response.content_part.added', {
        ...this.#within(item), part: this.#thought(''),
      })
    }
    item.text += text
    this.#emit(this.#summary ? 'response.reasoning_summary_text.delta' : 'response.reasoning_text.delta', { ...this.#within(item), delta: text })
  }

  #say(text: string, logprobs: TokenLogprob[]): void {
    this.#grow(text.length)
    this.#logprobs += logprobs.length
    if (this.#logprobs > ANSWER_LOGPROBS) throw new BrokerError('answer_too_large', `the answer has more than ${ANSWER_LOGPROBS} log probabilities`)
    if (this.#open?.type === 'reasoning') {
      this.#close(this.#open)
      this.#open = undefined
    }
    const item = this.#open ?? this.#openMessage()
    const tokens = logprobs.map(trimmed(this.#most))
    item.text += text
    item.logprobs.push(...tokens)
    this.#emit('response.output_text.delta', { ...this.#within(item), delta: text, logprobs: tokens })
  }

  #openMessage(): Message {
    const item: Message = { type: 'message', id: this.#newId('msg'), place: this.#items.length, text: '', logprobs: [] }
    this.#open = item
    this.#place(item)
    this.#emit('response.content_part.added', { ...this.#within(item), part: said('', []) })
    return item
  }

  #callPiece({ index, id, name, arguments: text = '' }: ToolPiece): void {
    this.#grow(text.length + (name?.length ?? 0) + 16)
    let item = this.#calls.get(index)
    if (item) item.name ||= name ?? ''
    else {
      if (this.#open) this.#close(this.#open)
      this.#open = undefined
      const call = id ?? toolCallId(this.#request.id, index)
      item = { type: 'function_call', id: this.#newId('fc'), place: this.#items.length, call, name: name ?? '', text: '' }
      this.#calls.set(index, item)
      this.#place(item)
    }
    if (!text) return
    item.text += text
    this.#emit('response.function_call_arguments.delta', { item_id: item.id, output_index: item.place, delta: text })
  }

  /** Where an answer was cut short, it was in its last item. */
  #statusOf(item: Item): Status {
    return this.#cut() && item === this.#items.at(-1) ? 'incomplete' : 'completed'
  }

  #close(item: Item): void {
    if (item.type === 'function_call') {
      const { id, place, text } = item
      this.#emit('response.function_call_arguments.done', { item_id: id, output_index: place, arguments: text })
    } else if (item.type === 'message') {
      const { text, logprobs } = item
      this.#emit('response.output_text.done', { ...this.#within(item), text, logprobs })
      this.#emit('response.content_part.done', { ...this.#within(item), part: said(text, logprobs) })
    } else {
      this.#emit(this.#summary ? 'response.reasoning_summary_text.done' : 'response.reasoning_text.done', { ...this.#within(item), text: item.text })
      this.#emit(this.#summary ? 'response.reasoning_summary_part.done' : 'response.content_part.done', {
        ...this.#within(item), part: this.#thought(item.text),
      })
    }
    this.#emit('response.output_item.done', { output_index: item.place, item: this.#shown(item, this.#statusOf(item)) })
  }

  /** Where an item's one part stands. */
  #within({ type, id, place }: Thoughts | Message): JsonObject {
    const part = type === 'reasoning' && this.#summary ? { summary_index: 0 } : { content_index: 0 }
    return { item_id: id, output_index: place, ...part }
  }

  /** A client that asked for a summary reads nothing else: there the thoughts stand in its place. */
  #thought(text: string): JsonObject {
    return { type: this.#summary ? 'summary_text' : 'reasoning_text', text }
  }

  /** An item as the API writes it; one that has only begun has no content yet. */
  #shown(item: Item, status: Status, empty = false): JsonObject {
    const { id, type, text } = item
    if (type === 'function_call') return { id, type, status, call_id: item.call, name: item.name, arguments: text }
    if (type === 'message') return { id, type, status, role: 'assistant', content: empty ? [] : [said(text, item.logprobs)] }
    const thoughts = empty ? [] : [this.#thought(text)]
    return { id, type, status, summary: this.#summary ? thoughts : [], content: this.#summary ? [] : thoughts, encrypted_content: null }
  }

  #response(status: Status): JsonObject {
    const { timings, usage, cachedTokens } = this.#last
    if (status === 'in_progress') return responseObject(this.#request, { status })
    const { createdAt } = this.#request
    return responseObject(this.#request, {
      status,
      completedAt: createdAt + (timings ? timings.loadMs + timings.promptMs + timings.completionMs : 0),
      cut: this.#cut(),
      output: this.#items.map((item) => this.#shown(item, this.#statusOf(item))),
      usage: usage ?? usageOf(0, 0),
      cachedTokens,
    })
  }
}

const said = (text: string, logprobs: readonly TokenLogprob[]): JsonObject => ({ type: 'output_text', text, annotations: [], logprobs })

import type { Usage } from '@drover/core'
import { Collected } from './collect.ts'
import { isFilled, isObject, type BodyWriter, type Delta, type EventReader, type EventWriter, type JsonObject } from './delta.ts'
import type { TokenLogprob, ToolPiece } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { logprobsOf, protocol, readEvent, timeOf, usageOf } from './engine-event.ts'
import { ToolCalls, type ToolCall } from './tool-calls.ts'

export type OllamaKind = 'chat' | 'generate'

const NS_PER_MS = 1e6

/** Reads Ollama's native events; one body is the same object with everything in it. */
export class OllamaReader implements EventReader {
  ended = false
  usage: Usage | undefined
  readonly #kind: OllamaKind
  #tools = 0

  constructor(kind: OllamaKind) {
    this.#kind = kind
  }

  see(data: string): JsonObject {
    const event = readEvent(data)
    const { done } = event
    if (typeof done !== 'boolean') throw protocol('the engine sent an event without done')
    if (this.#kind === 'chat' ? !isObject(event['message']) : typeof event['response'] !== 'string')
      throw protocol(`the engine sent an event without ${this.#kind === 'chat' ? 'message' : 'response'}`)
    if (done) {
      this.ended = true
      this.usage = usageOf(event['prompt_eval_count'], event['eval_count'])
    }
    return event
  }

  read(event: JsonObject): Delta[] {
    const from = this.#kind === 'chat' ? (event['message'] as JsonObject) : event
    const text = this.#kind === 'chat' ? from['content'] : from['response']
    const { thinking, tool_calls: calls } = from
    const delta: Delta = { choice: 0 }
    if (typeof text === 'string' && text) delta.text = text
    if (typeof thinking === 'string' && thinking) delta.thinking = thinking
    if (isFilled(calls)) delta.tools = calls.map((call) => this.#toolPiece(call))
    const logprobs = logprobsOf(event['logprobs'])
    if (logprobs) delta.logprobs = logprobs
    if (event['done'] === true) {
      delta.finish = event['done_reason'] === 'length' ? 'length' : this.#tools > 0 ? 'tool_calls' : 'stop'
      delta.usage = usageOf(event['prompt_eval_count'], event['eval_count'])
      delta.timings = {
        loadMs: timeOf(event['load_duration']) / NS_PER_MS,
        promptMs: timeOf(event['prompt_eval_duration']) / NS_PER_MS,
        completionMs: timeOf(event['eval_duration']) / NS_PER_MS,
      }
    }
    return [delta]
  }

  /** Ollama sends a call whole, and numbers calls within one event only. */
  #toolPiece(call: unknown): ToolPiece {
    const called = isObject(call) ? call['function'] : undefined
    if (!isObject(call) || !isObject(called) || typeof called['name'] !== 'string')
      throw protocol('the engine sent a tool call without a name')
    const piece: ToolPiece = { index: this.#tools++, name: called['name'], arguments: JSON.stringify(called['arguments'] ?? {}) }
    if (typeof call['id'] === 'string' && call['id']) piece.id = call['id']
    return piece
  }
}

/** Times and counts of the last object; zeros are left out, as Ollama does. */
const metrics = (usage: Usage | undefined, { loadMs, promptMs, completionMs } = { loadMs: 0, promptMs: 0, completionMs: 0 }) => {
  const fields = {
    total_duration: Math.round((loadMs + promptMs + completionMs) * NS_PER_MS),
    load_duration: Math.round(loadMs * NS_PER_MS),
    prompt_eval_count: usage?.promptTokens ?? 0,
    prompt_eval_duration: Math.round(promptMs * NS_PER_MS),
    eval_count: usage?.completionTokens ?? 0,
    eval_duration: Math.round(completionMs * NS_PER_MS),
  }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value > 0))
}

const time = (ms: number) => new Date(ms).toISOString()

const totalMs = (timings: Delta['timings']) => (timings ? timings.loadMs + timings.promptMs + timings.completionMs : 0)

/** Other engines give more alternatives than were asked for, and fields that Ollama does not have. */
const trimmed = (logprobs: TokenLogprob[], most: number): TokenLogprob[] =>
  logprobs.map(({ token, logprob, bytes, top_logprobs: others }) => ({
    token,
    logprob,
    ...(bytes ? { bytes } : {}),
    ...(most > 0 && Array.isArray(others) ? { top_logprobs: trimmed(others.slice(0, most), 0) } : {}),
  }))

const asked = (request: ExchangeRequest): number => {
  const most = request.body['top_logprobs']
  return typeof most === 'number' ? most : 0
}

/** Calls as the native API writes them: arguments are an object. */
const nativeCalls = (calls: readonly ToolCall[]) =>
  calls.map(({ id, name, arguments: given }, index) => ({ id, function: { index, name, arguments: given } }))

/** The text of an event or a body of this kind, under the name that the kind has for it. */
const said = (kind: OllamaKind, text: string, thinking: string, calls: readonly ToolCall[]): JsonObject => {
  const extra = { ...(thinking ? { thinking } : {}), ...(calls.length > 0 ? { tool_calls: nativeCalls(calls) } : {}) }
  return kind === 'chat' ? { message: { role: 'assistant', content: text, ...extra } } : { response: text, ...extra }
}

/** Writes a stream of native events from what another API's engine says. */
export class OllamaWriter implements EventWriter {
  readonly #kind: OllamaKind
  readonly #request: ExchangeRequest
  readonly #begin: string
  readonly #tools: ToolCalls
  /** Calls that were written before. */
  #told = 0
  #last: Delta = { choice: 0 }

  constructor(kind: OllamaKind, request: ExchangeRequest) {
    this.#kind = kind
    this.#request = request
    this.#begin = `{"model":${JSON.stringify(request.asked)},"created_at":${JSON.stringify(time(request.createdAt))},`
    this.#tools = new ToolCalls(request.id)
  }

  write(delta: Delta): string {
    const { text = '', thinking = '', tools, logprobs, finish, usage, timings } = delta
    if (tools) this.#tools.add(tools)
    if (finish) this.#last.finish = finish
    if (usage) this.#last.usage = usage
    if (timings) this.#last.timings = timings
    const calls = finish ? this.#tools.whole(finish).slice(this.#told) : []
    if (!text && !thinking && !logprobs && calls.length === 0) return ''
    const tail = logprobs ? `,"logprobs":${JSON.stringify(trimmed(logprobs, asked(this.#request)))}` : ''
    return `${this.#begin}${JSON.stringify(said(this.#kind, text, thinking, calls)).slice(1, -1)},"done":false${tail}}\n`
  }

  written({ tools }: Delta): void {
    if (!tools) return
    this.#tools.add(tools)
    this.#told += tools.length
  }

  end(): string {
    const { finish, usage, timings } = this.#last
    const event = {
      model: this.#request.asked,
      created_at: time(this.#request.createdAt + totalMs(timings)),
      ...said(this.#kind, '', '', []),
      done: true,
      done_reason: finish === 'length' ? 'length' : 'stop',
      ...metrics(usage, timings),
    }
    return `${JSON.stringify(event)}\n`
  }
}

/** The whole answer as one native body. Where the engine speaks this dialect, the fields of its own last event are kept. */
export const ollamaBody = (kind: OllamaKind, request: ExchangeRequest): BodyWriter => {
  const answer = new Collected(request.id)
  let last: JsonObject | undefined
  return {
    take(deltas, event) {
      for (const delta of deltas) answer.add(delta)
      last = event
    },
    end() {
      const { text, thinking, tools, logprobs, finish } = answer.choice(0)
      const { usage, timings } = answer
      const body: JsonObject = {
        model: request.asked,
        created_at: time(request.createdAt + totalMs(timings)),
        ...said(kind, text, thinking, tools.whole(finish ?? 'stop')),
        done: true,
        done_reason: finish === 'length' ? 'length' : 'stop',
        ...(last ? {} : metrics(usage, timings)),
      }
      if (last) {
        const { message: _message, response: _response, thinking: _thinking, tool_calls: _calls, logprobs: _logprobs, ...kept } = last
        Object.assign(body, kept, { model: request.asked })
      }
      if (logprobs.length > 0) body['logprobs'] = last ? logprobs : trimmed(logprobs, asked(request))
      return JSON.stringify(body)
    },
  }
}

/** The answer to a request that only loads or unloads a model. */
export const loadBody = (kind: OllamaKind, { asked: model, createdAt }: ExchangeRequest, reason: 'load' | 'unload'): string =>
  JSON.stringify({ model, created_at: time(createdAt), ...said(kind, '', '', []), done: true, done_reason: reason })

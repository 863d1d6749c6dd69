import type { Usage } from '@drover/core'
import { Collected, type Choice } from './collect.ts'
import { isObject, type BodyWriter, type Delta, type EventWriter, type Finish, type JsonObject, type ToolPiece } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { usageOf } from './engine-event.ts'
import { DONE } from './openai-reader.ts'
import { toolCallId, type ToolCallText } from './tool-calls.ts'

/** Who answered, in the fields that every event of one answer repeats. */
export interface Identity {
  id: string
  created: number
  system_fingerprint: string
}

/** The engine's own identity where it gave one, else one made from the job's. */
export const identity = ({ id, createdAt }: ExchangeRequest, event: JsonObject = {}, prefix = 'chatcmpl'): Identity => ({
  id: typeof event['id'] === 'string' ? event['id'] : `${prefix}-${id}`,
  created: typeof event['created'] === 'number' ? event['created'] : Math.floor(createdAt / 1_000),
  system_fingerprint: typeof event['system_fingerprint'] === 'string' ? event['system_fingerprint'] : 'fp_ollama',
})

/** The field that the engine's own OpenAI endpoint uses for thoughts. */
const thinkingField = ({ engine }: ExchangeRequest) => (engine.kind === 'ollama' ? 'reasoning' : 'reasoning_content')

export const usageFields = ({ promptTokens, completionTokens }: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
})

/** Whether the client wants the event with the usage at the end of its stream. */
export const wantsUsage = ({ body }: ExchangeRequest): boolean => {
  const { stream_options: options } = body
  return isObject(options) && options['include_usage'] === true
}

/** Writes a stream of chunks from what an engine said in another API, or in one body. */
export class OpenAiWriter implements EventWriter {
  readonly #request: ExchangeRequest
  #begin = ''
  #opened = 0
  #tools = 0
  #usage: Usage | undefined
  /** The usage was written before. */
  #told = false

  constructor(request: ExchangeRequest) {
    this.#request = request
    this.identify({})
  }

  /** Takes over the engine's identity before the first write. */
  identify(event: JsonObject): void {
    const { id, created, system_fingerprint } = identity(this.#request, event)
    const fields = { id, object: 'chat.completion.chunk', created, model: this.#request.asked, system_fingerprint }
    this.#begin = `data: ${JSON.stringify(fields).slice(0, -1)},`
  }

  write({ choice, text, thinking, tools, logprobs, finish, usage }: Delta): string {
    if (usage) this.#usage = usage
    let out = ''
    if (text !== undefined || thinking !== undefined || tools || logprobs) {
      const said: JsonObject = { content: text ?? '' }
      if (thinking !== undefined) said[thinkingField(this.#request)] = thinking
      if (tools) {
        said['tool_calls'] = tools.map((piece) => this.#toolCall(piece))
        this.#tools |= 1 << choice
      }
      out += this.#chunk(choice, said, null, logprobs && { logprobs: { content: logprobs } })
    }
    if (finish) out += this.#chunk(choice, {}, finish === 'stop' && this.#tools & (1 << choice) ? 'tool_calls' : finish)
    return out
  }

  written({ choice, tools, usage }: Delta): void {
    this.#opened |= 1 << choice
    if (tools) this.#tools |= 1 << choice
    if (usage) this.#told = true
  }

  end(): string {
    const usage = wantsUsage(this.#request) && !this.#told && this.#usage
    return `${usage ? `${this.#begin}"choices":[],"usage":${JSON.stringify(usageFields(usage))}}\n\n` : ''}data: ${DONE}\n\n`
  }

  #chunk(index: number, said: JsonObject, finish: Finish | null, extra: JsonObject | undefined = undefined): string {
    const first = (this.#opened & (1 << index)) === 0
    this.#opened |= 1 << index
    const delta = first ? { role: 'assistant', content: '', ...said } : said
    return `${this.#begin}"choices":[${JSON.stringify({ index, delta, ...extra, finish_reason: finish })}]}\n\n`
  }

  /** The first piece of a call has its name and must have an id. */
  #toolCall({ index, id, name, arguments: text = '' }: ToolPiece): JsonObject {
    if (name === undefined) return { index, function: { arguments: text } }
    return { index, id: id ?? toolCallId(this.#request.id, index), type: 'function', function: { name, arguments: text } }
  }
}

const callField = ({ id, name, arguments: text }: ToolCallText) => ({ id, type: 'function', function: { name, arguments: text } })

/** Fields around the choices that an engine's own OpenAI answer keeps. */
const ENVELOPE = ['id', 'created', 'system_fingerprint', 'usage', 'timings']

/** An answer of OpenAI's as one body: choices, and what stands around them, which is the engine's where it speaks this API. */
export const choicesBody = (
  request: ExchangeRequest,
  { object, idPrefix, choice }: { object: string; idPrefix?: string; choice(index: number, said: Choice): JsonObject },
): BodyWriter => {
  const answer = new Collected(request.id)
  const envelope: JsonObject = {}
  return {
    take(deltas, event = {}) {
      for (const delta of deltas) answer.add(delta)
      for (const name of ENVELOPE) if (event[name] !== undefined && event[name] !== null) envelope[name] = event[name]
    },
    end() {
      const choices = answer.choices().map(([index, said]) => choice(index, said))
      const { id, created, system_fingerprint } = identity(request, envelope, idPrefix)
      // Each of several answers brings its own usage: only their sum is the request's.
      const one = choices.length === 1 && isObject(envelope['usage'])
      const usage = one ? envelope['usage'] : usageFields(answer.usage ?? usageOf(0, 0))
      const timings = isObject(envelope['timings']) ? { timings: envelope['timings'] } : {}
      const head = { id, object, created, model: request.asked, system_fingerprint }
      return JSON.stringify({ ...head, choices, usage, ...timings })
    },
  }
}

/** The whole answer as one `chat.completion`. */
export const openAiBody = (request: ExchangeRequest): BodyWriter =>
  choicesBody(request, {
    object: 'chat.completion',
    choice(index, { text, thinking, tools, logprobs, finish }) {
      const calls = tools.texts()
      const message: JsonObject = { role: 'assistant', content: text }
      if (thinking) message[thinkingField(request)] = thinking
      if (calls.length > 0) message['tool_calls'] = calls.map(callField)
      const choice: JsonObject = { index, message, finish_reason: finish === 'stop' && calls.length > 0 ? 'tool_calls' : finish }
      if (logprobs.length > 0) choice['logprobs'] = { content: logprobs }
      return choice
    },
  })

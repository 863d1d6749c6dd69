import type { Usage } from '@drover/core'
import type { BodyWriter, Delta, EventWriter, JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { DONE } from './openai-reader.ts'
import { choicesBody, identity, usageFields, wantsUsage } from './openai-writer.ts'

const ID = 'cmpl'

/** Both engines write log probabilities as in chats, not in the form that OpenAI's own servers have here. */
const logprobsField = (logprobs: Delta['logprobs']) => (logprobs && logprobs.length > 0 ? { content: logprobs } : null)

/** Writes a stream of `text_completion` chunks. Thoughts have no place in them. */
export class CompletionsWriter implements EventWriter {
  readonly #request: ExchangeRequest
  #begin = ''
  #usage: Usage | undefined
  /** The usage was written before. */
  #told = false

  constructor(request: ExchangeRequest) {
    this.#request = request
    this.identify({})
  }

  /** Takes over the engine's identity before the first write. */
  identify(event: JsonObject): void {
    const { id, created, system_fingerprint } = identity(this.#request, event, ID)
    const fields = { id, object: 'text_completion', created, model: this.#request.asked, system_fingerprint }
    this.#begin = `data: ${JSON.stringify(fields).slice(0, -1)},`
  }

  write({ choice: index, text, logprobs, finish, usage }: Delta): string {
    if (usage) this.#usage = usage
    if (text === undefined && !logprobs && !finish) return ''
    const choice = { text: text ?? '', index, logprobs: logprobsField(logprobs), finish_reason: finish ?? null }
    return `${this.#begin}"choices":[${JSON.stringify(choice)}]}\n\n`
  }

  written({ usage }: Delta): void {
    if (usage) this.#told = true
  }

  end(): string {
    const usage = wantsUsage(this.#request) && !this.#told && this.#usage
    return `${usage ? `${this.#begin}"choices":[],"usage":${JSON.stringify(usageFields(usage))}}\n\n` : ''}data: ${DONE}\n\n`
  }
}

/** The whole answer as one `text_completion`. */
export const completionsBody = (request: ExchangeRequest): BodyWriter =>
  choicesBody(request, {
    object: 'text_completion',
    idPrefix: ID,
    choice: (index, { text, logprobs, finish }) => ({ text, index, logprobs: logprobsField(logprobs), finish_reason: finish }),
  })

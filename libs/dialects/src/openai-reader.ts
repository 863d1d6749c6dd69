import type { Usage } from '@drover/core'
import { isFilled, isObject, type Delta, type EventReader, type Finish, type JsonObject, type ToolPiece } from './delta.ts'
import { logprobsOf, protocol, readEvent, timeOf, usageOf } from './engine-event.ts'

export const DONE = '[DONE]'

/** Choices that one stream may have; their state is kept in the bits of one number. */
const CHOICES = 30

const finishOf = (reason: string): Finish =>
  reason === 'length' || reason === 'tool_calls' || reason === 'content_filter' ? reason : 'stop'

/**
 * Reads OpenAI's events, `/v1/completions` included (its choices have `text` instead of `delta`), and bodies (`message`).
 * llama-server's `timings` count where no `usage` came.
 */
export class OpenAiReader implements EventReader {
  ended = false
  usage: Usage | undefined
  #opened = 0
  #finished = 0
  /** Tokens of each prompt: several answers to one prompt each tell of it. */
  readonly #prompts = new Map<number, number>()
  readonly #perPrompt: number

  /** `perPrompt`: answers to one prompt, where the request may have several prompts. */
  constructor(perPrompt = Infinity) {
    this.#perPrompt = perPrompt
  }

  see(data: string): JsonObject | undefined {
    if (data === DONE || (data.length < 16 && data.trim() === DONE)) {
      if (!this.#allFinished()) throw protocol('the engine ended its stream without a finish reason')
      this.ended = true
      return undefined
    }
    const event = readEvent(data)
    for (const choice of choicesOf(event)) {
      const bit = 1 << indexOf(choice)
      this.#opened |= bit
      if (typeof choice['finish_reason'] === 'string') this.#finished |= bit
    }
    this.#count(event)
    return event
  }

  /** With several answers llama-server tells the usage of each. */
  #count(event: JsonObject): void {
    const usage = usageIn(event)
    if (!usage) return
    const [first] = choicesOf(event)
    this.#prompts.set(first ? Math.floor(indexOf(first) / this.#perPrompt) : 0, usage.promptTokens)
    this.usage = {
      promptTokens: [...this.#prompts.values()].reduce((sum, tokens) => sum + tokens, 0),
      completionTokens: (this.usage?.completionTokens ?? 0) + usage.completionTokens,
    }
  }

  /** One body instead of events. */
  seeBody(text: string): JsonObject {
    const body = this.see(text)
    if (!body || !this.#allFinished()) throw protocol('the engine sent an answer without a finish reason')
    this.ended = true
    return body
  }

  #allFinished() {
    return this.#opened !== 0 && this.#opened === this.#finished
  }

  read(event: JsonObject): Delta[] {
    const deltas = choicesOf(event).map(readChoice)
    const { usage } = usageIn(event) ? this : { usage: undefined }
    const { timings } = event
    if (!usage && !isObject(timings)) return deltas
    const last = deltas[0] ?? { choice: 0 }
    if (usage) last.usage = usage
    const cached = cachedIn(event)
    if (cached !== undefined) last.cachedTokens = cached
    if (isObject(timings))
      last.timings = { loadMs: 0, promptMs: timeOf(timings['prompt_ms']), completionMs: timeOf(timings['predicted_ms']) }
    return deltas.length > 0 ? deltas : [last]
  }
}

const choicesOf = ({ choices }: JsonObject): JsonObject[] => {
  if (!Array.isArray(choices) || !choices.every(isObject)) throw protocol('the engine sent an event without choices')
  return choices
}

const indexOf = ({ index = 0 }: JsonObject): number => {
  if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= CHOICES)
    throw protocol('the engine sent a choice with a wrong index')
  return index
}

const usageIn = ({ usage, timings }: JsonObject): Usage | undefined => {
  if (isObject(usage)) return usageOf(usage['prompt_tokens'], usage['completion_tokens'])
  if (!isObject(timings)) return undefined
  const prompt = timeOf(timings['cache_n']) + timeOf(timings['prompt_n'])
  return usageOf(prompt, timings['predicted_n'])
}

/** llama-server tells how much of the prompt it had read before, Ollama does not. */
const cachedIn = ({ usage }: JsonObject): number | undefined => {
  const details = isObject(usage) ? usage['prompt_tokens_details'] : undefined
  const cached = isObject(details) ? details['cached_tokens'] : undefined
  return typeof cached === 'number' ? cached : undefined
}

const readChoice = (choice: JsonObject): Delta => {
  const delta: Delta = { choice: indexOf(choice) }
  const from = isObject(choice['delta']) ? choice['delta'] : isObject(choice['message']) ? choice['message'] : {}
  const text = from['content'] ?? choice['text']
  const thinking = from['reasoning_content'] ?? from['reasoning']
  const { tool_calls: calls } = from
  if (typeof text === 'string' && text) delta.text = text
  if (typeof thinking === 'string' && thinking) delta.thinking = thinking
  if (isFilled(calls)) delta.tools = calls.map(toolPiece)
  const logprobs = isObject(choice['logprobs']) ? logprobsOf(choice['logprobs']['content']) : undefined
  if (logprobs) delta.logprobs = logprobs
  if (typeof choice['finish_reason'] === 'string') delta.finish = finishOf(choice['finish_reason'])
  return delta
}

/** A body's calls have no index: their place is it. */
const toolPiece = (call: unknown, place: number): ToolPiece => {
  if (!isObject(call)) throw protocol('the engine sent a tool call that is not one')
  const called = isObject(call['function']) ? call['function'] : {}
  const piece: ToolPiece = { index: typeof call['index'] === 'number' ? call['index'] : place }
  if (typeof call['id'] === 'string' && call['id']) piece.id = call['id']
  if (typeof called['name'] === 'string') piece.name = called['name']
  if (typeof called['arguments'] === 'string') piece.arguments = called['arguments']
  return piece
}

import type { Usage } from '@drover/core'
import { isObject, type Delta, type EventReader, type JsonObject } from './delta.ts'
import { logprobsOf, protocol, readEvent, timeOf, usageOf } from './engine-event.ts'

/** Reads llama-server's own events, as `/infill` sends them: each answer has a last one that says so, and nothing comes behind them. */
export class InfillReader implements EventReader {
  usage: Usage | undefined
  readonly #answers: number
  readonly #finished = new Set<number>()

  /** `answers`: how many were asked for. */
  constructor(answers: number) {
    this.#answers = answers
  }

  get ended(): boolean {
    return this.#finished.size === this.#answers
  }

  see(data: string): JsonObject {
    const event = readEvent(data)
    const choice = this.#indexOf(event)
    if (typeof event['content'] !== 'string') throw protocol('the engine sent an event without content')
    if (event['stop'] !== true) return event
    this.#finished.add(choice)
    const { promptTokens, completionTokens } = usageOf(event['tokens_evaluated'], event['tokens_predicted'])
    // All answers are to one prompt.
    this.usage = { promptTokens, completionTokens: (this.usage?.completionTokens ?? 0) + completionTokens }
    return event
  }

  #indexOf({ index = 0 }: JsonObject): number {
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= this.#answers)
      throw protocol('the engine sent a choice with a wrong index')
    return index
  }

  read(event: JsonObject): Delta[] {
    const { content, completion_probabilities: tokens, stop, stop_type: why, timings } = event
    const delta: Delta = { choice: this.#indexOf(event) }
    if (typeof content === 'string' && content) delta.text = content
    const logprobs = logprobsOf(tokens)
    if (logprobs) delta.logprobs = logprobs
    if (stop !== true) return [delta]
    delta.finish = why === 'limit' ? 'length' : 'stop'
    if (this.usage) delta.usage = this.usage
    if (isObject(timings))
      delta.timings = { loadMs: 0, promptMs: timeOf(timings['prompt_ms']), completionMs: timeOf(timings['predicted_ms']) }
    return [delta]
  }
}

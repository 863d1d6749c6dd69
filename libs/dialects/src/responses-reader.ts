import { BrokerError, type Usage } from '@drover/core'
import { isObject, type Delta, type EventReader, type Finish, type JsonObject, type ToolPiece } from './delta.ts'
import { errorText, logprobsOf, protocol, readEvent, timeOf, usageOf } from './engine-event.ts'

const FAILED = new Set(['error', 'response.failed'])
const ENDED = new Set(['response.completed', 'response.incomplete'])

const usageIn = (response: JsonObject): Usage | undefined => {
  const { usage } = response
  return isObject(usage) ? usageOf(usage['input_tokens'], usage['output_tokens']) : undefined
}

const cachedIn = ({ usage }: JsonObject): number | undefined => {
  const details = isObject(usage) ? usage['input_tokens_details'] : undefined
  const cached = isObject(details) ? details['cached_tokens'] : undefined
  return typeof cached === 'number' ? cached : undefined
}

const textIn = ({ delta }: JsonObject): string => {
  if (typeof delta !== 'string') throw protocol('the engine sent a piece of text that is not text')
  return delta
}

/**
 * Reads the events of `/v1/responses`. llama-server's (b11669) have no numbers and no places of items, so calls are told apart by
 * the ids of their items.
 */
export class ResponsesReader implements EventReader {
  ended = false
  usage: Usage | undefined
  readonly #calls = new Map<string, number>()

  see(data: string): JsonObject | undefined {
    const event = readEvent(data)
    const { type, response } = event
    if (typeof type !== 'string') throw protocol('the engine sent an event without a type')
    if (FAILED.has(type)) throw new BrokerError('engine_failed', errorText(isObject(response) ? response['error'] : event))
    if (!ENDED.has(type)) return event
    if (!isObject(response)) throw protocol('the engine ended its stream without an answer')
    this.usage = usageIn(response) ?? this.usage
    this.ended = true
    return event
  }

  read(event: JsonObject): Delta[] {
    switch (event['type']) {
      case 'response.output_text.delta': {
        const logprobs = logprobsOf(event['logprobs'])
        return [{ choice: 0, text: textIn(event), ...(logprobs ? { logprobs } : {}) }]
      }
      case 'response.reasoning_text.delta':
      case 'response.reasoning_summary_text.delta':
        return [{ choice: 0, thinking: textIn(event) }]
      case 'response.output_item.added':
        return isObject(event['item']) && event['item']['type'] === 'function_call' ? [{ choice: 0, tools: [this.#called(event['item'])] }] : []
      case 'response.function_call_arguments.delta':
        return [{ choice: 0, tools: [{ index: this.#indexOf(event['item_id']), arguments: textIn(event) }] }]
      case 'response.completed':
      case 'response.incomplete':
        return [this.#last(event)]
      default:
        return []
    }
  }

  #indexOf(id: unknown): number {
    if (typeof id !== 'string') throw protocol('the engine sent a tool call without an id')
    const index = this.#calls.get(id) ?? this.#calls.size
    this.#calls.set(id, index)
    return index
  }

  #called({ id, call_id: call, name, arguments: given }: JsonObject): ToolPiece {
    const piece: ToolPiece = { index: this.#indexOf(id) }
    if (typeof call === 'string') piece.id = call
    if (typeof name === 'string') piece.name = name
    if (typeof given === 'string' && given) piece.arguments = given
    return piece
  }

  #last({ response, timings }: JsonObject): Delta {
    const answer = isObject(response) ? response : {}
    const { incomplete_details: why } = answer
    const cut: Finish = isObject(why) && why['reason'] === 'content_filter' ? 'content_filter' : 'length'
    const whole: Finish = this.#calls.size > 0 ? 'tool_calls' : 'stop'
    const delta: Delta = { choice: 0, finish: answer['status'] === 'incomplete' ? cut : whole }
    const usage = usageIn(answer)
    const cached = cachedIn(answer)
    if (usage) delta.usage = usage
    if (cached !== undefined) delta.cachedTokens = cached
    if (isObject(timings))
      delta.timings = { loadMs: 0, promptMs: timeOf(timings['prompt_ms']), completionMs: timeOf(timings['predicted_ms']) }
    return delta
  }
}

import { BrokerError, type Usage } from '@drover/core'
import { isFilled, isObject, type JsonObject, type TokenLogprob } from './delta.ts'

/** Longest engine text that goes into an error. */
const ERROR_CHARS = 500

export const protocol = (message: string) => new BrokerError('engine_protocol', message)

/** The text of an error as either API writes it: `{"error":"text"}` or `{"error":{"message":"text"}}`. */
export const errorText = (error: unknown): string => {
  const text = typeof error === 'string' ? error : isObject(error) && typeof error['message'] === 'string' ? error['message'] : ''
  return text.slice(0, ERROR_CHARS) || 'the engine reported an error without a text'
}

/**
 * The JSON object of one event.
 * @throws BrokerError `engine_protocol` if it is none, `engine_failed` if it says that the engine failed
 */
export const readEvent = (data: string): JsonObject => {
  let event: unknown
  try {
    event = JSON.parse(data)
  } catch {
    // The parser's own message would quote the answer.
    throw protocol('the engine sent an event that is not JSON')
  }
  if (!isObject(event)) throw protocol('the engine sent an event that is not a JSON object')
  const error = event['error']
  if (error !== undefined && error !== null) throw new BrokerError('engine_failed', errorText(error))
  return event
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** Counts that are not there are 0, as Ollama omits zeros. */
export const usageOf = (promptTokens: unknown, completionTokens: unknown): Usage => ({
  promptTokens: isCount(promptTokens) ? promptTokens : 0,
  completionTokens: isCount(completionTokens) ? completionTokens : 0,
})

/** A length of time that an engine measured; what is not a number of zero or more counts as unknown. */
export const timeOf = (value: unknown): number => (typeof value === 'number' && value > 0 && Number.isFinite(value) ? value : 0)

const isLogprob = (value: unknown): value is TokenLogprob =>
  isObject(value) && typeof value['token'] === 'string' && typeof value['logprob'] === 'number'

/** Both APIs write the same list of tokens; OpenAI has it in `logprobs.content`. `undefined` when there is none. */
export const logprobsOf = (value: unknown): TokenLogprob[] | undefined => {
  if (!isFilled(value)) return undefined
  if (!value.every(isLogprob)) throw protocol('the engine sent a log probability that is not one')
  return value
}

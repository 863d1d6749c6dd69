import { askPrompt } from './ask-messages.ts'
import { isObject, type JsonObject } from './delta.ts'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { protocol, usageOf } from './engine-event.ts'
import { messagesToChat, messagesToOpenAi } from './messages-to-openai.ts'
import { PATHS } from './route.ts'
import { wholeCall, type WholeCall } from './whole-call.ts'

/** A count that the engine made; 0 or none at all is not one. */
const counted = (count: unknown): number => {
  if (typeof count === 'number' && Number.isSafeInteger(count) && count > 0) return count
  throw protocol('the engine did not say how many tokens the prompt has')
}

const call = ({ count, ...rest }: Pick<WholeCall, 'path' | 'body' | 'sameErrors'> & { count(answer: JsonObject): unknown }): Exchange =>
  wholeCall({
    ...rest,
    show: (answer) => ({ input_tokens: counted(count(answer)) }),
    usage: (answer) => usageOf(count(answer), 0),
  })

/**
 * Tokens of a prompt by the model's own count, never an estimate. An engine without an endpoint for it evaluates the prompt and
 * writes one token: that costs what the request itself would, but the prompt then lies warm for it. Ollama would cut a prompt
 * that is too long and count the rest, so it is told not to.
 */
export const countTokensExchange = (request: ExchangeRequest): Exchange => {
  const { engine } = request
  if (engine.speaks.includes('anthropic.count_tokens'))
    return call({ path: '/v1/messages/count_tokens', body: askPrompt(request), sameErrors: false, count: (answer) => answer['input_tokens'] })
  if (engine.speaks.includes('ollama.chat')) {
    const { options, ...chat } = messagesToChat(request)
    const one = { ...(isObject(options) ? options : {}), num_predict: 1 }
    const body = { ...chat, stream: false, truncate: false, options: one }
    return call({ path: PATHS['ollama.chat'], body, sameErrors: false, count: (answer) => answer['prompt_eval_count'] })
  }
  const { stream: _stream, stream_options: _options, ...chat } = messagesToOpenAi(request)
  const body = { ...chat, stream: false, max_tokens: 1 }
  return call({
    path: PATHS['openai.chat'],
    body,
    sameErrors: false,
    count: ({ usage }) => (isObject(usage) ? usage['prompt_tokens'] : undefined),
  })
}

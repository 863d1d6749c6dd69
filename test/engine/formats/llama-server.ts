import { randomBytes } from 'node:crypto'
import { epochSeconds, sse, type AnswerFormat, type Ending } from './format.ts'

const FINGERPRINT = 'b11669-Debian'

const usage = ({ promptTokens, tokens }: Ending) => ({
  completion_tokens: tokens,
  prompt_tokens: promptTokens,
  total_tokens: promptTokens + tokens,
  prompt_tokens_details: { cached_tokens: 0 },
})

const perSecond = (count: number, ms: number) => (ms > 0 ? (count / ms) * 1000 : 0)

const timings = ({ promptTokens, tokens, promptMs, decodeMs }: Ending) => ({
  cache_n: 0,
  prompt_n: promptTokens,
  prompt_ms: promptMs,
  prompt_per_token_ms: promptMs / promptTokens,
  prompt_per_second: perSecond(promptTokens, promptMs),
  predicted_n: tokens,
  predicted_ms: decodeMs,
  predicted_per_token_ms: tokens > 0 ? decodeMs / tokens : 0,
  predicted_per_second: perSecond(tokens, decodeMs),
})

const common = {
  streamType: 'text/event-stream',
  error: (message: string) => sse(JSON.stringify({ error: { code: 500, message, type: 'server_error' } })),
  garbage: 'data: %% this is not JSON %%\n\n',
}

const newId = () => `chatcmpl-${randomBytes(24).toString('base64url')}`

/** `/v1/chat/completions`. A body, unlike a stream, begins with the text that was continued. */
export const llamaChat = (model: string, includeUsage: boolean, continued: string): AnswerFormat => {
  const identity = { created: epochSeconds(), id: newId(), model, system_fingerprint: FINGERPRINT, object: 'chat.completion.chunk' }
  const rest = JSON.stringify(identity).slice(1)
  const open = 'data: {"choices":[{"finish_reason":null,"index":0,"delta":{'
  return {
    ...common,
    begin: `${open}"role":"assistant","content":null}}],${rest}\n\n`,
    token: (text) => `${open}"content":"${text}"}}],${rest}\n\n`,
    end: (ending) =>
      sse(JSON.stringify({
        choices: [{ finish_reason: ending.reason, index: 0, delta: {} }],
        ...identity,
        ...(includeUsage ? {} : { timings: timings(ending) }),
      })) +
      (includeUsage ? sse(JSON.stringify({ choices: [], ...identity, usage: usage(ending), timings: timings(ending) })) : '') +
      sse('[DONE]'),
    body: (text, ending) =>
      JSON.stringify({
        choices: [{ finish_reason: ending?.reason ?? null, index: 0, message: { role: 'assistant', content: continued + text } }],
        created: identity.created,
        model,
        system_fingerprint: FINGERPRINT,
        object: 'chat.completion',
        ...(ending && { usage: usage(ending) }),
        id: identity.id,
        ...(ending && { timings: timings(ending) }),
      }),
  }
}

/** `/v1/completions`. */
export const llamaText = (model: string): AnswerFormat => {
  const identity = { created: epochSeconds(), model, system_fingerprint: FINGERPRINT, object: 'text_completion' }
  const id = newId()
  const rest = JSON.stringify({ ...identity, id }).slice(1)
  const choice = (text: string, ending: Ending | undefined) => ({
    choices: [{ text, index: 0, logprobs: null, finish_reason: ending?.reason ?? null }],
    ...identity,
    ...(ending && { usage: usage(ending) }),
    id,
    ...(ending && { timings: timings(ending) }),
  })
  return {
    ...common,
    begin: '',
    token: (text) => `data: {"choices":[{"text":"${text}","index":0,"logprobs":null,"finish_reason":null}],${rest}\n\n`,
    end: (ending) => sse(JSON.stringify(choice('', ending))) + sse('[DONE]'),
    body: (text, ending) => JSON.stringify(choice(text, ending)),
  }
}

/** `/completion`, llama-server's own: it has no `[DONE]`. */
export const llamaCompletion = (model: string, promptTokens: number): AnswerFormat => {
  let predicted = 0
  const last = (content: string, ending: Ending | undefined) =>
    JSON.stringify({
      index: 0,
      content,
      tokens: [],
      id_slot: 0,
      stop: ending !== undefined,
      model,
      tokens_predicted: ending?.tokens ?? 0,
      tokens_evaluated: promptTokens,
      ...(ending && {
        truncated: false,
        stop_type: ending.reason === 'length' ? 'limit' : 'eos',
        stopping_word: '',
        timings: timings(ending),
      }),
    })
  return {
    ...common,
    begin: '',
    token: (text) =>
      `data: {"index":0,"content":"${text}","tokens":[${predicted}],"stop":false,"id_slot":-1,` +
      `"tokens_predicted":${++predicted},"tokens_evaluated":${promptTokens}}\n\n`,
    end: (ending) => sse(last('', ending)),
    body: last,
  }
}

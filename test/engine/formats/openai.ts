import { epochSeconds, sse, type AnswerFormat, type Ending } from './format.ts'

const usage = ({ promptTokens, tokens }: Ending) => ({
  prompt_tokens: promptTokens,
  completion_tokens: tokens,
  total_tokens: promptTokens + tokens,
})

const common = {
  streamType: 'text/event-stream',
  error: (message: string) => sse(JSON.stringify({ error: { message, type: 'api_error', param: null, code: null } })),
  garbage: 'data: %% this is not JSON %%\n\n',
}

/** `/v1/chat/completions` as Ollama answers it. */
export const ollamaOpenaiChat = (model: string, includeUsage: boolean): AnswerFormat => {
  const identity = {
    id: `chatcmpl-${Math.floor(Math.random() * 999)}`,
    object: 'chat.completion.chunk',
    created: epochSeconds(),
    model,
    system_fingerprint: 'fp_ollama',
  }
  const open = JSON.stringify(identity).slice(0, -1)
  let role = '"role":"assistant",'
  return {
    ...common,
    begin: '',
    token(text) {
      const event = `data: ${open},"choices":[{"index":0,"delta":{${role}"content":"${text}"},"finish_reason":null}]}\n\n`
      role = ''
      return event
    },
    end: (ending) =>
      sse(JSON.stringify({ ...identity, choices: [{ index: 0, delta: {}, finish_reason: ending.reason }] })) +
      (includeUsage ? sse(JSON.stringify({ ...identity, choices: [], usage: usage(ending) })) : '') +
      sse('[DONE]'),
    body: (content, ending) =>
      JSON.stringify({
        ...identity,
        object: 'chat.completion',
        choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: ending?.reason ?? null }],
        ...(ending && { usage: usage(ending) }),
      }),
  }
}

/** `/v1/completions` as Ollama answers it. */
export const ollamaOpenaiText = (model: string, includeUsage: boolean): AnswerFormat => {
  const identity = {
    id: `cmpl-${Math.floor(Math.random() * 999)}`,
    object: 'text_completion',
    created: epochSeconds(),
    model,
    system_fingerprint: 'fp_ollama',
  }
  const open = JSON.stringify(identity).slice(0, -1)
  const zero = includeUsage ? ',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}' : ''
  return {
    ...common,
    begin: '',
    token: (text) => `data: ${open},"choices":[{"text":"${text}","index":0,"finish_reason":null}]${zero}}\n\n`,
    end: (ending) =>
      `data: ${open},"choices":[{"text":"","index":0,"finish_reason":"${ending.reason}"}]${zero}}\n\n` +
      (includeUsage ? sse(JSON.stringify({ ...identity, choices: [], usage: usage(ending) })) : '') +
      sse('[DONE]'),
    body: (text, ending) =>
      JSON.stringify({
        ...identity,
        choices: [{ text, index: 0, finish_reason: ending?.reason ?? null }],
        ...(ending && { usage: usage(ending) }),
      }),
  }
}

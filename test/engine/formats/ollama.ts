import { timestamp, type AnswerFormat, type Ending } from './format.ts'

const ns = (ms: number) => Math.max(1, Math.round(ms * 1e6))

const metrics = ({ promptTokens, tokens, loadMs, promptMs, decodeMs, totalMs }: Ending) => {
  const all = {
    total_duration: ns(totalMs),
    load_duration: ns(loadMs),
    prompt_eval_count: promptTokens,
    prompt_eval_duration: ns(promptMs),
    eval_count: tokens,
    eval_duration: ns(decodeMs),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== 0)) // zero metrics are left out
}

interface Shape {
  before: string
  after: string
  text(content: string): Record<string, unknown>
  /** What only the last event of the answer has. */
  last: Record<string, unknown>
}

const ndjson = (model: string, { before, after, text, last }: Shape): AnswerFormat => {
  const head = `{"model":${JSON.stringify(model)},"created_at":"`
  const object = (content: string, ending: Ending | undefined) =>
    JSON.stringify({
      model,
      created_at: timestamp(),
      ...text(content),
      done: ending !== undefined,
      ...(ending && { done_reason: ending.reason, ...last, ...metrics(ending) }),
    })
  return {
    streamType: 'application/x-ndjson',
    begin: '',
    token: (content) => `${head}${timestamp()}${before}${content}${after}`,
    end: (ending) => `${object('', ending)}\n`,
    error: (message) => `${JSON.stringify({ error: message })}\n`,
    garbage: '%% this is not JSON %%\n',
    body: object,
  }
}

export const ollamaChat = (model: string): AnswerFormat =>
  ndjson(model, {
    before: '","message":{"role":"assistant","content":"',
    after: '"},"done":false}\n',
    text: (content) => ({ message: { role: 'assistant', content } }),
    last: {},
  })

export const ollamaGenerate = (model: string, raw: boolean): AnswerFormat =>
  ndjson(model, {
    before: '","response":"',
    after: '","done":false}\n',
    text: (response) => ({ response }),
    last: raw ? {} : { context: [128006, 882, 128007] },
  })

/** The answer to a request that only loads or unloads a model. */
export const ollamaLoaded = (model: string, chat: boolean, reason: 'load' | 'unload'): string =>
  JSON.stringify({
    model,
    created_at: timestamp(),
    ...(chat ? { message: { role: 'assistant', content: '' } } : { response: '' }),
    done_reason: reason,
    done: true,
  })

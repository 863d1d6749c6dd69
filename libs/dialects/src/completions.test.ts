import { describe, expect, test } from 'vitest'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'
import { dialects } from './index.ts'
import { recorded } from './recorded/index.ts'
import { engines, eventsOf } from './testing/conversation.ts'

const llama: ExchangeRequest['engine'] = { ...engines.llama, speaks: ['openai.chat', 'openai.completions'] }
const ollama: ExchangeRequest['engine'] = { ...engines.ollama, speaks: [...engines.ollama.speaks, 'openai.completions'] }

interface Asking {
  engine?: ExchangeRequest['engine']
  stream?: boolean
  body?: Record<string, unknown>
  policy?: ExchangeRequest['policy']
}

const ask = ({ engine = llama, stream = true, body = {}, policy = {} }: Asking = {}) =>
  exchange({
    dialect: 'openai.completions', body: { model: 'Asked', prompt: 'hello', ...body }, stream, asked: 'Asked', engine, policy,
    id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 20, 12),
  })

const asked = (asking: Asking = {}) => {
  const { path = '', body = 'null' } = ask(asking).call ?? {}
  return { path, body: JSON.parse(body) as Record<string, unknown> }
}

const answer = (said: string, asking: Asking = {}): string => {
  const talk = ask(asking)
  return talk.push(said) + talk.finish()
}

const WITH_USAGE = { stream_options: { include_usage: true } }
const ZERO = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

/** As Ollama streams a completion whose usage is asked for, which Drover always does. */
const ollamaStream = (() => {
  const head = { id: 'cmpl-7', object: 'text_completion', created: 1, model: 'engine/model', system_fingerprint: 'fp_ollama' }
  const chunk = (text: string, finish: string | null) => ({ ...head, choices: [{ text, index: 0, finish_reason: finish }], usage: ZERO })
  const last = { ...head, choices: [], usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } }
  return `${[chunk('on', null), chunk('e', null), chunk('', 'stop'), last].map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`
})()

const parse = (body: Record<string, unknown>) => dialects['openai.completions'].parse(JSON.stringify({ model: 'm', prompt: 'a', ...body }))

describe('what is read', () => {
  test.each([
    [{ prompt: 'a' }, 1],
    [{ prompt: '' }, 1],
    [{ prompt: ['a', 'b'] }, 2],
    [{ prompt: [1, 2, 3] }, 1],
    [{ prompt: [[1, 2], 'b', [3]] }, 3],
    [{ prompt: ['a', 'b'], n: 3 }, 6],
    [{ n: 4 }, 4],
  ])('%j takes %i slots', (body, slots) => {
    expect(parse(body)).toMatchObject({ slots, stream: false, ignored: [], body })
  })

  test.each([
    [{ prompt: null }, 'prompt is required'],
    [{ prompt: 7 }, /^prompt must be/],
    [{ prompt: [] }, /^prompt must be/],
    [{ prompt: [1, 'a'] }, /^prompt must be/],
    [{ prompt: [[]] }, /^prompt must be/],
    [{ prompt: [-1] }, /^prompt must be/],
    [{ prompt: [1.5] }, /^prompt must be/],
    [{ prompt: Array.from({ length: 17 }, () => 'a') }, /17 answers/],
    [{ prompt: ['a', 'b'], n: 9 }, /18 answers/],
    [{ n: 0 }, 'n must be between 1 and 16'],
    [{ logprobs: 21 }, 'logprobs must be between 0 and 20'],
    [{ logprobs: true }, /cannot unmarshal bool/],
    [{ temperature: 3 }, 'temperature must be between 0 and 2'],
    [{ suffix: 5 }, /cannot unmarshal number/],
    [{ grammar: 'x'.repeat(70_000) }, /grammar is longer/],
    [{ logit_bias: { '': 1 } }, /logit_bias/],
    [{ logit_bias: { a: 101 } }, /between -100 and 100/],
    [{ model: '' }, 'model is required'],
  ])('%j is refused', (body, message) => {
    expect(() => parse(body)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400 }))
    expect(() => parse(body)).toThrow(message)
  })

  test('what no engine acts on is dropped and named', () => {
    expect(parse({ echo: true, best_of: 2, user: 'u', stream: true })).toMatchObject({
      stream: true, ignored: ['echo', 'best_of', 'user'], body: { model: 'm', prompt: 'a', stream: true },
    })
  })
})

describe('what is asked', () => {
  const body = {
    prompt: ['a'], max_tokens: 5, n: 2, seed: 3, stop: ['x'], temperature: 0.5, top_p: 0.3, presence_penalty: 1, frequency_penalty: 1,
    logit_bias: { 5: 1 }, stream: false, top_k: 4,
  }
  test.each([
    ['llama-server', llama, ['a'], { logprobs: 2 }],
    ['Ollama, which knows one text only', ollama, 'a', {}],
  ])('the client’s own body of %s, streamed and with usage', (_, engine, prompt, more) => {
    expect(asked({ engine, body: { ...body, ...more }, stream: false })).toEqual({
      path: '/v1/completions',
      body: { ...body, ...more, prompt, model: 'engine/model', stream: true, ...WITH_USAGE },
    })
  })

  test('Ollama leaves log probabilities out of its /v1/completions, so it is asked the native way', () => {
    expect(asked({ engine: ollama, body: { prompt: 'a', logprobs: 2 } })).toEqual({
      path: '/api/generate', body: { model: 'engine/model', stream: true, prompt: 'a', logprobs: true, top_logprobs: 2 },
    })
    expect(asked({ engine: ollama, body: { prompt: 'a', logprobs: 0 } }).path).toBe('/v1/completions')
  })

  test('several prompts go on as they are: an engine that takes one says so itself', () => {
    for (const engine of [llama, ollama]) expect(asked({ engine, body: { prompt: ['a', 'b'] } }).body).toMatchObject({ prompt: ['a', 'b'] })
  })

  test.each([
    [llama, { suffix: 'x', prompt: ['a', 'b'] }, 'prompt must be one string where there is a suffix'],
    [llama, { suffix: 'x', prompt: [1, 2] }, 'prompt must be one string where there is a suffix'],
    [ollama, { grammar: 'root ::= "a"' }, 'registry.ollama.ai/library/asked:latest does not support grammar'],
    [engines.native, { grammar: 'root ::= "a"' }, 'registry.ollama.ai/library/asked:latest does not support grammar'],
    [engines.native, { prompt: ['a', 'b'] }, 'prompt must be one string for this model'],
  ])('what an engine would pass over in silence is refused', (engine, body, message) => {
    expect(() => ask({ engine, body })).toThrow(expect.objectContaining({ code: 'engine_refused', status: 400, message }))
  })

  test('the other engine is asked for the same', () => {
    expect(asked({ engine: ollama, body: { suffix: 'x' } }).body).toMatchObject({ suffix: 'x' })
    expect(asked({ engine: llama, body: { grammar: 'root ::= "a"' } }).body).toMatchObject({ grammar: 'root ::= "a"' })
    expect(asked({ engine: llama, body: { suffix: '' } }).body).not.toHaveProperty('suffix')
  })

  test('an Ollama without /v1 is asked in its own API', () => {
    const asking = { engine: engines.native, policy: { keepAlive: '5m', numCtx: 9 }, body: { ...body, logprobs: 2, suffix: 'y' } }
    expect(asked(asking)).toEqual({
      path: '/api/generate',
      body: {
        model: 'engine/model', stream: true, prompt: 'a', suffix: 'y', logprobs: true, top_logprobs: 2, keep_alive: '5m',
        options: { num_predict: 5, seed: 3, stop: ['x'], temperature: 0.5, top_p: 0.3, top_k: 4, presence_penalty: 1, frequency_penalty: 1, num_ctx: 9 },
      },
    })
  })
})

describe('what is answered', () => {
  test.each(['completions-logprobs.sse', 'completions-prompts.sse'])('%s passes byte for byte but for the name and an event that is null', (name) => {
    const said = recorded(name)
    const shown = said.replace('data: null\n\n', '').replaceAll('"model":"small"', '"model":"Asked"')
    expect(answer(said)).toBe(shown)
    expect(answer(said, { body: WITH_USAGE })).toBe(shown)
  })

  test('one body is what llama-server says in one body', () => {
    const whole = JSON.parse(recorded('completions-logprobs.json')) as Record<string, unknown>
    const body = JSON.parse(answer(recorded('completions-logprobs.sse'), { stream: false })) as Record<string, unknown>
    const { id, timings, ...rest } = whole
    expect(body).toMatchObject({ ...rest, model: 'Asked', created: body['created'] })
    expect(Object.keys(body).toSorted()).toEqual(Object.keys(whole).toSorted())
    expect(Object.keys(body['timings'] as object)).toEqual(Object.keys(timings as object))
    expect(typeof body['id']).toBe(typeof id)
  })

  test('several answers have the usage of all of them, where llama-server’s own body has that of the first', () => {
    const whole = JSON.parse(recorded('completions-prompts.json')) as { choices: unknown; usage: Record<string, number> }
    const talk = ask({ stream: false, body: { prompt: ['a', 'You are'], n: 2 } })
    talk.push(recorded('completions-prompts.sse'))
    const body = JSON.parse(talk.finish()) as typeof whole
    expect(body.choices).toEqual(whole.choices)
    // Two tokens each; the prompts have 2 and 3.
    expect(whole.usage).toMatchObject({ completion_tokens: 2, prompt_tokens: 2 })
    expect(body.usage).toEqual({ completion_tokens: 8, prompt_tokens: 5, total_tokens: 13 })
    expect(talk.usage).toEqual({ completionTokens: 8, promptTokens: 5 })
  })

  test('Ollama’s usage of zero is not shown: not where none was asked for, and as null where it was', () => {
    const usages = eventsOf(answer(ollamaStream, { engine: ollama, body: WITH_USAGE })).map(({ usage }) => usage)
    expect(usages).toEqual([null, null, null, { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 }])
    const plain = eventsOf(answer(ollamaStream, { engine: ollama }))
    expect(plain).toHaveLength(3)
    for (const event of plain) expect(event).toMatchObject({ model: 'Asked', id: 'cmpl-7' })
    expect(plain.some((event) => 'usage' in event)).toBe(false)
    const talk = ask({ engine: ollama })
    talk.push(ollamaStream)
    expect(talk.usage).toEqual({ promptTokens: 3, completionTokens: 2 })
  })

  test('one body of Ollama’s', () => {
    expect(JSON.parse(answer(ollamaStream, { engine: ollama, stream: false }))).toEqual({
      id: 'cmpl-7', object: 'text_completion', created: 1, model: 'Asked', system_fingerprint: 'fp_ollama',
      choices: [{ text: 'one', index: 0, logprobs: null, finish_reason: 'stop' }],
      usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
    })
  })

  test('an answer in Ollama’s own API becomes a completion', () => {
    const token = { token: 'on', logprob: -0.5 }
    const said = [
      { model: 'engine/model', created_at: 'x', response: 'on', done: false, logprobs: [token] },
      { model: 'engine/model', created_at: 'x', response: '', thinking: 'hm', done: false },
      { model: 'engine/model', created_at: 'x', response: 'e', done: true, done_reason: 'length', prompt_eval_count: 3, eval_count: 2 },
    ].map((event) => `${JSON.stringify(event)}\n`).join('')
    const engine = engines.native
    const events = eventsOf(answer(said, { engine, body: WITH_USAGE }))
    expect(events.map(({ choices }) => choices)).toEqual([
      [{ text: 'on', index: 0, logprobs: { content: [token] }, finish_reason: null }],
      [{ text: 'e', index: 0, logprobs: null, finish_reason: 'length' }],
      [],
    ])
    expect(events.at(-1)).toMatchObject({ id: 'cmpl-0-abcdefghijklmnopqrstuv', object: 'text_completion', model: 'Asked', usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } })
    expect(answer(said, { engine })).toMatch(/data: \[DONE\]\n\n$/)
    expect(eventsOf(answer(said, { engine }))).toHaveLength(2)
    expect(JSON.parse(answer(said, { engine, stream: false }))).toMatchObject({
      choices: [{ text: 'one', logprobs: { content: [token] }, finish_reason: 'length' }], usage: { total_tokens: 5 },
    })
  })

  test('an answer that stops before its end is a failure', () => {
    for (const [said, engine] of [[recorded('completions-prompts.sse'), llama], [ollamaStream, ollama]] as const)
      for (let length = 0; length < said.trimEnd().length; length += 97)
        for (const stream of [true, false]) {
          const talk = ask({ engine, stream })
          expect(talk.push(said.slice(0, length))).not.toContain('[DONE]')
          expect(() => talk.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
        }
  })
})

import { describe, expect, test } from 'vitest'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'
import { engines, eventsOf } from './testing/conversation.ts'

const ask = (dialect: 'openai.completions' | 'ollama.generate', body: Record<string, unknown>, stream = true) => {
  const engine: ExchangeRequest['engine'] = { ...engines.llama, speaks: ['openai.chat', 'openai.completions'] }
  return exchange({
    dialect, body: { model: 'Asked', prompt: 'before', suffix: 'after', ...body }, stream, asked: 'Asked', engine, policy: {},
    id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 20, 12),
  })
}

const asked = (...asking: Parameters<typeof ask>) => {
  const { path = '', body = 'null' } = ask(...asking).call ?? {}
  return { path, body: JSON.parse(body) as unknown }
}

const TOKEN = { id: 924, token: ' fibo', bytes: [32, 102, 105, 98, 111], logprob: -1.5, top_logprobs: [{ id: 924, token: ' fibo', bytes: [32, 102, 105, 98, 111], logprob: -1.5 }] }

/** As llama-server b11669 sends them, but for most fields of the last one. */
const piece = (content: string, index = 0) => ({ index, content, tokens: [924], stop: false, id_slot: -1, tokens_predicted: 1, tokens_evaluated: 8 })
const last = (stop_type: string, index = 0) => ({
  index, content: '', tokens: [], id_slot: 0, stop: true, model: 'tiny', tokens_predicted: 2, tokens_evaluated: 8, prompt: '<s><|before|>ba', truncated: false,
  stop_type, stopping_word: '', tokens_cached: 9, timings: { cache_n: 1, prompt_n: 7, prompt_ms: 3, predicted_n: 2, predicted_ms: 4 },
})
const sse = (...events: object[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')

const refused = (code: number, message: string) => JSON.stringify({ error: { code, message, type: 'x' } })

const SAID = sse({ ...piece(' fibo'), completion_probabilities: [TOKEN] }, piece(' ge'), last('limit'))

describe('what is asked', () => {
  test('a completion, whose settings have their names there', () => {
    const body = { prompt: ['before'], max_tokens: 5, stop: 'x', logprobs: 2, n: 2, seed: 3, temperature: 0.5, logit_bias: { 5: 1 }, grammar: 'root ::= "a"', stream_options: {} }
    expect(asked('openai.completions', body, false)).toEqual({
      path: '/infill',
      body: {
        model: 'engine/model', stream: true, input_prefix: 'before', input_suffix: 'after', n_predict: 5, stop: ['x'], n_probs: 2, n: 2, seed: 3, temperature: 0.5,
        logit_bias: { 5: 1 }, grammar: 'root ::= "a"',
      },
    })
    expect(asked('openai.completions', {}).body).toEqual({ model: 'engine/model', stream: true, input_prefix: 'before', input_suffix: 'after' })
  })

  test('a native request', () => {
    const body = { system: 'x', think: true, format: 'json', logprobs: true, options: { num_predict: 5, stop: ['x'], temperature: 0 } }
    expect(asked('ollama.generate', body)).toEqual({
      path: '/infill',
      body: {
        model: 'engine/model', stream: true, input_prefix: 'before', input_suffix: 'after', n_predict: 5, stop: ['x'], temperature: 0, n_probs: 1,
        json_schema: { type: 'object' },
      },
    })
  })
})

describe('what is answered', () => {
  test('a stream of a completion', () => {
    const talk = ask('openai.completions', { logprobs: 1, stream_options: { include_usage: true } })
    const out = talk.push(SAID)
    expect(eventsOf(out).map(({ choices, usage }) => [choices, usage])).toEqual([
      [[{ text: ' fibo', index: 0, logprobs: { content: [TOKEN] }, finish_reason: null }], undefined],
      [[{ text: ' ge', index: 0, logprobs: null, finish_reason: null }], undefined],
      [[{ text: '', index: 0, logprobs: null, finish_reason: 'length' }], undefined],
      [[], { prompt_tokens: 8, completion_tokens: 2, total_tokens: 10 }],
    ])
    expect(out).toMatch(/data: \[DONE\]\n\n$/)
    expect(talk.finish()).toBe('')
  })

  test('one body with several answers, and the usage of all', () => {
    const talk = ask('openai.completions', { n: 2 }, false)
    talk.push(sse(piece(' a'), last('eos'), piece(' b', 1)))
    expect(talk.ended).toBe(false)
    talk.push(sse(last('word', 1)))
    expect(JSON.parse(talk.finish())).toMatchObject({
      object: 'text_completion', model: 'Asked', usage: { prompt_tokens: 8, completion_tokens: 4, total_tokens: 12 },
      choices: [{ text: ' a', index: 0, finish_reason: 'stop' }, { text: ' b', index: 1, finish_reason: 'stop' }],
    })
  })

  test('a native body', () => {
    const talk = ask('ollama.generate', {}, false)
    talk.push(SAID)
    expect(JSON.parse(talk.finish())).toMatchObject({
      model: 'Asked', response: ' fibo ge', done: true, done_reason: 'length', prompt_eval_count: 8, eval_count: 2, prompt_eval_duration: 3_000_000,
    })
  })

  test.each([
    [sse(piece(' a')), 'engine_protocol'],
    ['', 'engine_protocol'],
    [sse({ ...piece(' a'), index: 1 }), 'engine_protocol'],
    [sse({ index: 0, stop: true }), 'engine_protocol'],
    [sse(piece(' a'), { error: { code: 500, message: 'it broke', type: 'server_error' } }), 'engine_failed'],
  ])('%j is a failure', (said, code) => {
    for (const stream of [true, false]) {
      const talk = ask('openai.completions', {}, stream)
      const all = () => talk.push(said) + talk.finish()
      expect(all).toThrow(expect.objectContaining({ code }))
    }
  })

  test('a model without tokens for it cannot insert; all else that is refused keeps its words', () => {
    const { refusal } = ask('openai.completions', {})
    expect(refusal(501, refused(501, 'Infill is not supported by this model: prefix token is missing. '))).toMatchObject({
      code: 'engine_refused', status: 400, message: 'registry.ollama.ai/library/asked:latest does not support insert',
    })
    expect(refusal(400, refused(400, 'too long'))).toMatchObject({ code: 'engine_refused', status: 400, message: 'too long', body: refused(400, 'too long') })
  })
})

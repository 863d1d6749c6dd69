import { describe, expect, test } from 'vitest'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'

const engines = {
  ollama: { kind: 'ollama', speaks: ['ollama.embed', 'ollama.embeddings', 'openai.embeddings'], model: 'model:there' },
  llama: { kind: 'llama-server', speaks: ['openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize'], model: 'model:there' },
  talker: { kind: 'llama-server', speaks: ['openai.chat'], model: 'model:there' },
} as const satisfies Record<string, ExchangeRequest['engine']>

const request = (dialect: ExchangeRequest['dialect'], engine: keyof typeof engines, body: Record<string, unknown>): ExchangeRequest => ({
  dialect, body: { model: 'Asked', ...body }, stream: false, asked: 'Asked', engine: engines[engine],
  policy: { keepAlive: '10m', numCtx: 2048 }, id: '0-id', createdAt: 0,
})

/** What is asked of the engine, and what comes of its answer. */
const run = (asked: ExchangeRequest, answer: unknown) => {
  const made = exchange(asked)
  const text = typeof answer === 'string' ? answer : JSON.stringify(answer)
  made.push(text.slice(0, 5))
  made.push(text.slice(5))
  const body = JSON.parse(made.finish()) as Record<string, unknown>
  expect(made.ended).toBe(true)
  return { path: made.call?.path, posted: JSON.parse(made.call?.body ?? 'null') as unknown, body, usage: made.usage }
}

const data = (...vectors: unknown[]) => ({ object: 'list', model: 'model:there', data: vectors.map((embedding, index) => ({ object: 'embedding', embedding, index })), usage: { prompt_tokens: 7, total_tokens: 7 } })
const base64 = (...values: number[]) => Buffer.from(new Float32Array(values).buffer).toString('base64')

describe('/api/embed', () => {
  const body = { input: ['a', 'b'], truncate: false, dimensions: 2, keep_alive: 3, options: { num_ctx: 1, seed: 4 } }

  test('an Ollama is asked the same, but for what is the node’s to say', () => {
    const answer = { model: 'model:there', embeddings: [[0.1, 0.2], [0.3, 0.4]], total_duration: 5, load_duration: 2, prompt_eval_count: 9, more: 1 }
    expect(run(request('ollama.embed', 'ollama', body), answer)).toEqual({
      path: '/api/embed',
      posted: { model: 'model:there', input: ['a', 'b'], truncate: false, dimensions: 2, keep_alive: '10m', options: { num_ctx: 2048, seed: 4 } },
      body: { model: 'Asked', embeddings: [[0.1, 0.2], [0.3, 0.4]], total_duration: 5, load_duration: 2, prompt_eval_count: 9 },
      usage: { promptTokens: 9, completionTokens: 0 },
    })
  })

  test('a llama-server is asked on its own endpoint, and its vectors are shortened to length 1', () => {
    const { path, posted, body: shown, usage } = run(request('ollama.embed', 'llama', body), data([3, 4, 12], [0, 0, 1]))
    expect({ path, posted }).toEqual({ path: '/v1/embeddings', posted: { model: 'model:there', input: ['a', 'b'], encoding_format: 'float' } })
    expect(shown).toEqual({ model: 'Asked', embeddings: [[0.6, 0.8], [0, 0]], prompt_eval_count: 7 })
    expect(usage).toEqual({ promptTokens: 7, completionTokens: 0 })
  })

  test('without an input an Ollama loads the model, and a llama-server has nothing to do', () => {
    for (const input of [undefined, '', []]) {
      expect(run(request('ollama.embed', 'ollama', { input }), { embeddings: [] }).body).toEqual({ model: 'Asked', embeddings: [] })
      expect(exchange(request('ollama.embed', 'llama', { input }))).toMatchObject({ call: undefined, ended: true })
      expect(exchange(request('ollama.embed', 'llama', { input })).finish()).toBe('{"model":"Asked","embeddings":[]}')
    }
  })

  test.each<[string, keyof typeof engines, unknown]>([
    ['one vector too few', 'ollama', { embeddings: [[1]] }],
    ['no vectors', 'ollama', {}],
    ['a vector of texts', 'ollama', { embeddings: [['x'], [1]] }],
    ['one vector too few', 'llama', data([1])],
    ['the same place twice', 'llama', { data: [{ index: 0, embedding: [1] }, { index: 0, embedding: [1] }] }],
    ['a place beyond the last', 'llama', { data: [{ index: 0, embedding: [1] }, { index: 2, embedding: [1] }] }],
    ['no place', 'llama', { data: [{ embedding: [1] }, { embedding: [1] }] }],
    ['half an answer', 'llama', '{"data":[{"embe'],
    ['a list', 'llama', []],
  ])('%s from %s is no answer', (_name, engine, answer) => {
    expect(() => run(request('ollama.embed', engine, body), answer)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
  })

  test('an error in a 200 answer is the engine’s failure', () => {
    expect(() => run(request('ollama.embed', 'ollama', body), { error: 'out of luck' })).toThrow(expect.objectContaining({ code: 'engine_failed', message: 'out of luck' }))
  })

  test('an input that is too long for a llama-server is the client’s mistake, not the engine’s failure', () => {
    const text = '{"error":{"code":500,"message":"input (4501 tokens) is too large to process. increase the physical batch size (current batch size: 512)","type":"server_error"}}'
    const refused = (dialect: ExchangeRequest['dialect'], more: object) => exchange(request(dialect, 'llama', { input: 'x', prompt: 'x', ...more })).refusal(500, text)
    const long = { code: 'engine_refused', status: 400, body: undefined }
    expect(refused('ollama.embed', { truncate: false })).toMatchObject({ ...long, message: 'the input length exceeds the context length' })
    expect(refused('ollama.embed', {})).toMatchObject({ ...long, message: 'the input length exceeds the context length, and this engine cannot cut it' })
    expect(refused('ollama.embeddings', {})).toMatchObject({ ...long, message: 'the input length exceeds the context length, and this engine cannot cut it' })
    expect(refused('openai.embeddings', {})).toMatchObject({ ...long, message: expect.stringContaining('input (4501 tokens) is too large') as string })
    expect(exchange(request('ollama.embed', 'llama', { input: 'x' })).refusal(500, '{"error":{"message":"broken"}}')).toMatchObject({ code: 'engine_failed', status: 500 })
  })
})

describe('/api/embeddings', () => {
  test('gives one vector as the model made it', () => {
    const asked = run(request('ollama.embeddings', 'ollama', { prompt: 'a', keep_alive: 1 }), { embedding: [3, 4] })
    expect(asked).toMatchObject({ path: '/api/embeddings', posted: { model: 'model:there', prompt: 'a', keep_alive: '10m', options: { num_ctx: 2048 } }, body: { embedding: [3, 4] } })
    const translated = run(request('ollama.embeddings', 'llama', { prompt: 'a' }), data([3, 4]))
    expect(translated).toMatchObject({
      path: '/v1/embeddings', posted: { model: 'model:there', input: 'a', encoding_format: 'float', embd_normalize: -1 }, body: { embedding: [3, 4] },
    })
    expect(exchange(request('ollama.embeddings', 'llama', { prompt: '' })).finish()).toBe('{"embedding":[]}')
  })
})

describe('/v1/embeddings', () => {
  const usage = { prompt_tokens: 7, total_tokens: 7 }
  const list = (...vectors: unknown[]) => ({ object: 'list', data: vectors.map((embedding, index) => ({ object: 'embedding', embedding, index })), model: 'Asked', usage })

  test.each(['ollama', 'llama'] as const)('%s is asked the same under its own name, and what it answers is passed on', (engine) => {
    const body = { input: ['a', 'b'], encoding_format: 'base64' }
    const { path, posted, body: shown } = run(request('openai.embeddings', engine, body), data(base64(1, 2), base64(3, 4)))
    expect({ path, posted }).toEqual({ path: '/v1/embeddings', posted: { ...body, model: 'model:there' } })
    expect(shown).toEqual(list(base64(1, 2), base64(3, 4)))
    expect(run(request('openai.embeddings', engine, { input: 'a' }), data([0.1234567890123, 2])).body).toEqual(list([0.1234567890123, 2]))
  })

  test('an Ollama shortens by itself; what a llama-server says is shortened here, in either form', () => {
    const body = { input: 'a', dimensions: 2, encoding_format: 'base64' }
    expect(run(request('openai.embeddings', 'ollama', body), data(base64(1, 0)))).toMatchObject({ posted: { dimensions: 2, encoding_format: 'base64' }, body: list(base64(1, 0)) })
    expect(run(request('openai.embeddings', 'llama', body), data([3, 4, 12]))).toMatchObject({ posted: { encoding_format: 'float' }, body: list(base64(0.6, 0.8)) })
    expect(run(request('openai.embeddings', 'llama', { input: 'a', dimensions: 2 }), data([3, 4, 12])).body).toEqual(list([0.6, 0.8]))
    expect(run(request('openai.embeddings', 'llama', { input: 'a', dimensions: 9 }), data([3, 4])).body).toEqual(list([3, 4]))
  })

  test('an engine that answers in the other form does no harm', () => {
    expect(run(request('openai.embeddings', 'ollama', { input: 'a', encoding_format: 'base64' }), data([0.5, 2])).body).toEqual(list(base64(0.5, 2)))
    expect(run(request('openai.embeddings', 'ollama', { input: 'a' }), data(base64(0.5, 2))).body).toEqual(list([0.5, 2]))
    expect(() => run(request('openai.embeddings', 'ollama', { input: 'a' }), data('AAA='))).toThrow('base64')
  })

  test('one list of tokens is one input, and so is an empty text', () => {
    expect(run(request('openai.embeddings', 'llama', { input: [5, 6, 7] }), data([1])).body).toEqual(list([1]))
    expect(run(request('openai.embeddings', 'llama', { input: [[5, 6], [7]] }), data([1], [2])).body).toEqual(list([1], [2]))
    expect(run(request('openai.embeddings', 'ollama', { input: '' }), data([1])).body).toEqual(list([1]))
  })
})

test.each(['ollama.embed', 'ollama.embeddings', 'openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize'] as const)(
  'an engine without %s refuses it',
  (dialect) => {
    expect(() => exchange(request(dialect, 'talker', { input: 'a', prompt: 'a' }))).toThrow(expect.objectContaining({ code: 'engine_refused', status: 400 }))
  },
)

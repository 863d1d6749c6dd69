import { expect, test } from 'vitest'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'
import { parseDetokenize, parseRerank, parseTokenize } from './llama-own.ts'

const parsers = { rerank: parseRerank, tokenize: parseTokenize, detokenize: parseDetokenize }

test.each<[keyof typeof parsers, string, string]>([
  ['rerank', '', 'EOF'],
  ['rerank', '{"query":"a","documents":["b"]}', 'model is required'],
  ['rerank', '{"model":"a b","query":"a","documents":["b"]}', 'invalid model name'],
  ['rerank', '{"model":"m","documents":["b"]}', '"query" must be provided'],
  ['rerank', '{"model":"m","query":5,"documents":["b"]}', '"query" must be a string'],
  ['rerank', '{"model":"m","query":"a"}', '"documents" must be a non-empty string array'],
  ['rerank', '{"model":"m","query":"a","documents":[]}', '"documents" must be a non-empty string array'],
  ['rerank', '{"model":"m","query":"a","documents":[{"text":"b"}]}', '"documents" must be a non-empty string array'],
  ['rerank', '{"model":"m","query":"a","documents":["b"],"top_n":-1}', 'top_n must be between 0 and 10000'],
  ['tokenize', '{"content":"a"}', 'model is required'],
  ['tokenize', '{"model":"m","content":5}', 'content must be a text, or a list of texts and tokens'],
  ['tokenize', '{"model":"m","content":["a",-5]}', 'content must be a text, or a list of texts and tokens'],
  ['tokenize', '{"model":"m","with_pieces":1}', 'json: cannot unmarshal number into Go struct field TokenizeRequest.with_pieces of type bool'],
  ['detokenize', '{"model":"m","tokens":"a"}', 'json: cannot unmarshal string into Go struct field DetokenizeRequest.tokens of type []int'],
  ['detokenize', '{"model":"m","tokens":[-1]}', 'tokens must be between 0 and 2147483647'],
])('%s: %s is refused', (kind, text, message) => {
  expect(() => parsers[kind](text)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message }))
})

test('what llama-server knows goes on, the rest is dropped and named', () => {
  const fields = { model: 'm', query: 'a', documents: ['b', 'c'], top_n: 1 }
  expect(parseRerank(JSON.stringify({ ...fields, return_documents: true }))).toMatchObject({ body: fields, ignored: ['return_documents'], stream: false })
  const tokenize = { model: 'm', content: ['a', 5], add_special: true, parse_special: false, with_pieces: true }
  expect(parseTokenize(JSON.stringify(tokenize)).body).toEqual(tokenize)
})

const ask = (dialect: 'llama.rerank' | 'llama.tokenize' | 'llama.detokenize', body: Record<string, unknown>) =>
  exchange({
    dialect, body, stream: false, asked: 'Asked', engine: { kind: 'llama-server', speaks: [dialect], model: 'there' } satisfies ExchangeRequest['engine'],
    policy: {}, id: '0-id', createdAt: 0,
  })

const answered = (made: ReturnType<typeof ask>, answer: unknown) => {
  made.push(JSON.stringify(answer))
  return JSON.parse(made.finish()) as unknown
}

test('the engine’s answer goes back under the name that was asked for', () => {
  const made = ask('llama.rerank', { model: 'Asked', query: 'a', documents: ['b'] })
  expect(made.call).toEqual({ path: '/v1/rerank', body: '{"model":"there","query":"a","documents":["b"]}' })
  const answer = { model: 'there', object: 'list', usage: { prompt_tokens: 6, total_tokens: 6 }, results: [{ index: 0, relevance_score: -1.5 }] }
  expect(answered(made, answer)).toEqual({ ...answer, model: 'Asked' })
  expect(made.usage).toEqual({ promptTokens: 6, completionTokens: 0 })
  expect(answered(ask('llama.tokenize', { content: 'a' }), { tokens: [1, 2] })).toEqual({ tokens: [1, 2] })
  expect(answered(ask('llama.detokenize', { tokens: [1] }), { content: 'a' })).toEqual({ content: 'a' })
})

test.each([
  ['llama.rerank', { results: [{ index: 0 }] }],
  ['llama.tokenize', { tokens: 'x' }],
  ['llama.detokenize', { content: 5 }],
] as const)('%s does not take %j for an answer', (dialect, answer) => {
  expect(() => answered(ask(dialect, {}), answer)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
})

const said = (message: string, status = 500) => ask('llama.detokenize', {}).refusal(status, JSON.stringify({ error: { code: status, message, type: 'server_error' } }))

test('a request at fault is refused even where the engine says that it failed', () => {
  expect(said('vector::_M_range_check: __n (which is 99999) >= this->size() (which is 1024)')).toMatchObject({ code: 'engine_refused', status: 400 })
  expect(said('input (9 tokens) is too large to process. increase the physical batch size')).toMatchObject({ code: 'engine_refused', status: 400 })
  expect(said('This server does not support reranking. Start it with `--reranking`', 501)).toMatchObject({ code: 'engine_refused', status: 501 })
  expect(said('broken')).toMatchObject({ code: 'engine_failed', status: 500 })
})

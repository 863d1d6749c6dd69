import { BrokerError, canonicalName } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import type { Exchange, ExchangeRequest, ParsedRequest } from './dialect.ts'
import { protocol, usageOf } from './engine-event.ts'
import { badRequest, described, flag, int, list, schemaOf, struct, text, top, type Check, type Ignored, type Schema } from './fields.ts'
import { readJsonBody } from './json-body.ts'
import { wholeCall, type WholeCall } from './whole-call.ts'

const INT32 = 2 ** 31 - 1
/** Most documents of one ranking. */
const DOCUMENTS = 10_000
/** Most tokens of one request. */
const TOKENS = 1_000_000

const NO_DOCUMENTS = '"documents" must be a non-empty string array'

/** In llama-server's own words, as all of what is refused here. */
const documents: Check = described({ type: 'array', minItems: 1, maxItems: DOCUMENTS, items: { type: 'string' } }, (value, place, ignored) => {
  if (!Array.isArray(value) || value.length === 0 || !value.every((one) => typeof one === 'string')) throw badRequest(NO_DOCUMENTS)
  return list(text, DOCUMENTS, '[]string')(value, place, ignored)
})

const query: Check = described({ type: 'string' }, (value) => {
  if (typeof value !== 'string') throw badRequest('"query" must be a string')
  return value
})

const isToken = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= INT32

/** A text, or pieces of text with tokens between them. */
const content: Check = described(
  { oneOf: [{ type: 'string' }, { type: 'array', maxItems: TOKENS, items: { oneOf: [{ type: 'string' }, { type: 'integer', minimum: 0, maximum: INT32 }] } }] },
  (value) => {
    if (typeof value === 'string') return value
    if (!Array.isArray(value) || !value.every((one) => typeof one === 'string' || isToken(one)))
      throw badRequest('content must be a text, or a list of texts and tokens')
    if (value.length > TOKENS) throw badRequest(`content has ${value.length} items, at most ${TOKENS} are allowed`)
    return value
  },
)

const rerankFields = struct('RerankRequest', { model: text, query, documents, top_n: int(0, DOCUMENTS) })
const tokenizeFields = struct('TokenizeRequest', { model: text, content, add_special: flag, parse_special: flag, with_pieces: flag })
const detokenizeFields = struct('DetokenizeRequest', { model: text, tokens: list(int(0, INT32), TOKENS, '[]int') })

/** The bodies of the three routes. */
export const rerankSchema: Schema = { ...schemaOf(rerankFields), required: ['model', 'query', 'documents'] }
export const tokenizeSchema: Schema = { ...schemaOf(tokenizeFields), required: ['model'] }
export const detokenizeSchema: Schema = { ...schemaOf(detokenizeFields), required: ['model'] }

/** llama-server has one model and asks for no name; here the name says which server. */
const read = (input: string, fields: Check, name: string): ParsedRequest => {
  const ignored: Ignored = new Set()
  const body = fields(readJsonBody(input, 'EOF') ?? {}, top(name), ignored) as JsonObject
  const { model } = body
  if (typeof model !== 'string' || model === '') throw badRequest('model is required')
  if (!canonicalName(model)) throw badRequest('invalid model name')
  return { model, stream: false, body, ignored: [...ignored], slots: 1 }
}

/** `POST /v1/rerank`. */
export const parseRerank = (input: string): ParsedRequest => {
  const request = read(input, rerankFields, 'RerankRequest')
  if (request.body['query'] === undefined) throw badRequest('"query" must be provided')
  if (request.body['documents'] === undefined) throw badRequest(NO_DOCUMENTS)
  return request
}

/** `POST /tokenize`. */
export const parseTokenize = (input: string): ParsedRequest => read(input, tokenizeFields, 'TokenizeRequest')

/** `POST /detokenize`. */
export const parseDetokenize = (input: string): ParsedRequest => read(input, detokenizeFields, 'DetokenizeRequest')

const wrongRequest = (message: string) => new BrokerError('engine_refused', message, { status: 400 })

/** Requests that llama-server answers with 500 although they are at fault: a text too long for a batch, a token that there is not. */
const correct = (refusal: BrokerError): BrokerError => {
  if (/too large to process/.test(refusal.message)) return wrongRequest(refusal.message)
  return /range_check|out of range/.test(refusal.message) ? wrongRequest('a token is not in the vocabulary of this model') : refusal
}

const own = (request: ExchangeRequest, path: string, answer: Pick<WholeCall, 'show' | 'usage'>): Exchange => {
  const { engine, body, dialect } = request
  if (!engine.speaks.includes(dialect)) throw new BrokerError('engine_refused', `this engine cannot answer ${dialect} requests`, { status: 400 })
  return wholeCall({ path, body: { ...body, model: engine.model }, ...answer, sameErrors: true, correct })
}

const isRank = (value: unknown): boolean =>
  isObject(value) && Number.isInteger(value['index']) && typeof value['relevance_score'] === 'number'

export const rerankExchange = (request: ExchangeRequest): Exchange =>
  own(request, '/v1/rerank', {
    show: (answer) => {
      const { results } = answer
      if (!Array.isArray(results) || !results.every(isRank)) throw protocol('the engine sent a ranking that is none')
      return { ...answer, model: request.asked }
    },
    usage: ({ usage }) => usageOf(isObject(usage) ? usage['prompt_tokens'] : 0, 0),
  })

export const tokenizeExchange = (request: ExchangeRequest): Exchange =>
  own(request, '/tokenize', {
    show: ({ tokens }) => {
      if (!Array.isArray(tokens)) throw protocol('the engine sent tokens that are no list')
      return { tokens: tokens as unknown[] }
    },
  })

export const detokenizeExchange = (request: ExchangeRequest): Exchange =>
  own(request, '/detokenize', {
    show: ({ content }) => {
      if (typeof content !== 'string') throw protocol('the engine sent a text that is none')
      return { content }
    },
  })

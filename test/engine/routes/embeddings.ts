import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendJson } from '../answer.ts'
import type { EngineContext } from '../context.ts'
import { llamaRanks, ollamaEmbed, ollamaEmbeddings, openAiEmbeddings, type Item } from '../formats/embeddings.ts'
import type { AnswerFormat } from '../formats/format.ts'
import { infer } from '../inference.ts'
import type { Model } from '../options.ts'
import { promptTokens, wantedOfRaw } from '../prompt.ts'
import { readMarker } from '../script.ts'
import { keepMsOf, parseObject, type Fields } from './fields.ts'

type Refuse = (status: number, message?: string) => void

export interface EmbeddingRequest {
  context: EngineContext
  request: IncomingMessage
  response: ServerResponse
  text: string
  fields: Fields
  model: Model
  /** The model as it was asked for. */
  asked: string
  refuse: Refuse
}

const tokensOf = (items: Item[]): number => items.reduce((sum, item) => sum + (typeof item === 'string' ? promptTokens(item) : item.length), 0)

/** One answer with everything that a script can say; the first text with a marker is the one that says it. */
const answer = ({ context, request, response, text, fields, model, refuse }: EmbeddingRequest, items: Item[], format: AnswerFormat) => {
  const texts = items.filter((item) => typeof item === 'string')
  const keepMs = context.settings.kind === 'llama-server' ? -1 : keepMsOf(fields['keep_alive'])
  infer(context, request, response, text, {
    model, refuse, format, deaf: context.settings.kind === 'llama-server', ...(keepMs === undefined ? {} : { keepMs }),
    wanted: wantedOfRaw(texts.find((each) => readMarker(each)) ?? texts[0] ?? ''), promptTokens: tokensOf(items),
    limit: Infinity, stops: [], stream: false,
  })
}

const openaiFault = (message: string) => ({ error: { message, type: 'api_error', param: null, code: null } })
const llamaFault = (message: string) => ({ error: { code: 500, message, type: 'server_error' } })

const CONTEXT = 'the input length exceeds the context length'
const isTooLong = (items: Item[], { contextLength }: Model): boolean => items.some((item) => tokensOf([item]) > contextLength)
const sizeOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

/** Ollama's routes for embeddings. */
export const ollamaEmbedding = {
  embed(each: EmbeddingRequest) {
    const { fields, model, asked, refuse } = each
    const { input } = fields
    const items: unknown[] = Array.isArray(input) ? input : typeof input === 'string' && input !== '' ? [input] : []
    if ((input ?? '') !== '' && typeof input !== 'string' && !Array.isArray(input)) return refuse(400, 'invalid input type')
    if (!items.every((item) => typeof item === 'string')) return refuse(400, 'invalid input type')
    if (fields['truncate'] === false && isTooLong(items, model)) return refuse(400, CONTEXT)
    answer(each, items, ollamaEmbed(asked, items, sizeOf(fields['dimensions'])))
  },
  legacy(each: EmbeddingRequest) {
    const prompt = typeof each.fields['prompt'] === 'string' ? each.fields['prompt'] : ''
    if (prompt === '') return sendJson(each.response, { embedding: [] })
    answer(each, [prompt], ollamaEmbeddings(prompt))
  },
  openai(each: EmbeddingRequest) {
    const { fields, asked, refuse } = each
    const { input, encoding_format: encoding = 'float' } = fields
    const items: unknown[] = Array.isArray(input) ? input : [input]
    if (items.length === 0 || input === undefined) return refuse(400, 'invalid input')
    if (!items.every((item) => typeof item === 'string')) return refuse(400, 'invalid input type')
    answer(each, items, openAiEmbeddings({ model: asked, items, encoding: String(encoding), dimensions: sizeOf(fields['dimensions']), fault: openaiFault }))
  },
}

/** What the one model of a llama-server cannot do unless the server was started for it. */
const notStarted = (what: string, flag: string) => `This server does not support ${what}. Start it with \`--${flag}\``

type Post = (context: EngineContext, request: IncomingMessage, response: ServerResponse, text: string) => void
type Route = (each: EmbeddingRequest) => void

const isTokens = (value: unknown): value is number[] => Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'number')

const embeddings: Route = (each) => {
  const { fields, model, refuse } = each
  if (!model.capabilities.includes('embedding')) return refuse(501, notStarted('embeddings', 'embeddings'))
  const { input, encoding_format: encoding = 'float' } = fields
  if (input === undefined) return refuse(400, '"input" or "content" must be provided')
  const items: unknown[] = typeof input === 'string' || isTokens(input) ? [input] : Array.isArray(input) ? input : [undefined]
  if (items.length === 0) return refuse(400, '"input" must not be empty')
  if (!items.every((item): item is Item => typeof item === 'string' || isTokens(item)))
    return refuse(400, '"prompt" elements must be a string, a list of tokens, a JSON object containing a prompt string, or a list of mixed strings & tokens.')
  const long = items.find((item) => tokensOf([item]) > model.contextLength)
  if (long !== undefined)
    return refuse(500, `input (${tokensOf([long])} tokens) is too large to process. increase the physical batch size (current batch size: ${model.contextLength})`)
  const name = typeof fields['model'] === 'string' ? fields['model'] : model.name
  answer(each, items, openAiEmbeddings({ model: name, items, encoding: String(encoding), raw: fields['embd_normalize'] === -1, fault: llamaFault }))
}

const rerank: Route = (each) => {
  const { fields, model, refuse } = each
  if (!model.capabilities.includes('rerank')) return refuse(501, notStarted('reranking', 'reranking'))
  const { query, documents } = fields
  if (typeof query !== 'string') return refuse(400, query === undefined ? '"query" must be provided' : '"query" must be a string')
  if (!Array.isArray(documents) || documents.length === 0 || !documents.every((one) => typeof one === 'string'))
    return refuse(400, '"documents" must be a non-empty string array')
  const name = typeof fields['model'] === 'string' ? fields['model'] : model.name
  answer(each, [query, ...documents], llamaRanks(name, query, documents, sizeOf(fields['top_n']) ?? documents.length, llamaFault))
}

/** The vocabulary of the scripted engine is the code points below this. */
const VOCABULARY = 0x110000

const tokenize: Route = ({ context, request, response, text, fields, refuse }) => {
  context.stats.seen({ path: request.url ?? '', headers: request.headers, body: text })
  const { content = '', add_special: special, with_pieces: pieces } = fields
  const parts: unknown[] = Array.isArray(content) ? content : [content]
  if (!parts.every((part) => typeof part === 'string' || typeof part === 'number'))
    return refuse(400, '[json.exception.type_error.302] type must be string, but is object')
  const ids = parts.flatMap((part) => (typeof part === 'number' ? [part] : Array.from(part, (character) => character.codePointAt(0) ?? 0)))
  const all = special === true ? [1, ...ids] : ids
  sendJson(response, { tokens: pieces === true ? all.map((id) => ({ id, piece: String.fromCodePoint(id) })) : all })
}

const detokenize: Route = ({ context, request, response, text, fields, refuse }) => {
  context.stats.seen({ path: request.url ?? '', headers: request.headers, body: text })
  const { tokens = [] } = fields
  if (!Array.isArray(tokens)) return refuse(400, '[json.exception.type_error.302] type must be array, but is string')
  const wrong = (tokens as number[]).find((token) => token >= VOCABULARY)
  if (wrong !== undefined) return refuse(500, `vector::_M_range_check: __n (which is ${wrong}) >= this->size() (which is ${VOCABULARY})`)
  sendJson(response, { content: String.fromCodePoint(...(tokens as number[])) })
}

/** llama-server's routes for what is not generated. `served` is its one model, `error` its form of errors. */
export const llamaEmbedding = (served: (context: EngineContext) => Model, error: (response: ServerResponse) => Refuse): Record<string, Post> => {
  const post =
    (route: Route): Post =>
    (context, request, response, text) => {
      const refuse = error(response)
      const fields = parseObject(text)
      if (typeof fields === 'string') return refuse(400, `parse error: ${fields}`)
      const model = served(context)
      route({ context, request, response, text, fields, model, asked: model.name, refuse })
    }
  return {
    '/v1/embeddings': post(embeddings),
    '/v1/rerank': post(rerank),
    '/rerank': post(rerank),
    '/tokenize': post(tokenize),
    '/detokenize': post(detokenize),
  }
}

import type { BrokerError, ErrorCode } from '@drover/core'
import type { Dialect } from './dialect.ts'
import { JSON_TYPE, SSE_TYPE } from './engine-side.ts'
import { nativeText } from './ollama.ts'
import { completionSchema, parseCompletion } from './completions-request.ts'
import { embedNotFound, openAiEmbeddingsSchema, parseOpenAiEmbeddings } from './embeddings-request.ts'
import { detokenizeSchema, parseDetokenize, parseRerank, parseTokenize, rerankSchema, tokenizeSchema } from './llama-own.ts'
import { parseResponses, responsesSchema } from './responses-request.ts'
import { chatCompletionSchema, parseChatCompletion } from './openai-request.ts'
import { PATHS } from './route.ts'

const typeOf = (status: number) => (status === 400 || status === 422 ? 'invalid_request_error' : status === 404 ? 'not_found_error' : 'api_error')

/** Errors that clients look up by OpenAI's own words. */
const NAMED: Partial<Record<ErrorCode, { type: string; code: string }>> = {
  unauthorized: { type: 'invalid_request_error', code: 'invalid_api_key' },
  forbidden: { type: 'invalid_request_error', code: 'insufficient_permissions' },
  rate_limited: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
  quota_exceeded: { type: 'insufficient_quota', code: 'insufficient_quota' },
}

const errorBody = (error: BrokerError): string =>
  JSON.stringify({ error: { message: nativeText(error), type: typeOf(error.status), param: null, code: null, ...NAMED[error.code] } })

const common: Omit<Dialect, 'id' | 'path' | 'schema' | 'parse'> = {
  streamType: SSE_TYPE,
  bodyType: JSON_TYPE,
  refuse: (error) => ({ status: error.status, contentType: JSON_TYPE, body: error.body ?? errorBody(error) }),
  errorEvent: (error) => `data: ${errorBody(error)}\n\n`,
  keepAlive: () => ': waiting\n\n',
}

/**
 * OpenAI's reference has the fields of this event at its top, its servers send them within `error`, and clients read either. Its
 * number among the events is not known to who tells the error; clients want one all the same.
 */
const responsesErrorEvent = (error: BrokerError): string => {
  const said = { message: nativeText(error), code: error.status === 400 ? 'invalid_prompt' : 'server_error', param: null }
  return `event: error\ndata: ${JSON.stringify({ type: 'error', sequence_number: 0, ...said, error: { type: typeOf(error.status), ...said } })}\n\n`
}

/** OpenAI's `POST /v1/chat/completions`, as Ollama and llama.cpp offer it. */
export const openAiChat: Dialect = { ...common, id: 'openai.chat', path: PATHS['openai.chat'], schema: chatCompletionSchema, parse: parseChatCompletion }

/** OpenAI's `POST /v1/completions`. */
export const openAiCompletions: Dialect = { ...common, id: 'openai.completions', path: PATHS['openai.completions'], schema: completionSchema, parse: parseCompletion }

/** OpenAI's `POST /v1/embeddings`. */
export const openAiEmbeddings: Dialect = { ...common, id: 'openai.embeddings', path: '/v1/embeddings', schema: openAiEmbeddingsSchema, parse: parseOpenAiEmbeddings, notFound: embedNotFound }

/** OpenAI's `POST /v1/responses`. */
export const openAiResponses: Dialect = {
  ...common,
  id: 'openai.responses',
  path: PATHS['openai.responses'],
  schema: responsesSchema,
  parse: parseResponses,
  errorEvent: responsesErrorEvent,
}

/** llama-server's `POST /v1/rerank`. */
export const llamaRerank: Dialect = { ...common, id: 'llama.rerank', path: '/v1/rerank', aliases: ['/rerank'], engine: 'llama-server', schema: rerankSchema, parse: parseRerank }

/** llama-server's `POST /tokenize`. */
export const llamaTokenize: Dialect = { ...common, id: 'llama.tokenize', path: '/tokenize', engine: 'llama-server', schema: tokenizeSchema, parse: parseTokenize }

/** llama-server's `POST /detokenize`. */
export const llamaDetokenize: Dialect = { ...common, id: 'llama.detokenize', path: '/detokenize', engine: 'llama-server', schema: detokenizeSchema, parse: parseDetokenize }

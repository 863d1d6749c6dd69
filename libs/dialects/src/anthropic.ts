import type { BrokerError } from '@drover/core'
import { countTokensSchema, messagesSchema, parseCountTokens, parseMessages } from './anthropic-request.ts'
import type { Dialect } from './dialect.ts'
import { JSON_TYPE, SSE_TYPE } from './engine-side.ts'
import { nativeText } from './ollama.ts'
import { PATHS } from './route.ts'

const TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  422: 'invalid_request_error',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  529: 'overloaded_error',
}

const errorBody = (error: BrokerError, requestId: string | undefined): string =>
  JSON.stringify({
    type: 'error',
    error: { type: TYPES[error.status] ?? 'api_error', message: nativeText(error) },
    ...(requestId === undefined ? {} : { request_id: requestId }),
  })

const common: Omit<Dialect, 'id' | 'path' | 'schema' | 'parse'> = {
  streamType: SSE_TYPE,
  bodyType: JSON_TYPE,
  refuse: (error, requestId) => ({ status: error.status, contentType: JSON_TYPE, body: error.body ?? errorBody(error, requestId) }),
  errorEvent: (error, requestId) => `event: error\ndata: ${errorBody(error, requestId)}\n\n`,
  keepAlive: () => 'event: ping\ndata: {"type":"ping"}\n\n',
}

/** Anthropic's `POST /v1/messages`. */
export const anthropicMessages: Dialect = { ...common, id: 'anthropic.messages', path: PATHS['anthropic.messages'], schema: messagesSchema, parse: parseMessages }

/** Anthropic's `POST /v1/messages/count_tokens`. */
export const anthropicCountTokens: Dialect = {
  ...common,
  id: 'anthropic.count_tokens',
  path: '/v1/messages/count_tokens',
  schema: countTokensSchema,
  parse: parseCountTokens,
}

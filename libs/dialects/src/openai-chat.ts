import type { BrokerError } from '@drover/core'
import type { Dialect } from './dialect.ts'
import { JSON_TYPE, SSE_TYPE } from './engine-side.ts'
import { nativeText } from './ollama.ts'
import { parseChatCompletion } from './openai-request.ts'
import { PATHS } from './route.ts'

const typeOf = (status: number) => (status === 400 ? 'invalid_request_error' : status === 404 ? 'not_found_error' : 'api_error')

const errorBody = (error: BrokerError): string =>
  JSON.stringify({ error: { message: nativeText(error), type: typeOf(error.status), param: null, code: null } })

/** OpenAI's `POST /v1/chat/completions`, as Ollama and llama.cpp offer it. */
export const openAiChat: Dialect = {
  id: 'openai.chat',
  path: PATHS['openai.chat'],
  streamType: SSE_TYPE,
  bodyType: JSON_TYPE,
  parse: parseChatCompletion,
  refuse: (error) => ({ status: error.status, contentType: JSON_TYPE, body: error.body ?? errorBody(error) }),
  errorEvent: (error) => `data: ${errorBody(error)}\n\n`,
  keepAlive: () => ': waiting\n\n',
}

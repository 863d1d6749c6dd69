import { BrokerError } from '@drover/core'
import { askOllama, askOpenAi, canStream } from './ask.ts'
import type { JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { chatToOpenAi, generateToOpenAi, rawToCompletions } from './ollama-to-openai.ts'
import { openAiToChat } from './openai-to-ollama.ts'

/** A wire format that engines answer in. `/v1/completions` is read only: no client of Drover speaks it yet. */
export type EngineFormat = 'ollama.chat' | 'ollama.generate' | 'openai.chat' | 'openai.completions'

/** Where a request goes on one engine, and in which format the answer comes back. */
export interface Route {
  format: EngineFormat
  path: string
  body: JsonObject
  /** Events, or else one body. */
  streamed: boolean
}

export const PATHS: Record<EngineFormat, string> = {
  'ollama.chat': '/api/chat',
  'ollama.generate': '/api/generate',
  'openai.chat': '/v1/chat/completions',
  'openai.completions': '/v1/completions',
}

const route = (format: EngineFormat, body: JsonObject, streamed = true): Route => ({ format, path: PATHS[format], body, streamed })

const untouched = (request: ExchangeRequest): Route => {
  switch (request.dialect) {
    case 'ollama.chat':
      return route('ollama.chat', askOllama('chat', request))
    case 'ollama.generate':
      return route('ollama.generate', askOllama('generate', request))
    case 'openai.chat':
      return route('openai.chat', askOpenAi(request), canStream(request))
  }
}

/**
 * The engine's own endpoint for the client's dialect, or else the one of another dialect that can say the same.
 * @throws BrokerError `engine_refused` for a request that this engine cannot be asked
 */
export const routeOf = (request: ExchangeRequest): Route => {
  const { dialect, engine, body } = request
  if (engine.speaks.includes(dialect)) return untouched(request)
  if (dialect === 'openai.chat' && engine.speaks.includes('ollama.chat')) return route('ollama.chat', openAiToChat(request))
  if (dialect !== 'openai.chat' && engine.speaks.includes('openai.chat')) {
    if (dialect === 'ollama.chat') return route('openai.chat', chatToOpenAi(request), canStream(request))
    if (body['raw'] !== true) return route('openai.chat', generateToOpenAi(request), canStream(request))
    // Only llama-server sends a prompt through that endpoint without putting it into a template.
    if (engine.kind === 'llama-server') return route('openai.completions', rawToCompletions(request))
  }
  throw new BrokerError('engine_refused', `this engine cannot answer ${dialect} requests`, { status: 400 })
}

import { BrokerError, type DialectId } from '@drover/core'
import { askMessages, saysAll } from './ask-messages.ts'
import { askOllama, askOpenAi, canStream } from './ask.ts'
import type { JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { chatToOpenAi, generateToOpenAi, rawToCompletions } from './ollama-to-openai.ts'
import { messagesToChat, messagesToOpenAi } from './messages-to-openai.ts'
import { askCompletions, completionsToGenerate } from './completions-request.ts'
import { askInfill, fillsGap } from './infill-request.ts'
import { openAiToChat } from './openai-to-ollama.ts'
import { askResponses } from './responses-request.ts'
import { responsesToOpenAi } from './responses-to-openai.ts'

/** A dialect in which clients ask for generated text. */
export type GenerationDialect = Extract<
  DialectId,
  'ollama.chat' | 'ollama.generate' | 'openai.chat' | 'openai.completions' | 'openai.responses' | 'anthropic.messages'
>

/** A wire format that engines generate text in. */
export type EngineFormat = GenerationDialect | 'llama.infill'

/** A request for generated text, on any engine. */
export type GenerationRequest = ExchangeRequest & { dialect: GenerationDialect }

/** The dialects in which text is generated are those that have an endpoint for it. */
export const isGeneration = (request: ExchangeRequest): request is GenerationRequest => request.dialect in PATHS

/** Where a request goes on one engine, and in which format the answer comes back. */
export interface Route {
  format: EngineFormat
  path: string
  body: JsonObject
  /** Events, or else one body. */
  streamed: boolean
}

export const isNative = (format: EngineFormat): format is 'ollama.chat' | 'ollama.generate' =>
  format === 'ollama.chat' || format === 'ollama.generate'

export const PATHS: Record<EngineFormat, string> = {
  'ollama.chat': '/api/chat',
  'ollama.generate': '/api/generate',
  'openai.chat': '/v1/chat/completions',
  'openai.completions': '/v1/completions',
  'openai.responses': '/v1/responses',
  'anthropic.messages': '/v1/messages',
  'llama.infill': '/infill',
}

/** A request in the form of one of the engine's endpoints. */
export const routeTo = (format: EngineFormat, body: JsonObject, streamed = true): Route => ({ format, path: PATHS[format], body, streamed })

const untouched = (request: GenerationRequest): Route => {
  switch (request.dialect) {
    case 'ollama.chat':
      return routeTo('ollama.chat', askOllama('chat', request))
    case 'ollama.generate':
      return routeTo('ollama.generate', askOllama('generate', request))
    case 'openai.chat':
      return routeTo('openai.chat', askOpenAi(request), canStream(request))
    case 'openai.completions':
      return routeTo('openai.completions', askCompletions(request))
    case 'openai.responses':
      return routeTo('openai.responses', askResponses(request))
    case 'anthropic.messages':
      return routeTo('anthropic.messages', askMessages(request))
  }
}

/** The request in OpenAI's chat format, which every engine answers; `undefined` for one that it cannot say. */
export const asOpenAiChat = (request: GenerationRequest): JsonObject | undefined => {
  switch (request.dialect) {
    case 'ollama.chat':
      return chatToOpenAi(request)
    case 'ollama.generate':
      return request.body['raw'] === true ? undefined : generateToOpenAi(request)
    case 'openai.responses':
      return responsesToOpenAi(request)
    case 'anthropic.messages':
      return messagesToOpenAi(request)
    default:
      return undefined
  }
}

/**
 * Ollama's `/v1` cannot be told with which context to load a model, nor how long to keep it: where the node's policy says so, such
 * requests go the native way. Otherwise they and native ones would load the model anew for each other.
 */
const needsNative = ({ dialect, engine, policy }: GenerationRequest): boolean =>
  engine.kind === 'ollama' && engine.speaks.includes('ollama.chat') && !isNative(dialect) &&
  (policy.numCtx !== undefined || policy.keepAlive !== undefined)

/** Ollama (v0.33) makes log probabilities for its `/v1/completions` and then leaves them out. */
const losesLogprobs = ({ dialect, engine, body }: GenerationRequest): boolean =>
  dialect === 'openai.completions' && engine.kind === 'ollama' && engine.speaks.includes('ollama.generate') && Number(body['logprobs'] ?? 0) > 0

/** A response that is kept has the ids and the numbers that are ours. */
const isKept = ({ dialect, body }: GenerationRequest): boolean => dialect === 'openai.responses' && body['store'] === true

/**
 * The engine's own endpoint for the client's dialect, or else the one of another dialect that can say the same.
 * @throws BrokerError `engine_refused` for a request that this engine cannot be asked
 */
export const routeOf = (request: GenerationRequest): Route => {
  const { dialect, engine } = request
  if (fillsGap(request)) return routeTo('llama.infill', askInfill(request))
  if (!needsNative(request) && !losesLogprobs(request) && !isKept(request) && engine.speaks.includes(dialect) && (dialect !== 'anthropic.messages' || saysAll(request))) return untouched(request)
  if (dialect === 'openai.responses' && needsNative(request))
    return routeTo('ollama.chat', openAiToChat({ ...request, body: responsesToOpenAi(request) }))
  if (dialect === 'openai.chat' && engine.speaks.includes('ollama.chat')) return routeTo('ollama.chat', openAiToChat(request))
  if (dialect === 'anthropic.messages' && engine.speaks.includes('ollama.chat')) return routeTo('ollama.chat', messagesToChat(request))
  if (dialect === 'openai.completions' && engine.speaks.includes('ollama.generate')) return routeTo('ollama.generate', completionsToGenerate(request))
  if (engine.speaks.includes('openai.chat')) {
    const chat = asOpenAiChat(request)
    if (chat) return routeTo('openai.chat', chat, canStream({ ...request, body: chat }))
  }
  // Only llama-server sends a prompt through that endpoint without putting it into a template.
  if (dialect === 'ollama.generate' && engine.kind === 'llama-server') return routeTo('openai.completions', rawToCompletions(request))
  throw new BrokerError('engine_refused', `this engine cannot answer ${dialect} requests`, { status: 400 })
}

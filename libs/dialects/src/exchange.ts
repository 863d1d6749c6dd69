import type { DialectId } from '@drover/core'
import { countTokensExchange } from './count-tokens.ts'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { embedExchange, legacyEmbeddingsExchange, openAiEmbeddingsExchange } from './embeddings-exchange.ts'
import { detokenizeExchange, rerankExchange, tokenizeExchange } from './llama-own.ts'
import { loadBody } from './ollama-events.ts'
import { loadRequest } from './ollama-request.ts'
import { rewritten } from './rewritten.ts'
import { isGeneration, isNative, routeOf, type GenerationDialect, type GenerationRequest } from './route.ts'
import { untouchedStream } from './untouched.ts'
import { withoutCall } from './whole-call.ts'

const generation = (request: GenerationRequest): Exchange => {
  const { dialect, body, engine, stream } = request
  const kind = dialect === 'ollama.chat' ? 'chat' : 'generate'
  const load = isNative(dialect) ? loadRequest(kind, body) : undefined
  // Such an engine has its one model in memory all the time.
  if (load && !engine.speaks.includes(dialect)) return withoutCall(loadBody(kind, request, load))
  const route = routeOf(request)
  if (stream && !load && route.streamed && route.format === dialect) return untouchedStream(request, route)
  // The answer to a load is one object, whatever the client said about streams.
  return rewritten(request, route, stream && !load)
}

/** Dialects whose answer is one body that the engine makes in one call. */
const whole: Record<Exclude<DialectId, GenerationDialect>, (request: ExchangeRequest) => Exchange> = {
  'ollama.embed': embedExchange,
  'ollama.embeddings': legacyEmbeddingsExchange,
  'openai.embeddings': openAiEmbeddingsExchange,
  'anthropic.count_tokens': countTokensExchange,
  'llama.rerank': rerankExchange,
  'llama.tokenize': tokenizeExchange,
  'llama.detokenize': detokenizeExchange,
}

/**
 * One call of an engine that answers a client's request.
 * @throws BrokerError `engine_refused` for a request that this engine cannot be asked
 */
export const exchange = (request: ExchangeRequest): Exchange => {
  if (isGeneration(request)) return generation(request)
  return whole[request.dialect as keyof typeof whole](request)
}

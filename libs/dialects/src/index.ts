import type { DialectId } from '@drover/core'
import type { Dialect } from './dialect.ts'
import { anthropicCountTokens, anthropicMessages } from './anthropic.ts'
import { ollamaChat, ollamaEmbed, ollamaEmbeddings, ollamaGenerate } from './ollama.ts'
import { llamaDetokenize, llamaRerank, llamaTokenize, openAiChat, openAiCompletions, openAiEmbeddings, openAiResponses } from './openai.ts'

export { answerLimit } from './answer-limit.ts'
export type { Answer, Dialect, Exchange, ExchangeRequest, Inputs, ParsedRequest } from './dialect.ts'
export { goDuration } from './duration.ts'
export { exchange } from './exchange.ts'
export { isBlobDigest, managementFields, managementNotFound, parseManagement, type ManagementCall, type ManagementRequest } from './management.ts'
export { engineCall, parseModelWork, progressIn, progressLine, workFailure, type EngineCallOf, type HoldingWork, type ModelOrder, type Progress } from './model-work.ts'
export { NodesProgress } from './nodes-progress.ts'
export type { ResponseStatus } from './responses-object.ts'
export {
  brokenOff, eventsBefore, failedEvent, inputItems, jobOfItem, jobOfResponse, kept, numberOf, queuedResponse, referencesIn, responseIdOf, responseIn, TOLD_BEFORE, withConversation, withItems,
  type StoredWish, type Turn,
} from './responses-stored.ts'
export { resumption, type Begun, type Resumption, type Successor } from './resumed.ts'
export { renderCall, renderedPrompt, renderRequest, type RenderCall } from './rendering.ts'

/** Every API format that Drover knows. */
export const dialects: Record<DialectId, Dialect> = {
  'ollama.chat': ollamaChat,
  'ollama.generate': ollamaGenerate,
  'ollama.embed': ollamaEmbed,
  'ollama.embeddings': ollamaEmbeddings,
  'openai.chat': openAiChat,
  'openai.completions': openAiCompletions,
  'openai.embeddings': openAiEmbeddings,
  'openai.responses': openAiResponses,
  'anthropic.messages': anthropicMessages,
  'anthropic.count_tokens': anthropicCountTokens,
  'llama.rerank': llamaRerank,
  'llama.tokenize': llamaTokenize,
  'llama.detokenize': llamaDetokenize,
}

/** The dialect of a route on the gateway. */
export const dialectByPath: ReadonlyMap<string, Dialect> = new Map(
  Object.values(dialects).map((dialect) => [dialect.path, dialect]),
)

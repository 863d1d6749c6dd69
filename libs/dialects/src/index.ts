import type { DialectId } from '@drover/core'
import type { Dialect } from './dialect.ts'
import { ollamaChat, ollamaGenerate } from './ollama.ts'
import { openAiChat } from './openai-chat.ts'

export type { Answer, Dialect, Exchange, ExchangeRequest, ParsedRequest } from './dialect.ts'
export { goDuration } from './duration.ts'
export { exchange } from './exchange.ts'

/** Every API format that Drover knows. */
export const dialects: Record<DialectId, Dialect> = {
  'ollama.chat': ollamaChat,
  'ollama.generate': ollamaGenerate,
  'openai.chat': openAiChat,
}

/** The dialect of a route on the gateway. */
export const dialectByPath: ReadonlyMap<string, Dialect> = new Map(
  Object.values(dialects).map((dialect) => [dialect.path, dialect]),
)

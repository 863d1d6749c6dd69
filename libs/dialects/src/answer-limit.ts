import type { DialectId } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'

/** Where a request says how many tokens its answer may have; absent: nothing is generated. */
const LIMITS: Partial<Record<DialectId, (body: JsonObject) => unknown>> = {
  'ollama.chat': (body) => isObject(body['options']) && body['options']['num_predict'],
  'ollama.generate': (body) => isObject(body['options']) && body['options']['num_predict'],
  'openai.chat': (body) => body['max_completion_tokens'] ?? body['max_tokens'],
  'openai.completions': (body) => body['max_tokens'],
  'openai.responses': (body) => body['max_output_tokens'],
  'anthropic.messages': (body) => body['max_tokens'],
}

/** Tokens that the answer to a request may have: 0 where nothing is generated, `undefined` where no limit is asked for. */
export const answerLimit = (dialect: DialectId, body: JsonObject): number | undefined => {
  const read = LIMITS[dialect]
  if (!read) return 0
  const limit = read(body)
  // Negative ones mean "none" in several of these APIs.
  return typeof limit === 'number' && limit >= 0 ? limit : undefined
}

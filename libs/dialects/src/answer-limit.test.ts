import type { DialectId } from '@drover/core'
import { expect, test } from 'vitest'
import { answerLimit } from './answer-limit.ts'

test.each<[DialectId, Record<string, unknown>, number | undefined]>([
  ['ollama.chat', { options: { num_predict: 7 } }, 7],
  ['ollama.generate', { options: { num_predict: -1 } }, undefined],
  ['ollama.chat', {}, undefined],
  ['openai.chat', { max_completion_tokens: 5, max_tokens: 9 }, 5],
  ['openai.chat', { max_tokens: 9 }, 9],
  ['openai.completions', { max_tokens: 0 }, 0],
  ['openai.responses', { max_output_tokens: 3 }, 3],
  ['anthropic.messages', { max_tokens: 4 }, 4],
  ['openai.embeddings', { max_tokens: 4 }, 0],
  ['llama.rerank', {}, 0],
])('%s %o: %s tokens', (dialect, body, limit) => {
  expect(answerLimit(dialect, body)).toBe(limit)
})

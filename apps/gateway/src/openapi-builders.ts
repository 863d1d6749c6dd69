import { dialects } from '@drover/dialects'
import { ALWAYS, CODES, errorResponses, FORBIDDEN, ref, type Json, type Operation } from './openapi-parts.ts'

export const text: Json = { type: 'string' }
export const plain = { 'text/plain': { schema: text } }
export const json = (schema: Json): Record<string, { schema: Json }> => ({ 'application/json': { schema } })
export const list = (items: Json): Json => ({ type: 'array', items })
export const object = (properties: Record<string, Json>): Json => ({ type: 'object', required: Object.keys(properties), properties })

export const answer = (description: string, content?: Json, more: Json = {}): Json => ({ description, headers: { ...ALWAYS, ...more }, ...(content && { content }) })
export const nativeError = (description: string): Json => answer(description, json(ref('schemas', 'OllamaError')))

/** Errors of a route that the gateway answers from what it knows. */
export const refusals = (dialect: 'ollama.chat' | 'openai.chat', ...codes: (typeof CODES)[number][]): Record<string, Json> =>
  errorResponses(dialects[dialect], ['unauthorized', 'forbidden', ...codes])

export interface Reading {
  tag: string
  id: string
  summary: string
  answer: Json
  /** Answered without a key. */
  open?: boolean
}

/** A route that only tells something. */
export const reading = ({ tag, id, summary, answer: content, open = false }: Reading): Operation => ({
  tags: [tag],
  summary,
  operationId: id,
  ...(open && { security: [] }),
  responses: { '200': answer('OK', content), ...(open ? FORBIDDEN : refusals(tag === 'OpenAI' ? 'openai.chat' : 'ollama.chat')) },
})

/** A part of the path. */
export const parameter = (name: string, description: string): Json => ({ name, in: 'path', required: true, description, schema: text })

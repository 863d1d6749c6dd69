import { createHash } from 'node:crypto'
import type { AnswerFormat, Ending } from './format.ts'

/** Numbers of every vector. */
export const DIMENSIONS = 8

/** A text, or its tokens. */
export type Item = string | number[]

/** The vector of an input, not normalised: from its text alone, so that nobody can mistake one for another. */
export const rawVector = (item: Item): number[] => {
  const digest = createHash('sha256').update(JSON.stringify(item)).digest()
  return Array.from({ length: DIMENSIONS }, (_, i) => Math.fround((digest.readUInt16LE(2 * i) + 1) / 16_384 - 2))
}

const normalised = (vector: number[]): number[] => {
  const length = Math.hypot(...vector)
  return vector.map((value) => Math.fround(value / length))
}

/** The vector of an input as engines give it by default. */
export const vectorOf = (item: Item, dimensions = DIMENSIONS): number[] => {
  const whole = normalised(rawVector(item))
  return dimensions > 0 && dimensions < whole.length ? normalised(whole.slice(0, dimensions)) : whole
}

const base64 = (vector: number[]): string => Buffer.from(new Float32Array(vector).buffer).toString('base64')

const NOTHING = { streamType: 'application/json', begin: '', token: () => '', end: () => '', garbage: '' }

/** One body; `fault` is how the engine writes an error. */
const whole = (answer: (ending: Ending | undefined) => unknown, fault: (message: string) => unknown): AnswerFormat => ({
  ...NOTHING,
  error: (message) => JSON.stringify(fault(message)),
  // An engine that stopped by itself has not come to its last vector.
  body: (_text, ending) => (ending ? JSON.stringify(answer(ending)) : JSON.stringify(answer(ending)).slice(0, -8)),
})

const ns = (ms: number) => Math.max(1, Math.round(ms * 1e6))
const nativeFault = (message: string) => ({ error: message })

/** `/api/embed`. */
export const ollamaEmbed = (model: string, items: Item[], dimensions: number | undefined): AnswerFormat =>
  whole(
    (ending) => ({
      model,
      embeddings: items.map((item) => vectorOf(item, dimensions)),
      total_duration: ns(ending?.totalMs ?? 0),
      load_duration: ns(ending?.loadMs ?? 0),
      prompt_eval_count: ending?.promptTokens,
    }),
    nativeFault,
  )

/** `/api/embeddings`. */
export const ollamaEmbeddings = (item: Item): AnswerFormat => whole(() => ({ embedding: rawVector(item) }), nativeFault)

export interface OpenAiEmbeddings {
  model: string
  items: Item[]
  encoding: string
  dimensions?: number | undefined
  /** Vectors as the model made them. */
  raw?: boolean
  fault(message: string): unknown
}

/** `/v1/embeddings` of either kind of engine. */
export const openAiEmbeddings = ({ model, items, encoding, dimensions, raw = false, fault }: OpenAiEmbeddings): AnswerFormat =>
  whole((ending) => {
    const tokens = ending?.promptTokens ?? 0
    const vectors = items.map((item) => (raw ? rawVector(item) : vectorOf(item, dimensions)))
    return {
      model,
      object: 'list',
      usage: { prompt_tokens: tokens, total_tokens: tokens },
      data: vectors.map((vector, index) => ({ embedding: encoding === 'base64' ? base64(vector) : vector, index, object: 'embedding' })),
    }
  }, fault)

/** The more of the query's letters a document has, the likelier it is. */
const score = (query: string, document: string): number => [...new Set(query)].filter((letter) => document.includes(letter)).length

/** `/v1/rerank`. */
export const llamaRanks = (model: string, query: string, documents: string[], most: number, fault: (message: string) => unknown): AnswerFormat =>
  whole((ending) => {
    const tokens = ending?.promptTokens ?? 0
    const results = documents.map((document, index) => ({ index, relevance_score: score(query, document) }))
    return {
      model,
      object: 'list',
      usage: { prompt_tokens: tokens, total_tokens: tokens },
      results: results.toSorted((a, b) => b.relevance_score - a.relevance_score).slice(0, most),
    }
  }, fault)

import { readGpus } from '../gpus.ts'
import type { GgufFacts } from './gguf-facts.ts'

/** Tokens that llama.cpp computes at once by default (`--ubatch-size`). */
const BATCH = 512
/** The room for a batch grows with its square: longer texts are refused by models that embed. */
const LONGEST_EMBEDDED = 2_048
/** What a llama-server takes before its model: measured 35 MB, with room. */
const PROGRAM_BYTES = 64 * 1024 * 1024

/**
 * Bytes that a llama-server takes with a model: the weights, the KV cache of all slots in full, and room to compute in, of which the
 * largest piece is a batch of answers over the whole vocabulary. An estimate on the careful side: sliding windows count as full.
 */
export const memoryNeeded = ({ size, facts }: { size: number; facts: GgufFacts }, { slots, ctx }: { slots: number; ctx: number }): number =>
  size + facts.kvBytesPerToken * ctx * slots + PROGRAM_BYTES + roomToCompute(facts, batchOf(facts, ctx))

/** Tokens that are computed at once: of a model that embeds a whole text. */
export const batchOf = ({ embedding }: GgufFacts, ctx: number): number => (embedding ? Math.min(ctx, LONGEST_EMBEDDED) : BATCH)

const roomToCompute = ({ embedding, heads, vocabulary, embeddingLength = 0 }: GgufFacts, batch: number): number =>
  batch * 4 * ((embedding ? heads * batch : vocabulary) + 4 * embeddingLength)

/** Bytes that models may take on this machine: most of what is free now, cards included; the rest is for everybody else. */
export const usableMemory = async (signal?: AbortSignal): Promise<number> => {
  const gpus = await readGpus(signal)
  return Math.floor(process.availableMemory() * 0.8 + gpus.reduce((sum, { free }) => sum + free, 0) * 0.9)
}

/** `5.1 GB`, for people. */
export const inGigabytes = (bytes: number): string => (bytes >= 1e8 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.ceil(bytes / 1e6)} MB`)

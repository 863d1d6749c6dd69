import { BATCH_TOKENS, kvBytes, layersRoom, outputRoom, PROGRAM_BYTES } from '@drover/core'
import { readGpus } from '../gpus.ts'
import type { GgufFacts } from './gguf-facts.ts'

/** The room for a batch grows with its square: longer texts are refused by models that embed. */
const LONGEST_EMBEDDED = 2_048

/**
 * Bytes that a llama-server takes with a model on one node: the weights, the KV cache of all slots in full, and room to compute in. An
 * estimate on the careful side: sliding windows count as full.
 */
export const memoryNeeded = ({ size, facts }: { size: number; facts: GgufFacts }, { slots, ctx }: { slots: number; ctx: number }): number => {
  const { shape, embedding } = facts
  const run = { slots, context: ctx, batch: batchOf(facts, ctx) }
  const kv = shape.kv.reduce((sum, perToken) => sum + kvBytes(perToken, run), 0)
  return size + kv + PROGRAM_BYTES + layersRoom(shape, run, true) + (embedding ? pairsRoom(facts, run.batch) : outputRoom(shape, run))
}

/** Tokens that are computed at once: of a model that embeds a whole text. */
export const batchOf = ({ embedding }: GgufFacts, ctx: number): number => (embedding ? Math.min(ctx, LONGEST_EMBEDDED) : BATCH_TOKENS)

/** What every head notes of each pair of tokens, where a card has no flash attention for heads of that size. */
const pairsRoom = ({ shape }: GgufFacts, batch: number): number => batch * batch * shape.heads * 4

/** Parts of what is free that models may take; the rest is for everybody else. */
const USABLE = { cpu: 0.8, gpu: 0.9 } as const

/** Bytes of one kind of memory that models may take where so many are free. */
export const usableOf = (kind: keyof typeof USABLE, free: number): number => Math.floor(free * USABLE[kind])

/** Bytes that models may take on this machine: most of what is free now, cards included. */
export const usableMemory = async (signal?: AbortSignal): Promise<number> => {
  const gpus = await readGpus(signal)
  return usableOf('cpu', process.availableMemory()) + usableOf('gpu', gpus.reduce((sum, { free }) => sum + free, 0))
}

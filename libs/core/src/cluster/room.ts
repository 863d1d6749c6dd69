import type { ModelShape } from './shape.ts'

/** How a number of the KV cache is kept: its bytes, the scales of its block among them (ggml's type traits). */
export const KV_TYPES = { f32: 4, f16: 2, bf16: 2, q8_0: 34 / 32, q5_1: 24 / 32, q5_0: 22 / 32, q4_1: 20 / 32, q4_0: 18 / 32 } as const
export type KvType = keyof typeof KV_TYPES

/** Of the types that numbers are kept in by the block: llama.cpp keeps values so only with flash attention. */
export const isQuantized = (type: KvType): boolean => type.startsWith('q')

/** How a model is run: what its memory besides its weights follows from. */
export interface RunSizes {
  slots: number
  /** Tokens per slot. */
  context: number
  kvType?: KvType | undefined
  /** True when absent. */
  flashAttention?: boolean | undefined
  /** Tokens that are computed at once; llama.cpp's own when absent. */
  batch?: number | undefined
}

/** Tokens that llama.cpp computes at once by default (`--ubatch-size`). */
export const BATCH_TOKENS = 512

/** llama.cpp rounds the context of a slot up to this. */
const CONTEXT_STEP = 256
const rounded = (context: number): number => Math.ceil(context / CONTEXT_STEP) * CONTEXT_STEP

/** What a llama-server takes before its model: measured 35 MB, with room. */
export const PROGRAM_BYTES = 64 * 2 ** 20
/** What an `rpc-server` takes besides its buffers, and its processor to convert numbers in: measured up to 15 MB, with room. */
export const LENT_PROGRAM_BYTES = 32 * 2 ** 20
/** What a card's driver and its own scratch take besides the buffers. Not measured here: what makers tell of their drivers, with room. */
export const CARD_BYTES = 512 * 2 ** 20

/** Bytes of KV cache in a layer whose cache of one token has so many, at 16 bits per number, when all slots are full. */
export const kvBytes = (perToken: number, { slots, context, kvType = 'f16' }: RunSizes): number =>
  Math.ceil((perToken / KV_TYPES.f16) * KV_TYPES[kvType] * slots * rounded(context))

const FLOAT = 4
/** With all layers on several devices llama.cpp keeps what goes between them so often, for batches that follow each other (`GGML_SCHED_MAX_COPIES`). */
const COPIES = 4
/** States of a batch that are held besides the feed-forward network, on one device alone and with those copies on several. */
const STATES = { alone: 5, shared: 17 }
/** The same for the coordinator's processor, which looks up embeddings and hands them on. */
const INPUT_STATES = 12
/** And without flash attention for what heads read and write. */
const SCORING_STATES = 7
/** A gate, what it opens, and their product. */
const FEED_FORWARDS = 3

/** Which tokens may look at which. */
const maskBytes = ({ context, flashAttention = true, batch = BATCH_TOKENS }: RunSizes): number => batch * rounded(context) * (flashAttention ? 2 : FLOAT)

/** Without flash attention every head holds a number for each pair of tokens, and half as much again where a processor converts them. */
const scoreBytes = ({ heads }: ModelShape, { context, flashAttention = true, batch = BATCH_TOKENS }: RunSizes): number =>
  flashAttention ? 0 : batch * rounded(context) * heads * (FLOAT + 2)

const stateBytes = (states: number, { embedding }: ModelShape, { flashAttention = true, batch = BATCH_TOKENS }: RunSizes): number =>
  batch * FLOAT * embedding * (states + (flashAttention ? 0 : SCORING_STATES))

/**
 * Bytes that a device with some layers needs to compute in, however many they are; `alone`: it has them all. Fitted to what llama.cpp
 * 0.7.0 tells ("compute buffer size"), and never below it.
 */
export const layersRoom = (shape: ModelShape, run: RunSizes, alone: boolean): number =>
  (run.batch ?? BATCH_TOKENS) * FLOAT * FEED_FORWARDS * shape.feedForward +
  stateBytes(STATES[alone ? 'alone' : 'shared'], shape, run) +
  maskBytes(run) * (alone ? 1 : COPIES) +
  scoreBytes(shape, run)

/** And the device with the output: some versions compute the answers of a whole batch, over the whole vocabulary. */
export const outputRoom = ({ vocabulary }: ModelShape, { batch = BATCH_TOKENS }: RunSizes): number => batch * FLOAT * vocabulary

/** Bytes that the coordinator's own process takes besides its layers: its program, token embeddings and room to look them up. */
export const coordinatorRoom = (shape: ModelShape, run: RunSizes): number =>
  PROGRAM_BYTES + shape.input + stateBytes(INPUT_STATES, shape, run) + maskBytes(run) * COPIES

import type { ModelShape } from '@drover/core'
import type { GGUFParseOutput } from '@huggingface/gguf'
import { MOST_LAYERS, shapeWith, weightBytes } from './gguf-weights.ts'
import type { TensorBytes, WeightBytes } from './gguf-weights.ts'

export type Pooling = 'mean' | 'cls' | 'last' | 'rank'

/** What the header of one GGUF file says. */
export interface GgufFacts {
  architecture: string
  /** Numbers in its weights, of this file alone. */
  parameters: number
  /** The tag that people write: `Q4_K_M`. */
  quantization?: string
  /** Tokens that the model was trained for. */
  contextLength?: number
  embeddingLength?: number
  /** Of a model in several parts: with the weights of this one alone. */
  shape: ModelShape
  /** Of this file alone. */
  weights: WeightBytes
  /** What the chat template makes use of; absent: there is none. */
  template?: { text: string; tools: boolean; thinking: boolean }
  /** The header's entries but its name and template, as Ollama shows them: of an array of more than five items nothing. */
  metadata: Record<string, unknown>
  /** It makes vectors, not text. */
  embedding: boolean
  /** How it makes one vector of those of all tokens, where it says; `rank`: it makes a score. */
  pooling?: Pooling
  /** Bytes that the file has when it is whole. */
  wholeBytes: number
}

type Header = Pick<GGUFParseOutput, 'tensorInfos' | 'tensorDataOffset'> & { metadata: Record<string, unknown> }

/** Numbers in a block of a tensor type and the block's bytes: the type traits of ggml (ggml.c, by the numbers of `ggml_type`). */
const BLOCKS: Readonly<Record<number, readonly [numbers: number, bytes: number]>> = {
  0: [1, 4], 1: [1, 2], 2: [32, 18], 3: [32, 20], 6: [32, 22], 7: [32, 24], 8: [32, 34], 9: [32, 36],
  10: [256, 84], 11: [256, 110], 12: [256, 144], 13: [256, 176], 14: [256, 210], 15: [256, 292],
  16: [256, 66], 17: [256, 74], 18: [256, 98], 19: [256, 50], 20: [32, 18], 21: [256, 110], 22: [256, 82], 23: [256, 136],
  24: [1, 1], 25: [1, 2], 26: [1, 4], 27: [1, 8], 28: [1, 8], 29: [256, 56], 30: [1, 2], 34: [256, 54], 35: [256, 66], 39: [32, 17],
}

/** As llama.cpp keeps its cache by default. */
const KV_BYTES_PER_NUMBER = 2

/** Architectures that only make vectors. */
const ENCODERS = /bert|^t5encoder$|^gemma-embedding$/

/** By the numbers of `llama_pooling_type` (llama.h). */
const POOLINGS: Readonly<Record<number, Pooling>> = { 1: 'mean', 2: 'cls', 3: 'last', 4: 'rank' }

const pooledBy = (type: number | undefined): { pooling?: Pooling } => {
  const pooling = type === undefined ? undefined : POOLINGS[type]
  return pooling === undefined ? {} : { pooling }
}

/** The facts of a header. `fileTypes` gives a file type's name by its number. @throws RangeError when it claims more layers than llama.cpp takes */
export const factsOf = ({ metadata, tensorInfos, tensorDataOffset }: Header, fileTypes: Readonly<Record<number, string>>): GgufFacts => {
  const architecture = textOf(metadata['general.architecture']) ?? ''
  const own = (key: string): unknown => metadata[`${architecture}.${key}`]
  const number = (key: string): number | undefined => numberOf(own(key))
  const layers = number('block_count') ?? 0
  if (!(layers <= MOST_LAYERS)) throw new RangeError(`claims ${layers} layers, and llama.cpp takes ${MOST_LAYERS} at most`)
  const embeddingLength = number('embedding_length')
  const heads = perLayer(own('attention.head_count'), layers)
  const mostHeads = Math.max(0, ...heads)
  const width = mostHeads > 0 ? (embeddingLength ?? 0) / mostHeads : 0
  const numbersPerHead = (number('attention.key_length') ?? width) + (number('attention.value_length') ?? width)
  const kvHeads = own('attention.head_count_kv') === undefined ? heads : perLayer(own('attention.head_count_kv'), layers)
  const template = textOf(metadata['tokenizer.chat_template'])
  const fileType = numberOf(metadata['general.file_type'])
  const quantization = fileType === undefined ? undefined : fileTypes[fileType]
  const contextLength = number('context_length')
  const tokens = metadata['tokenizer.ggml.tokens']
  let parameters = 0
  let end = 0
  const tensors: TensorBytes[] = []
  for (const { name, shape, dtype, offset } of tensorInfos) {
    const numbers = shape.reduce((product, size) => product * Number(size), 1)
    const [per, perBlock] = BLOCKS[dtype] ?? [1, 0]
    const bytes = Math.ceil(numbers / per) * perBlock
    parameters += numbers
    end = Math.max(end, Number(offset) + bytes)
    tensors.push({ name, bytes })
  }
  const weights = weightBytes(tensors, { encodes: ENCODERS.test(architecture) })
  return {
    architecture,
    parameters,
    ...(quantization === undefined ? {} : { quantization }),
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(embeddingLength === undefined ? {} : { embeddingLength }),
    shape: shapeWith(weights, {
      kv: kvHeads.map((count) => count * numbersPerHead * KV_BYTES_PER_NUMBER),
      embedding: embeddingLength ?? 0,
      feedForward: feedForward(number, Math.max(0, ...perLayer(own('feed_forward_length'), layers)), embeddingLength ?? 0),
      vocabulary: number('vocab_size') ?? (Array.isArray(tokens) ? tokens.length : 0),
      heads: mostHeads,
      ...(contextLength === undefined ? {} : { contextLength }),
    }),
    weights,
    ...(template === undefined ? {} : { template: { text: template, tools: /\btools\b/.test(template), thinking: /<think>|enable_thinking/.test(template) } }),
    metadata: Object.fromEntries(Object.entries(metadata).filter(([key]) => !NOT_SHOWN.has(key)).map(([key, value]) => [key, shown(value)])),
    embedding: ENCODERS.test(architecture) || number('pooling_type') !== undefined,
    ...pooledBy(number('pooling_type')),
    // The first part of several may hold no weights, and then nothing follows its header.
    wholeBytes: end === 0 ? 0 : Number(tensorDataOffset) + end,
  }
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
const numberOf = (value: unknown): number | undefined => (typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined)

const NOT_SHOWN = new Set(['general.name', 'tokenizer.chat_template', 'version', 'tensor_count', 'kv_count'])
const SHOWN_ITEMS = 5

/** As JSON can say it. */
const shown = (value: unknown): unknown =>
  Array.isArray(value) ? (value.length > SHOWN_ITEMS ? [] : value.map(shown)) : typeof value === 'bigint' ? Number(value) : value

/**
 * Of a layer with experts what all that are asked for one token hold, each its network or its answer, and those that are always asked.
 * A model that says nothing of it has something else in its place, of the usual size.
 */
const feedForward = (number: (key: string) => number | undefined, dense: number, embedding: number): number => {
  const expert = number('expert_feed_forward_length') ?? dense
  const shared = number('expert_shared_feed_forward_length') ?? (number('expert_shared_count') ?? 0) * expert
  const experts = (number('expert_used_count') ?? 0) * Math.max(expert, embedding)
  return Math.max(dense, experts + shared) || 4 * embedding
}

/** A count that is the same for all layers, or told for each. */
const perLayer = (value: unknown, layers: number): number[] =>
  Array.from({ length: layers }, (_, i) => numberOf(Array.isArray(value) ? value[i] : value) ?? 0)

import type { ModelShape } from '@drover/core'

/** llama.cpp takes no model with more layers (`LLAMA_MAX_LAYERS`). */
export const MOST_LAYERS = 512

/** A tensor of a file's table, with its bytes. */
export interface TensorBytes {
  name: string
  bytes: number
}

/** Bytes of a model's weights by where llama.cpp puts them when it spreads layers over devices. */
export interface WeightBytes {
  /** By the layer's number; one that holds nothing may be absent. */
  layers: number[]
  input: number
  output: number
  /** Of the token embeddings, which are part of `input`. */
  embeddings: number
  /** Of the largest tensor in a layer. */
  largest: number
  /** It has weights of its own for the output, or makes none: else the embeddings are used a second time. */
  ownOutput: boolean
}

/** Of encoders and decoders apart, too: their layers of one number go together. */
const LAYER = /(?:^|\.)blk\.(\d+)\./
/** What llama.cpp keeps with the input (the tensors of `LLM_TENSOR_LAYER_INPUT` in llama-arch.cpp); all else that is no layer goes with the output. */
const INPUT = /^(?:token_embd|position_embd|token_types|per_layer_token_embd|masked_embd_centroids|masked_embd_ordering)\./

/** Bytes by place of the tensors in one file. `encodes`: it makes vectors only, from the last layer's state. */
export const weightBytes = (tensors: readonly TensorBytes[], { encodes }: { encodes: boolean }): WeightBytes => {
  const weights: WeightBytes = { layers: [], input: 0, output: 0, embeddings: 0, largest: 0, ownOutput: encodes }
  for (const { name, bytes } of tensors) {
    const layer = Number(LAYER.exec(name)?.[1] ?? MOST_LAYERS)
    if (layer < MOST_LAYERS) {
      weights.layers[layer] = (weights.layers[layer] ?? 0) + bytes
      weights.largest = Math.max(weights.largest, bytes)
    } else if (INPUT.test(name)) weights.input += bytes
    else weights.output += bytes
    if (name === 'token_embd.weight') weights.embeddings += bytes
    if (name === 'output.weight') weights.ownOutput = true
  }
  return weights
}

/** Of a model that lies in several files. */
export const allWeights = (parts: readonly WeightBytes[]): WeightBytes => {
  const sum = (of: (part: WeightBytes) => number | undefined): number => parts.reduce((total, part) => total + (of(part) ?? 0), 0)
  return {
    layers: Array.from({ length: Math.max(0, ...parts.map(({ layers }) => layers.length)) }, (_, i) => sum(({ layers }) => layers[i])),
    input: sum(({ input }) => input),
    output: sum(({ output }) => output),
    embeddings: sum(({ embeddings }) => embeddings),
    largest: Math.max(0, ...parts.map(({ largest }) => largest)),
    ownOutput: parts.some(({ ownOutput }) => ownOutput),
  }
}

/**
 * The shape of a model with these weights. llama.cpp puts embeddings that serve as the output, too, once more where the output lies
 * (`TENSOR_DUPLICATED` in llama-model.cpp): it reads them with the input and multiplies with them there.
 */
export const shapeWith = ({ layers, input, output, embeddings, largest, ownOutput }: WeightBytes, rest: Omit<ModelShape, 'layers' | 'input' | 'output' | 'largest'>): ModelShape => ({
  ...rest,
  layers: rest.kv.map((_, i) => layers[i] ?? 0),
  input,
  output: output + (ownOutput ? 0 : embeddings),
  largest,
})

import { z } from 'zod'

/** Where the bytes of a model lie when its layers are spread over devices: read from the tensor table of its file, not from averages. */
export const ModelShape = z.object({
  /** Bytes of the weights of each layer, first layer first. */
  layers: z.array(z.number().nonnegative()),
  /** Bytes of KV cache that one token takes in each layer, 16 bits per number; 0 where a layer has no attention. As long as `layers`. */
  kv: z.array(z.number().nonnegative()),
  /** Bytes of what comes before the first layer (token embeddings): they stay in the coordinator's own memory. */
  input: z.number().nonnegative(),
  /** Bytes of what comes behind the last layer: the output's weights and norm; the embeddings once more where the model has them tied. */
  output: z.number().nonnegative(),
  /** Bytes of the largest tensor in a layer. */
  largest: z.number().nonnegative(),
  /** Numbers in one token's state. */
  embedding: z.int().nonnegative(),
  /** Numbers of one token within a layer's feed-forward network, of all experts that are asked for it, the most of any layer. */
  feedForward: z.int().nonnegative(),
  /** Tokens of its vocabulary. */
  vocabulary: z.int().nonnegative(),
  /** Attention heads of a layer, the most of any. */
  heads: z.int().nonnegative(),
  /** Tokens that it was trained for. */
  contextLength: z.int().positive().optional(),
})
export type ModelShape = z.infer<typeof ModelShape>

import { expect, test } from 'vitest'
import { factsOf } from './gguf-facts.ts'
import { allWeights, MOST_LAYERS, shapeWith } from './gguf-weights.ts'

const F32 = 0
const F16 = 1
const Q4_K = 12

/** A table of tensors in one file, each behind the other. */
const table = (tensors: readonly (readonly [name: string, dtype: number, ...shape: number[]])[]) => {
  let offset = 0n
  return tensors.map(([name, dtype, ...shape]) => {
    const info = { name, n_dims: shape.length, shape: shape.map(BigInt), dtype, offset }
    offset += BigInt(shape.reduce((product, size) => product * size, 4))
    return info
  })
}
const facts = (metadata: Record<string, unknown>, tensors: Parameters<typeof table>[0]) =>
  factsOf({ metadata: { 'general.architecture': 'llama', ...metadata }, tensorInfos: table(tensors), tensorDataOffset: 0n }, {})

const ONE_LAYER = { 'llama.block_count': 1, 'llama.embedding_length': 256, 'llama.attention.head_count': 4 }

test('the shape tells the bytes of each layer, experts among them, and of what lies before and behind', () => {
  const { shape } = facts(
    { 'llama.block_count': 3, 'llama.embedding_length': 256, 'llama.attention.head_count': 4, 'llama.vocab_size': 512, 'llama.context_length': 4_096 },
    [
      ['token_embd.weight', Q4_K, 256, 512],
      ['blk.0.attn_q.weight', F16, 256, 256],
      ['blk.2.ffn_up_exps.weight', Q4_K, 256, 512, 8],
      ['blk.2.attn_norm.weight', F32, 256],
      ['rope_freqs.weight', F32, 32],
      ['output_norm.weight', F32, 256],
      ['output.weight', F16, 256, 512],
    ],
  )
  expect(shape).toEqual({
    layers: [256 * 256 * 2, 0, (256 * 512 * 8 * 144) / 256 + 256 * 4],
    kv: [1_024, 1_024, 1_024],
    input: (256 * 512 * 144) / 256,
    output: 32 * 4 + 256 * 4 + 256 * 512 * 2,
    largest: (256 * 512 * 8 * 144) / 256,
    embedding: 256,
    feedForward: 1_024,
    vocabulary: 512,
    heads: 4,
    contextLength: 4_096,
  })
})

test.each([
  ['heads of a layer that all have keys of their own', {}, [1_024]],
  ['fewer heads of keys', { 'llama.attention.head_count_kv': 1 }, [256]],
  ['a length of key and of value', { 'llama.attention.head_count_kv': 2, 'llama.attention.key_length': 96, 'llama.attention.value_length': 32 }, [512]],
  ['heads told for each layer, some with none', { 'llama.block_count': 3, 'llama.attention.head_count_kv': [2, 0, 4] }, [512, 0, 1_024]],
  ['heads told for fewer layers than there are', { 'llama.block_count': 2, 'llama.attention.head_count_kv': [2] }, [512, 0]],
])('the cache for one token follows from %s', (_, metadata, kv) => {
  expect(facts({ ...ONE_LAYER, ...metadata }, []).shape.kv).toEqual(kv)
})

test.each([
  ['as told', { 'llama.feed_forward_length': 700 }, 700],
  ['the widest where it is told for each layer', { 'llama.block_count': 3, 'llama.feed_forward_length': [300, 900, 0] }, 900],
  ['of the experts that are asked together', { 'llama.feed_forward_length': 512, 'llama.expert_used_count': 2 }, 1_024],
  ['their answers where those are wider', { 'llama.expert_feed_forward_length': 64, 'llama.expert_used_count': 8 }, 2_048],
  ['and of the one that is always asked', { 'llama.expert_feed_forward_length': 512, 'llama.expert_used_count': 4, 'llama.expert_shared_count': 1 }, 2_560],
  ['the usual where nothing is told', {}, 1_024],
])('the width of the feed-forward network: %s', (_, metadata, width) => {
  expect(facts({ ...ONE_LAYER, ...metadata }, []).shape.feedForward).toBe(width)
})

test('embeddings that serve as the output, too, count twice, of an encoder once', () => {
  const embeddings = ['token_embd.weight', F16, 256, 512] as const
  expect(facts(ONE_LAYER, [embeddings]).shape).toMatchObject({ input: 262_144, output: 262_144 })
  expect(facts(ONE_LAYER, [embeddings, ['output.weight', F16, 256, 256]]).shape).toMatchObject({ input: 262_144, output: 131_072 })
  expect(facts({ 'general.architecture': 'bert', 'bert.block_count': 1 }, [embeddings]).shape).toMatchObject({ input: 262_144, output: 0 })
})

test('of a model in several files the parts of a layer are added up, and the output may lie in another part', () => {
  const first = facts({ ...ONE_LAYER, 'llama.block_count': 2 }, [['token_embd.weight', F16, 256, 512], ['blk.0.attn_q.weight', F16, 256, 256]])
  const second = facts({}, [['blk.0.attn_k.weight', F16, 256, 64], ['blk.1.attn_q.weight', F16, 256, 128], ['output.weight', F32, 256, 512]])
  expect(second.shape.layers).toEqual([])
  expect(shapeWith(allWeights([first.weights, second.weights]), first.shape)).toMatchObject({
    layers: [131_072 + 32_768, 65_536], input: 262_144, output: 524_288, largest: 131_072,
  })
})

test('encoder and decoder layers of one number go together', () => {
  const { shape } = facts({ 'general.architecture': 't5', 't5.block_count': 1 }, [['enc.blk.0.attn_q.weight', F16, 64, 64], ['dec.blk.0.attn_q.weight', F16, 64, 64], ['output.weight', F16, 64, 64]])
  expect(shape.layers).toEqual([16_384])
})

test('a header that claims more layers than llama.cpp takes is refused, and so is the number of a layer', () => {
  expect(() => facts({ ...ONE_LAYER, 'llama.block_count': MOST_LAYERS + 1 }, [])).toThrow(`claims ${MOST_LAYERS + 1} layers`)
  expect(() => facts({ ...ONE_LAYER, 'llama.block_count': 4e9 }, [])).toThrow('claims 4000000000 layers')
  expect(facts({ ...ONE_LAYER, 'llama.block_count': MOST_LAYERS }, [['blk.4000000000.x', F32, 1]]).weights.layers).toEqual([])
})

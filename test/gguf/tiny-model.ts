import { open, rename } from 'node:fs/promises'
import { aligned, ALIGNMENT, entry, header, type TensorInfo } from './header.ts'
import { Noise, type NumberType } from './noise.ts'
import { INFILL, TOKEN, vocabulary, type VocabularyToken } from './vocabulary.ts'

export interface TinyModelOptions {
  path: string
  name?: string
  layers?: number
  /** Width of the model; a multiple of `heads`, with an even quotient. */
  embd?: number
  heads?: number
  kvHeads?: number
  /** Default: twice `embd`. */
  ffn?: number
  /** 512 to 5000. */
  vocab?: number
  /** Tokens that the model claims to be trained for. */
  context?: number
  seed?: number
  /** Weight of the end-of-text token. 0: never said; 3: answers of the default model end within some hundred tokens. */
  eos?: number
  /** Says that it makes vectors, and how: 1 mean, 2 first token, 3 last token, 4 score. Default 0: it makes text, and says nothing of that. */
  pooling?: number
  /** Has the tokens for filling a gap in a text. */
  infill?: boolean
  type?: NumberType
  /** Layers of a model of type f16 that are twice as large as the others. */
  wide?: readonly number[]
  /** Feed-forward networks in each layer, of which two are asked for each token. Default: one, always asked. */
  experts?: number
  /** The embeddings serve as the output, too; then it does not only say words. */
  tied?: boolean
}

const TEMPLATE = [
  '{% if tools %}<|turn|>system\nTools:{% for tool in tools %} {{ tool | tojson }}{% endfor %}\n',
  'To call one, answer <tool_call>{"name": NAME, "arguments": ARGUMENTS}</tool_call><|end|>\n{% endif %}',
  "{% for message in messages %}<|turn|>{{ message['role'] }}\n{% if message['content'] %}{{ message['content'] }}{% endif %}",
  "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}",
  '<tool_call>{"name": {{ call[\'function\'][\'name\'] | tojson }}, ',
  '"arguments": {{ call[\'function\'][\'arguments\'] | tojson }}}</tool_call>',
  '{% endfor %}{% endif %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}',
].join('')

interface Tensor extends TensorInfo {
  /** Scale of the noise; 0: all ones. */
  scale: number
  /** The value that row `i` begins with, where that is fixed; `null`: the whole row is zero. */
  first?: (i: number) => number | null | undefined
  /** Scale of row `i`, where it differs. */
  rowScale?: (i: number) => number
}

type Sizes = Required<Omit<TinyModelOptions, 'path'>>

const metadata = (sizes: Sizes, tokens: VocabularyToken[]): Buffer[] => [
  entry.string('general.architecture', 'llama'),
  entry.string('general.name', sizes.name),
  entry.u32('general.alignment', ALIGNMENT),
  entry.u32('general.file_type', sizes.type === 'f32' ? 0 : 1),
  entry.u32('llama.context_length', sizes.context),
  entry.u32('llama.embedding_length', sizes.embd),
  entry.u32('llama.block_count', sizes.layers),
  entry.u32('llama.feed_forward_length', sizes.ffn),
  entry.u32('llama.attention.head_count', sizes.heads),
  entry.u32('llama.attention.head_count_kv', sizes.kvHeads),
  entry.f32('llama.attention.layer_norm_rms_epsilon', 1e-5),
  entry.u32('llama.rope.dimension_count', sizes.embd / sizes.heads),
  entry.f32('llama.rope.freq_base', 10_000),
  entry.u32('llama.vocab_size', sizes.vocab),
  ...(sizes.experts > 0 ? [entry.u32('llama.expert_count', sizes.experts), entry.u32('llama.expert_used_count', 2)] : []),
  ...(sizes.pooling > 0 ? [entry.u32('llama.pooling_type', sizes.pooling)] : []),
  entry.string('tokenizer.ggml.model', 'llama'),
  entry.strings('tokenizer.ggml.tokens', tokens.map(({ text }) => text)),
  entry.f32s('tokenizer.ggml.scores', tokens.map(({ score }) => score)),
  entry.i32s('tokenizer.ggml.token_type', tokens.map(({ kind }) => kind)),
  entry.u32('tokenizer.ggml.unknown_token_id', TOKEN.unknown),
  entry.u32('tokenizer.ggml.bos_token_id', TOKEN.begin),
  entry.u32('tokenizer.ggml.eos_token_id', TOKEN.end),
  entry.u32('tokenizer.ggml.eot_token_id', TOKEN.turnEnd),
  ...(sizes.infill ? ['pre', 'suf', 'mid'].map((part, i) => entry.u32(`tokenizer.ggml.fim_${part}_token_id`, sizes.vocab - INFILL.length + i)) : []),
  entry.bool('tokenizer.ggml.add_bos_token', true),
  entry.bool('tokenizer.ggml.add_eos_token', false),
  // A space put before every text would make a chat template that begins with a control token unusable with a grammar.
  entry.bool('tokenizer.ggml.add_space_prefix', false),
  entry.string('tokenizer.chat_template', TEMPLATE),
]

/**
 * The first number of the state is the same for every token and in every layer, so that the output's weights can use it to keep
 * the tokens that are not words from ever being said.
 */
const tensors = (sizes: Sizes, tokens: VocabularyToken[]): Tensor[] => {
  const { layers, embd, heads, kvHeads, ffn, vocab, eos, type, wide, experts, tied } = sizes
  const spread = embd ** -0.5
  const tensor = (name: string, shape: readonly number[], scale: number, more: Partial<Tensor> = {}): Tensor => {
    const half = type === 'f16' && scale !== 0 && !wide.some((i) => name.startsWith(`blk.${i}.`))
    const bytes = shape.reduce((product, size) => product * size, half ? 2 : 4)
    return { name, shape, scale, type: half ? 1 : 0, bytes, ...more }
  }
  const kv = kvHeads * (embd / heads)
  const [each, many] = experts > 0 ? ['_exps', [experts]] : ['', []]
  const keepsFirst = { first: (i: number) => (i === 0 ? null : undefined) }
  const layer = (_: unknown, i: number) => [
    tensor(`blk.${i}.attn_norm.weight`, [embd], 0),
    tensor(`blk.${i}.attn_q.weight`, [embd, embd], spread),
    tensor(`blk.${i}.attn_k.weight`, [embd, kv], spread),
    tensor(`blk.${i}.attn_v.weight`, [embd, kv], spread),
    tensor(`blk.${i}.attn_output.weight`, [embd, embd], spread, keepsFirst),
    tensor(`blk.${i}.ffn_norm.weight`, [embd], 0),
    ...(experts > 0 ? [tensor(`blk.${i}.ffn_gate_inp.weight`, [embd, experts], spread)] : []),
    tensor(`blk.${i}.ffn_gate${each}.weight`, [embd, ffn, ...many], spread),
    tensor(`blk.${i}.ffn_up${each}.weight`, [embd, ffn, ...many], spread),
    tensor(`blk.${i}.ffn_down${each}.weight`, [ffn, embd, ...many], ffn ** -0.5, { first: (row) => (row % embd === 0 ? null : undefined) }),
  ]
  const ends = (i: number) => i === TOKEN.end && eos > 0
  const output = tensor('output.weight', [embd, vocab], 3 * spread, {
    first: (i) => (tokens[i]?.spoken ? 0 : ends(i) ? eos : -60),
    rowScale: (i) => (ends(i) ? 0.3 * spread : 3 * spread),
  })
  return [
    tensor('token_embd.weight', [embd, vocab], 1, { first: () => 4 }),
    ...Array.from({ length: layers }, layer).flat(),
    tensor('output_norm.weight', [embd], 0),
    ...(tied ? [] : [output]),
  ]
}

const ONE = Buffer.from([0, 0, 0x80, 0x3f])

/** A tensor's data in pieces of a few MB, padded to the alignment. */
function* data({ shape, scale, bytes, first, rowScale }: Tensor, noise: Noise): Generator<Buffer> {
  const padding = Buffer.alloc(aligned(bytes) - bytes)
  if (scale === 0) {
    yield Buffer.concat([Buffer.alloc(bytes, ONE), padding])
    return
  }
  const width = (shape[0] ?? 0) * noise.bytesPerNumber
  const rows = bytes / width
  const batch = Math.max(1, Math.floor((4 << 20) / width))
  for (let begin = 0; begin < rows; begin += batch) {
    const piece = Buffer.alloc(Math.min(batch, rows - begin) * width)
    for (let i = 0; i * width < piece.length; i++) {
      const value = first?.(begin + i)
      if (value !== null) noise.row(piece.subarray(i * width, (i + 1) * width), rowScale?.(begin + i) ?? scale, value)
    }
    yield piece
  }
  yield padding
}

/**
 * Writes a GGUF model of the llama architecture with random weights. It speaks nonsense, but an engine loads it, splits it over
 * devices and decodes it like any other. The same options give the same bytes.
 *
 * It says only whole words with a space before them. Such text is cut into the very tokens that made it, so an answer that is
 * continued from its text after a whole word goes on exactly as the undisturbed one, at temperature 0.
 * @throws RangeError for sizes that no model has
 */
export const writeTinyModel = async ({ path, ...options }: TinyModelOptions): Promise<void> => {
  const { embd = 64, heads = 4 } = options
  const sizes: Sizes = {
    name: 'tiny-random', layers: 4, kvHeads: heads, ffn: 2 * embd, vocab: 1024, context: 2048, seed: 1, eos: 0, pooling: 0, infill: false, type: 'f32',
    wide: [], experts: 0, tied: false,
    ...options, embd, heads,
  }
  if (!Number.isInteger(embd / heads / 2)) throw new RangeError('embd must be a multiple of heads, with an even quotient')
  if (!Number.isInteger(heads / sizes.kvHeads)) throw new RangeError('heads must be a multiple of kvHeads')
  if (sizes.vocab < 512 || sizes.vocab > 5000) throw new RangeError('vocab must be 512 to 5000')
  const tokens = vocabulary(sizes.vocab, sizes.infill)
  const plan = tensors(sizes, tokens)
  const noise = new Noise(sizes.seed, sizes.type)
  const wide = sizes.wide.length > 0 ? new Noise(sizes.seed, 'f32') : noise
  // Under a name of its own until it is whole: several test files may want the same model at once.
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`
  const file = await open(draft, 'w')
  try {
    await file.writeFile(header(metadata(sizes, tokens), plan))
    for (const tensor of plan) for (const piece of data(tensor, tensor.type === 0 ? wide : noise)) await file.writeFile(piece)
  } finally {
    await file.close()
  }
  await rename(draft, path)
}

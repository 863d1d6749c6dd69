import { parseArgs } from 'node:util'
import { writeTinyModel, type TinyModelOptions } from './tiny-model.ts'

const USAGE = `node test/gguf/main.ts --out FILE [--name TEXT] [--layers N] [--embd N] [--heads N] [--kv-heads N] [--ffn N]
  [--vocab N] [--context N] [--seed N] [--eos WEIGHT] [--type f32|f16]`

const fail = (reason: string): never => {
  process.stderr.write(`${reason}\n${USAGE}\n`)
  process.exit(2)
}

const FLAGS = {
  layers: 'layers', embd: 'embd', heads: 'heads', 'kv-heads': 'kvHeads', ffn: 'ffn',
  vocab: 'vocab', context: 'context', seed: 'seed', eos: 'eos',
} as const satisfies Record<string, keyof TinyModelOptions>

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: {
    out: text, name: text, type: text, layers: text, embd: text, heads: text, 'kv-heads': text, ffn: text, vocab: text,
    context: text, seed: text, eos: text,
  },
})

const { out, type, name } = values
if (type !== undefined && type !== 'f32' && type !== 'f16') fail(`--type is f32 or f16, not "${type}"`)
const options: TinyModelOptions = { path: out ?? fail('--out is missing') }
if (name !== undefined) options.name = name
if (type === 'f32' || type === 'f16') options.type = type
for (const [flag, option] of Object.entries(FLAGS) as [keyof typeof FLAGS, (typeof FLAGS)[keyof typeof FLAGS]][]) {
  const given = values[flag]
  if (given === undefined) continue
  if (!Number.isFinite(Number(given))) fail(`--${flag} takes a number, not "${given}"`)
  options[option] = Number(given)
}
await writeTinyModel(options).catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)))
process.stdout.write(`${options.path}\n`)

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LlamaKind } from '../../libs/dialects/src/testing/llama-cases.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { startLlamaServer } from './llama-server.ts'

const SMALL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

/** The template of a model that thinks aloud unless it is told not to. */
export const THINKS = `{%- for m in messages %}<|{{ m.role }}|>
{%- if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>
{%- endif %}{{ m.content }}<|end|>
{% endfor %}
{%- if add_generation_prompt %}<|assistant|>
{%- if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% else %}<think>
{% endif %}{% endif %}`

const start = (alias: LlamaKind, model: string, extraArgs: string[] = [], slots = 1) => startLlamaServer({ alias, model, slots, extraArgs })

/** One real llama-server of each kind; the address of each. Each calls its model as its kind is called. */
export const startLlamaKinds = async (): Promise<{ urls: Record<LlamaKind, string>; stop(): Promise<void> }> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-kinds-'))
  const tiny = join(folder, 'tiny.gguf')
  await writeTinyModel({ path: tiny })
  const template = join(folder, 'thinks.jinja')
  await writeFile(template, THINKS)
  const [small, thinks, embeds, ranks] = await Promise.all([
    start('small', SMALL, [], 4),
    start('thinks', tiny, ['--jinja', '--chat-template-file', template, '--reasoning-budget', '3']),
    start('embeds', tiny, ['--embeddings', '--pooling', 'mean']),
    start('ranks', tiny, ['--reranking']),
  ])
  const stop = async () => {
    await Promise.all([small, thinks, embeds, ranks].map((server) => server.stop()))
    await rm(folder, { recursive: true, force: true })
  }
  return { urls: { small: small.url, thinks: thinks.url, embeds: embeds.url, ranks: ranks.url }, stop }
}

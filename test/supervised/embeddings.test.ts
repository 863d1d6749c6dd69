import { Ollama } from 'ollama'
import { expect } from 'vitest'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { test as world } from '../support/world.ts'
import { modelsFolder, openSite, untilHeld } from './site.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))

const post = async (url: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> => {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

test.skipIf(skipsWithoutLlamaServer())('a file that says how it embeds is started for that, and can be asked; one that ranks, likewise', async ({ drover, folder }) => {
  const site = await openSite(drover, folder, { DROVER_NUM_CTX: '1024' })
  await site.put('embeds.gguf', { pooling: 1 })
  await site.put('ranks.gguf', { pooling: 4 })
  await site.put('talks.gguf')
  await untilHeld(site, 'ranks:latest')
  await untilHeld(site, 'embeds:latest')
  await untilHeld(site, 'talks:latest')
  const ollama = new Ollama({ host: site.url })

  // Longer than the 512 tokens that llama-server takes at once by itself.
  const long = 'word '.repeat(150)
  const { body: counted } = await post(`${site.url}/tokenize`, { model: 'embeds', content: long })
  expect((counted['tokens'] as number[]).length).toBeGreaterThan(600)
  const { embeddings } = await ollama.embed({ model: 'embeds', input: ['a', long] })
  expect(embeddings.map(({ length }) => length)).toEqual([64, 64])
  for (const vector of embeddings) expect(Math.hypot(...vector)).toBeCloseTo(1, 4)

  const ranking = await post(`${site.url}/v1/rerank`, { model: 'ranks', query: 'a', documents: ['b', 'c'] })
  expect(ranking).toMatchObject({ status: 200, body: { model: 'ranks', results: [{ index: expect.any(Number) as number }, {}] } })
  await expect(ollama.embed({ model: 'talks', input: 'a' })).rejects.toMatchObject({ status_code: 501, error: expect.stringContaining('--embeddings') as string })
})

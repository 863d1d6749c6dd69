import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer, type LlamaServer } from '../support/llama-server.ts'
import { all, test as world } from '../support/world.ts'

const MODELS = ['filling', 'plain'] as const

const test = world
  .extend('servers', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const folder = await mkdtemp(join(tmpdir(), 'drover-infill-'))
    const started: LlamaServer[] = []
    onCleanup(async () => {
      await Promise.all(started.map((server) => server.stop()))
      await rm(folder, { recursive: true, force: true })
    })
    for (const alias of MODELS) {
      const model = join(folder, `${alias}.gguf`)
      await writeTinyModel({ path: model, eos: 3, infill: alias === 'filling' })
      started.push(await startLlamaServer({ model, alias, slots: 2 }))
    }
    return started.map(({ url }) => url)
  })
  .extend('site', { scope: 'file' }, async ({ house, servers }) => {
    const gateway = await house.gateway()
    await house.worker('n1', servers, { gateway })
    return {
      direct: servers[0] ?? '',
      openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 }),
      ollama: new Ollama({ host: gateway.url }),
    }
  })
  .skipIf(skipsWithoutLlamaServer())

const calm = { model: 'filling', temperature: 0, prompt: 'ba be' }

/** What the engine itself puts between two texts. */
const between = async (url: string, settings: object): Promise<{ content: string; prompt: string }> => {
  const answer = await fetch(`${url}/infill`, { method: 'POST', body: JSON.stringify({ input_prefix: 'ba be', temperature: 0, ...settings }) })
  return (await answer.json()) as { content: string; prompt: string }
}

test('the openai client has a gap filled, streamed and not, as the engine itself fills it', async ({ site }) => {
  const own = await between(site.direct, { input_suffix: ' di do', n_predict: 6 })
  expect(own).toMatchObject({ prompt: '<s><|before|>ba be<|after|> di do<|gap|>', content: expect.stringMatching(/\w/) as string })
  const asked = { ...calm, suffix: ' di do', max_tokens: 6 }
  expect(await site.openai.completions.create(asked)).toMatchObject({ choices: [{ text: own.content, finish_reason: 'length' }], usage: { completion_tokens: 6 } })
  const chunks = await all(await site.openai.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }))
  expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(own.content)
  expect(chunks.at(-1)?.usage).toMatchObject({ completion_tokens: 6 })
  const without = await site.openai.completions.create({ ...calm, max_tokens: 6 })
  expect(without.choices[0]?.text).not.toBe(own.content)
})

test('the ollama client has the same, streamed and not', async ({ site }) => {
  const { content } = await between(site.direct, { input_suffix: ' di do', n_predict: 6 })
  const asked = { model: 'filling', prompt: 'ba be', suffix: ' di do', options: { temperature: 0, num_predict: 6 } }
  expect(await site.ollama.generate(asked)).toMatchObject({ response: content, done_reason: 'length', eval_count: 6 })
  const parts = await all(await site.ollama.generate({ ...asked, stream: true }))
  expect(parts.map(({ response }) => response).join('')).toBe(content)
})

test('limits, stops, log probabilities, grammars and several answers are kept', async ({ site }) => {
  const { openai, direct } = site
  const asked = { ...calm, suffix: ' di do', max_tokens: 6 }
  const { content } = await between(direct, { input_suffix: ' di do', n_predict: 6 })
  const [first = '', second = ''] = content.trim().split(' ')
  const stopped = await openai.completions.create({ ...asked, stop: second })
  expect(stopped.choices[0]).toMatchObject({ text: ` ${first} `, finish_reason: 'stop' })
  const told = await openai.completions.create({ ...asked, max_tokens: 2, logprobs: 2, n: 2 })
  expect(told.choices).toHaveLength(2)
  for (const { text, logprobs } of told.choices) {
    const { content: tokens } = logprobs as unknown as { content: { token: string; top_logprobs: unknown[] }[] }
    expect(tokens.map(({ token }) => token).join('')).toBe(text)
    expect(tokens.map(({ top_logprobs: most }) => most.length)).toEqual([2, 2])
  }
  expect(told.usage).toMatchObject({ completion_tokens: 4 })
  const bound = { ...asked, grammar: 'root ::= "yes"', logit_bias: { 281: -100 } }
  expect((await openai.completions.create(bound)).choices[0]?.text).toBe('yes')
})

test.for([true, false])('a model without tokens for a gap cannot insert, in Ollama’s words (streamed: %s)', async (stream, { site }) => {
  const said = 'registry.ollama.ai/library/plain:latest does not support insert'
  await expect(site.openai.completions.create({ model: 'plain', prompt: 'ba', suffix: 'be', stream })).rejects.toMatchObject({ status: 400, error: { message: said } })
  await expect(site.ollama.generate({ model: 'plain', prompt: 'ba', suffix: 'be' })).rejects.toMatchObject({ status_code: 400, error: said })
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { send } from '../support/raw.ts'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

/** Its model never ends an answer by itself, and its context is good for many seconds of it. */
const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const folder = await mkdtemp(join(tmpdir(), 'drover-leaving-'))
    const path = join(folder, 'tiny.gguf')
    await writeTinyModel({ path, layers: 6, embd: 256, heads: 4, context: 16_384 })
    const server = await startLlamaServer({ model: path, ctx: 16_384, extraArgs: ['-t', '1'] })
    onCleanup(async () => {
      await server.stop()
      await rm(folder, { recursive: true })
    })
    return server
  })
  .extend('site', { scope: 'file' }, async ({ house, llama }) => {
    const gateway = await house.gateway()
    await house.worker('n1', [llama.url], { gateway })
    const slots = async () => JSON.parse((await send(`${llama.url}/slots`, { method: 'GET' })).text) as { is_processing: boolean; id_task: number }[]
    return { url: gateway.url, slots, busy: async () => (await slots()).some((slot) => slot.is_processing) }
  })

test.skipIf(skipsWithoutLlamaServer()).for(BOTH_WAYS)(
  'a client that leaves stops a real llama-server within two seconds: $dialect, $way',
  async ({ dialect, stream }, { site }) => {
    const limit = dialect === 'openai.chat' ? { max_tokens: 15_000 } : { options: { num_predict: 15_000 } }
    const asking = ask(site.url, dialect, { key: 'real', model: 'tiny', stream, fields: limit })
    if (stream) expect(await asking.head).toBe(200)
    await until('the engine decodes', site.busy)
    await new Promise((resolve) => setTimeout(resolve, 150))
    // It would go on for long: whatever ends it below is that the client has left.
    expect(await site.busy()).toBe(true)
    asking.leave()
    const left = performance.now()
    await expect(asking.told).rejects.toThrow()
    await until('the engine is idle', async () => !(await site.busy()), 4_000)
    expect(performance.now() - left).toBeLessThan(2_000)
  },
)

test.skipIf(skipsWithoutLlamaServer())('a client that leaves while it waits never reaches a real llama-server', async ({ site }) => {
  const running = ask(site.url, 'openai.chat', { key: 'on', model: 'tiny', fields: { max_tokens: 15_000 } })
  expect(await running.head).toBe(200)
  const [before] = await site.slots()
  const waiting = ask(site.url, 'openai.chat', { key: 'off', model: 'tiny', fields: { max_tokens: 15_000 } })
  await new Promise((resolve) => setTimeout(resolve, 150))
  waiting.leave()
  await expect(waiting.told).rejects.toThrow()
  running.leave()
  await expect(running.told).rejects.toThrow()
  await until('the engine is idle', async () => !(await site.busy()), 4_000)
  await new Promise((resolve) => setTimeout(resolve, 300))
  const [after] = await site.slots()
  expect(after).toMatchObject({ is_processing: false, id_task: before?.id_task })
})

import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { DIALECTS, test as world } from '../support/world.ts'
import { atMost, modelsFolder, openSite, untilHeld } from './site.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))

test.skipIf(skipsWithoutLlamaServer())('two models that do not fit together answer in turns, and are never in memory together', async ({ drover, folder }) => {
  // Each takes about 75 MB.
  const site = await openSite(drover, folder, { DROVER_LLAMA_MEMORY: '110mb', DROVER_STARVE_AFTER: '500ms' })
  await Promise.all(['one', 'two'].map((name, seed) => site.put(`${name}.gguf`, { name, seed })))
  await Promise.all(['one', 'two'].map((name) => untilHeld(site, `${name}:latest`)))

  const done = new AbortController()
  let most = 0
  const watching = (async () => {
    while (!done.signal.aborted) {
      most = Math.max(most, (await site.servers()).length)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })()
  // Half of them stay with one model, so that neither is ever without work by chance.
  const client = async (number: number) => {
    for (let turn = 0; turn < 3; turn += 1) {
      const dialect = DIALECTS[number % DIALECTS.length] ?? 'openai.chat'
      const model = (number < 6 ? number : number + turn) % 2 === 0 ? 'one' : 'two'
      const told = await ask(site.url, dialect, { key: `c${number}`, model, stream: turn % 2 === 0, fields: atMost(dialect, 40) }).told
      expect(told).toMatchObject({ status: 200, ended: true, error: undefined, headers: { 'x-drover-attempts': '1' } })
    }
  }
  await Promise.all(Array.from({ length: 12 }, (_, number) => client(number)))
  done.abort()
  await watching
  expect(most).toBe(1)
  const evicted = site.told('model stopped').filter(({ why }) => why === 'evicted').map(({ model }) => model)
  expect(new Set(evicted).size).toBe(2)
  // In turns, not a start for each of the 36 requests.
  expect(site.told('model started').length).toBe(evicted.length + 1)
  expect(evicted.length).toBeLessThan(30)
  expect(site.told('model failed')).toEqual([])
})

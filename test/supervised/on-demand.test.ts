import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { DIALECTS, test as world } from '../support/world.ts'
import { atMost, copySmall, modelsFolder, openSite, running, SMALL, untilHeld } from './site.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))

test.skipIf(skipsWithoutLlamaServer())('a file in the models folder is a model: its first request starts it, disuse ends it, and the next starts it again', async ({ drover, folder }) => {
  await copySmall(folder, 'Drover-Small.Q8_0.gguf')
  const site = await openSite(drover, folder, { DROVER_KEEP_ALIVE: '1s' })
  await untilHeld(site, 'drover-small.q8_0:latest')
  expect(await site.servers()).toEqual([])
  for (const dialect of DIALECTS) {
    const told = await ask(site.url, dialect, { key: 'a', model: 'drover-small.q8_0', fields: atMost(dialect, 8) }).told
    expect(told).toMatchObject({ status: 200, ended: true, error: undefined })
    expect(told.text).not.toBe('')
  }
  const [server, ...more] = await site.servers()
  expect(more).toEqual([])
  const command = await readFile(`/proc/${server}/cmdline`, 'utf8')
  expect(command.split('\0')).toEqual(expect.arrayContaining(['--host', '127.0.0.1', '-np', '-c', '--port']))
  const [, key = ''] = /(?:^|\0)LLAMA_API_KEY=([^\0]{20,})/.exec(await readFile(`/proc/${server}/environ`, 'utf8')) ?? []
  expect(key).not.toBe('')
  expect(command).not.toContain(key)
  expect(await fetch(`http://127.0.0.1:${/--port\0(\d+)/.exec(command)?.[1]}/props`)).toMatchObject({ status: 401 })

  await until('it is ended', async () => (await running(folder)).length === 0)
  expect(site.told('model stopped')).toMatchObject([{ model: 'drover-small.q8_0:latest', why: 'idle' }])
  const again = await ask(site.url, 'openai.chat', { key: 'b', model: 'drover-small.q8_0', fields: { max_tokens: 8 } }).told
  expect(again).toMatchObject({ status: 200, ended: true, error: undefined })
  expect(site.told('model started')).toHaveLength(2)
  await site.worker.stop()
  expect(await running(folder)).toEqual([])
})

test.skipIf(skipsWithoutLlamaServer())('the spare model is there while the node has no other, whichever engine that is of', async ({ drover, folder, scripted }) => {
  const site = await openSite(drover, folder, { DROVER_SPARE_MODEL: SMALL })
  await untilHeld(site, 'drover-small:latest')
  const told = await ask(site.url, 'ollama.chat', { key: 'a', model: 'drover-small', fields: { messages: [{ role: 'user', content: 'Hello' }] } }).told
  expect(told).toMatchObject({ status: 200, ended: true, error: undefined })
  expect(told.text).not.toBe('')
  const [spare = 0] = await running(SMALL)
  expect(spare).toBeGreaterThan(0)

  await site.put('other.gguf')
  await untilHeld(site, 'other:latest')
  expect(await site.holds('drover-small:latest')).toBe(false)
  await until('its server is gone', async () => !(await running(SMALL)).includes(spare))
  await rm(join(folder, 'other.gguf'))
  await untilHeld(site, 'drover-small:latest')

  const engine = await scripted({ models: ['elsewhere'] })
  const other = await openSite(drover, await modelsFolder(async () => {}), { DROVER_SPARE_MODEL: SMALL, DROVER_NODE: 'with-engine' }, [engine.url])
  await untilHeld(other, 'elsewhere:latest')
  expect(other.worker.log()).not.toContain('drover-small')
})

test.skipIf(skipsWithoutLlamaServer())('a file that is still being written is left out with one warning until it is whole', async ({ drover, folder }) => {
  await copySmall(folder, 'good.gguf')
  const whole = await readFile(SMALL)
  const late = join(folder, 'late.gguf')
  await writeFile(late, whole.subarray(0, 20_000))
  await writeFile(join(folder, 'notes.gguf'), 'no model at all')
  const site = await openSite(drover, folder)
  await untilHeld(site, 'good:latest')
  await until('it is left out', () => site.told('model file left out').length === 2)
  await appendFile(late, whole.subarray(20_000, 2_000_000))
  // The folder is looked at every two seconds.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(await site.holds('late:latest')).toBe(false)
  await appendFile(late, whole.subarray(2_000_000))
  await untilHeld(site, 'late:latest')
  expect(site.told('model file left out').map(({ file }) => file).toSorted()).toEqual(['late.gguf', 'notes.gguf'])
  expect(await site.holds('notes:latest')).toBe(false)
  const told = await ask(site.url, 'openai.chat', { key: 'a', model: 'late', fields: { max_tokens: 8 } }).told
  expect(told).toMatchObject({ status: 200, ended: true, error: undefined })
})

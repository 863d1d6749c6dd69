import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { errorTextOf, post, smallest } from '../support/raw.ts'
import { DIALECTS, test as world } from '../support/world.ts'
import { copySmall, modelsFolder, openSite, running, SMALL, untilHeld } from './site.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))

/** Answers of several seconds. */
const SLOW = { layers: 6, embd: 256, heads: 4, context: 8_192 }

test.skipIf(skipsWithoutLlamaServer())('llama-server killed while clients stream: one that is not to be continued ends with an error at once, and the next request is served within five seconds', async ({ drover, folder }) => {
  const env = { DROVER_NUM_CTX: '8192', DROVER_LLAMA_SLOTS: '4' }
  const site = await openSite(drover, folder, env)
  await site.put('slow.gguf', SLOW)
  await untilHeld(site, 'slow:latest')
  const streams = (['openai.chat', 'ollama.chat', 'ollama.generate'] as const).map((dialect) =>
    ask(site.url, dialect, { key: 'x', model: 'slow', headers: { 'x-drover-resume': 'never' }, fields: dialect === 'openai.chat' ? { max_tokens: 8_000 } : { options: { num_predict: 8_000 } } }),
  )
  const whole = ask(site.url, 'openai.chat', { key: 'y', model: 'slow', stream: false, fields: { max_tokens: 200 } })
  await Promise.all(streams.map(({ head }) => head))
  await until('its start is logged', () => site.told('model started').length === 1)
  const [server = 0] = await site.servers()
  process.kill(server, 'SIGKILL')
  const killed = performance.now()
  for (const told of await Promise.all(streams.map((stream) => stream.told))) {
    expect(told.ended && told.error === undefined).toBe(false)
    expect(told.error).toContain('SIGKILL')
  }
  const next = await ask(site.url, 'openai.chat', { key: 'z', model: 'slow', fields: { max_tokens: 5 } }).told
  expect(next).toMatchObject({ status: 200, ended: true, error: undefined })
  expect(performance.now() - killed).toBeLessThan(5_000)
  // Nothing of this one had been sent, so it could simply begin again.
  expect(await whole.told).toMatchObject({ status: 200, error: undefined })
  expect(await site.servers()).not.toContain(server)
})

test.skipIf(skipsWithoutLlamaServer())('a worker that is killed takes its llama-server along', async ({ drover, folder }) => {
  await copySmall(folder, 'small.gguf')
  const site = await openSite(drover, folder)
  await untilHeld(site, 'small:latest')
  expect(await ask(site.url, 'openai.chat', { key: 'a', model: 'small', fields: { max_tokens: 5 } }).told).toMatchObject({ ended: true })
  expect(await site.servers()).toHaveLength(1)
  site.worker.signal('SIGKILL')
  await site.worker.exited
  await until('all are gone', async () => (await running(folder)).length === 0, 3_000)
})

test.skipIf(skipsWithoutLlamaServer()).for([
  ['is missing', '/nowhere/llama-server', /small:latest cannot be loaded: \/nowhere\/llama-server is no program .*DROVER_LLAMA_SERVER/],
  ['ends at once', '/bin/false', /llama-server for small:latest ended by itself \(exit code 1\)/],
] as const)('a program that %s is told in the client’s own dialect', async ([, program, reason], { drover, folder }) => {
  await copySmall(folder, 'small.gguf')
  const site = await openSite(drover, folder, { DROVER_LLAMA_SERVER: program })
  await untilHeld(site, 'small:latest')
  const answers = await Promise.all(DIALECTS.map((dialect) => post(site.url, dialect, smallest(dialect, 'x', { model: 'small' }))))
  for (const [i, dialect] of DIALECTS.entries()) {
    const answer = answers[i]
    expect(answer?.status).toBe(502)
    expect(answer && errorTextOf(dialect, answer)).toMatch(reason)
  }
})

test.skipIf(skipsWithoutLlamaServer())('a model that llama.cpp does not know, and one that is too large, are refused with the reason, and others go on', async ({ drover, folder }) => {
  const bytes = await readFile(SMALL)
  const at = bytes.indexOf('llama')
  await writeFile(join(folder, 'strange.gguf'), Buffer.concat([bytes.subarray(0, at), Buffer.from('lamma'), bytes.subarray(at + 5)]))
  await copySmall(folder, 'small.gguf')
  const site = await openSite(drover, folder, { DROVER_LLAMA_MEMORY: '120mb' })
  await site.put('large.gguf', { layers: 8, embd: 512, heads: 8, ffn: 1024 })
  await untilHeld(site, 'large:latest')
  const refused = (model: string) => post(site.url, 'ollama.chat', smallest('ollama.chat', 'x', { model }))
  const [strange, large, small] = await Promise.all([
    refused('strange'),
    refused('large'),
    ask(site.url, 'openai.chat', { key: 'a', model: 'small', fields: { max_tokens: 5 } }).told,
  ])
  expect(strange.status).toBe(502)
  expect(errorTextOf('ollama.chat', strange)).toMatch(/strange:latest ended by itself \(exit code 1\): .*unknown model architecture: 'lamma'/)
  expect(errorTextOf('ollama.chat', large)).toMatch(/^large:latest needs 0\.\d GB of memory, 0\.1 GB may be used$/)
  expect(small).toMatchObject({ status: 200, ended: true, error: undefined })
})

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { done, json } from '../cli/commands-setup.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { copySmall, openSite, untilHeld } from '../supervised/site.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { THINKS } from '../support/llama-kinds.ts'
import { llamaServerPath, skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { freePort, startProgram } from '../support/program.ts'
import { test as world } from '../support/world.ts'

const test = world.extend('folder', async ({ settings: _settings }, { onCleanup }) => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-continues-'))
  onCleanup(() => rm(folder, { recursive: true, force: true }))
  return folder
})

/** What `/api/status` says of each model: how it goes on, and whether it is in memory. */
const told = async (url: string): Promise<Record<string, { continues?: string; loaded: boolean }>> => {
  const models = (await statusOf(url)).nodes.flatMap((node) => node.engines.flatMap((engine) => engine.models))
  return Object.fromEntries(models.map(({ model, continues, loaded }) => [model, { ...(continues && { continues }), loaded }]))
}

/** A router over a folder with the models `in` and `out`. */
const startRouter = async (folder: string): Promise<string> => {
  await mkdir(folder)
  await Promise.all(['in', 'out'].map((name) => writeTinyModel({ path: join(folder, `${name}.gguf`) })))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const router = await startProgram(llamaServerPath() ?? '', [
    '--models-dir', folder, '--models-max', '2', '--host', '127.0.0.1', '--port', String(port), '-np', '1', '-c', '512', '-t', '1', '-tb', '1', '--cache-ram', '0',
  ])
  onTestFinished(async () => {
    router.signal('SIGTERM')
    await router.exited
  })
  await until('the router answers', () => fetch(`${url}/health`).then(({ ok }) => ok, () => false))
  return url
}

test('every engine is asked how each model in memory goes on with a half answer, and the answers are shown', async ({ drover, scripted }) => {
  const [newer, older, llama] = await Promise.all([
    scripted({ models: ['open:1b', { name: 'shut:1b', continues: false }, 'cold:1b'] }),
    scripted({ models: ['old:1b'], version: '0.5.0', renders: false }),
    scripted({ kind: 'llama-server', models: ['llama:1b'] }),
  ])
  const gateway = await drover.gateway()
  await drover.worker('alpha', [newer.url, older.url, llama.url], { gateway })
  for (const model of ['open:1b', 'shut:1b', 'old:1b']) expect(await ask(gateway.url, 'ollama.chat', { key: model, model, script: { tokens: 2 } }).told).toMatchObject({ ended: true })
  await expect.poll(() => told(gateway.url), { timeout: 15_000, interval: 100 }).toEqual({
    'open:1b': { continues: 'prefill', loaded: true },
    'shut:1b': { continues: 'rendered', loaded: true },
    'cold:1b': { loaded: false },
    'old:1b': { continues: 'none', loaded: true },
    'llama:1b': { continues: 'prefill', loaded: true },
  })
  expect((await newer.admin.stats()).models['cold:1b']).toMatchObject({ loads: 0 })

  const env = { DROVER_URL: gateway.url }
  expect(await json(['show', 'shut:1b'], { env })).toMatchObject({ nodes: [{ node: 'alpha', continues: 'rendered' }] })
  expect(await json(['show', 'cold:1b'], { env })).toMatchObject({ nodes: [{ node: 'alpha', continues: null }] })
  expect((await done(['show', 'open:1b'], { env })).output).toMatch(/^NODE .* CONTINUES *\nalpha .* prefill *$/m)
})

test.skipIf(skipsWithoutLlamaServer())('real llama-servers, a router and servers of the worker’s own say it of the models that they have in memory', async ({ drover, folder }) => {
  const tiny = join(folder, 'tiny.gguf')
  const template = join(folder, 'thinks.jinja')
  const own = join(folder, 'own')
  await Promise.all([writeTinyModel({ path: tiny }), writeFile(template, THINKS), mkdir(own)])
  await Promise.all([copySmall(own, 'mine.gguf'), copySmall(own, 'resting.gguf')])
  const [plain, thinks, router] = await Promise.all([
    startLlamaServer({ model: tiny, alias: 'plain' }),
    startLlamaServer({ model: tiny, alias: 'thinks', extraArgs: ['--jinja', '--chat-template-file', template] }),
    startRouter(join(folder, 'routed')),
  ])
  onTestFinished(async () => void (await Promise.all([plain.stop(), thinks.stop()])))
  const site = await openSite(drover, own, {}, [plain.url, thinks.url, router])
  for (const model of ['in', 'mine']) {
    await untilHeld(site, `${model}:latest`)
    expect(await ask(site.url, 'openai.chat', { key: model, model, fields: { max_tokens: 4 } }).told).toMatchObject({ status: 200, ended: true, error: undefined })
  }
  await expect.poll(() => told(site.url), { timeout: 20_000, interval: 200 }).toEqual({
    'plain:latest': { continues: 'prefill', loaded: true },
    'thinks:latest': { continues: 'rendered', loaded: true },
    'in:latest': { continues: 'prefill', loaded: true },
    'out:latest': { loaded: false },
    'mine:latest': { continues: 'prefill', loaded: true },
    'resting:latest': { loaded: false },
  })
  expect(await site.servers()).toHaveLength(1)
})

import { readFile } from 'node:fs/promises'
import { expect } from 'vitest'
import type { ModelOptions } from '../engine/options.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { copySmall, modelsFolder, openSite, untilHeld } from '../supervised/site.ts'
import { statusOf, until, type Environment, type Installation } from '../support/drover.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { send } from '../support/raw.ts'
import { test as world, type StartScripted } from '../support/world.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))

const MODEL = 'shared:latest'

interface Sources {
  drover: Installation
  scripted: StartScripted
}

/** Two nodes with an Ollama each that hold the same models; `n1` is preferred. */
const pair = async ({ drover, scripted }: Sources, models: (string | ModelOptions)[] = [MODEL], env: Environment = {}) => {
  const gateway = await drover.gateway({ DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' })
  const engines: Record<string, ScriptedEngine> = {}
  for (const [name, preference] of [['n1', '1'], ['n2', '0']] as const) {
    engines[name] = await scripted({ models })
    await drover.worker(name, [engines[name].url], { gateway, env: { DROVER_PREFERENCE: preference, ...env } })
  }
  await until('both hold it', async () => (await statusOf(gateway.url)).nodes.filter(({ engines: own }) => own.some((engine) => engine.models.length > 0)).length === 2)
  return { url: gateway.url, engines, at: (name: string) => engines[name]! }
}

const change = async (url: string, call: 'load' | 'unload', body: object, nodes?: string) => {
  const { status, text } = await send(`${url}/api/${call}`, { body: JSON.stringify(body), ...(nodes !== undefined && { headers: { 'x-drover-nodes': nodes } }) })
  return { status, lines: text.trimEnd().split('\n').map((line) => JSON.parse(line) as { status?: string; error?: string }) }
}
const DONE = (call: 'load' | 'unload') => ({ status: 200, lines: [{ status: `${call}ing model` }, { status: 'success' }] })

const chat = (url: string, key: string, model = 'shared') => send(`${url}/api/chat`, { body: JSON.stringify({ model, stream: false, keep_alive: 0, messages: [{ role: 'user', content: `job=${key} tokens=2` }] }) })

/** What an engine has in memory, and until when. */
const inMemory = async ({ url }: { url: string }): Promise<{ name: string; expires_at: string }[]> => (JSON.parse((await send(`${url}/api/ps`, { method: 'GET' })).text) as { models: { name: string; expires_at: string }[] }).models
const loadedAt = async (engines: Record<string, ScriptedEngine>): Promise<string[]> => {
  const all = await Promise.all(Object.entries(engines).map(async ([name, engine]) => ((await inMemory(engine)).length > 0 ? [name] : [])))
  return all.flat()
}

test('a model that was loaded to stay is kept so by every job, with its context, until it is unloaded', async ({ drover, scripted }) => {
  const { url, engines } = await pair({ drover, scripted }, [MODEL], { DROVER_KEEP_ALIVE: '7m', DROVER_NUM_CTX: '4096' })
  expect(await change(url, 'load', { model: 'shared', keep_alive: -1, num_ctx: 8192, replicas: 2 })).toEqual(DONE('load'))
  for (const engine of Object.values(engines)) expect(await inMemory(engine)).toMatchObject([{ name: MODEL, expires_at: expect.stringMatching(/^2318/) as string }])
  // Whoever asks next finds it in memory.
  expect((await inMemory({ url })).map(({ name }) => name)).toEqual([MODEL])
  for (let i = 0; i < 4; i += 1) expect((await chat(url, `a${i}`)).status).toBe(200)
  const sent = async () => (await Promise.all(Object.values(engines).map(async ({ admin }) => (await admin.stats()).last))).flat().map(({ body }) => JSON.parse(body) as { keep_alive?: unknown; options?: unknown })
  expect(await sent()).toHaveLength(4)
  for (const body of await sent()) expect(body).toMatchObject({ keep_alive: -1, options: { num_ctx: 8192 } })
  for (const engine of Object.values(engines)) {
    expect((await engine.admin.stats()).models[MODEL]?.loads).toBe(1)
    expect(await inMemory(engine)).toMatchObject([{ expires_at: expect.stringMatching(/^2318/) as string }])
  }
  expect(await change(url, 'unload', { model: 'shared' })).toEqual(DONE('unload'))
  expect(await loadedAt(engines)).toEqual([])
  expect((await inMemory({ url })).map(({ name }) => name)).toEqual([])
  for (const { admin } of Object.values(engines)) await admin.reset()
  expect((await chat(url, 'b')).status).toBe(200)
  expect(await sent()).toMatchObject([{ keep_alive: '7m', options: { num_ctx: 4096 } }])
})

test('it is loaded on the best node, where it is in memory already, on as many as are wanted, or on those that are named', async ({ drover, scripted }) => {
  const { url, engines } = await pair({ drover, scripted })
  const first = await send(`${url}/api/load`, { body: JSON.stringify({ model: 'shared', stream: false }) })
  expect([first.status, first.text, first.headers['x-drover-nodes']]).toEqual([200, '{"status":"success"}', 'n1'])
  expect(await loadedAt(engines)).toEqual(['n1'])
  expect(await change(url, 'unload', { model: 'shared' }, 'n1')).toEqual(DONE('unload'))
  expect(await change(url, 'load', { model: 'shared' }, 'n2')).toEqual(DONE('load'))
  expect(await loadedAt(engines)).toEqual(['n2'])
  // There it is told once more.
  expect(await change(url, 'load', { model: 'shared', keep_alive: '10m' })).toEqual(DONE('load'))
  expect(await loadedAt(engines)).toEqual(['n2'])
  expect(await change(url, 'load', { model: 'shared', replicas: 2 })).toEqual(DONE('load'))
  expect(await loadedAt(engines)).toEqual(['n1', 'n2'])
  expect(await change(url, 'unload', { model: 'shared' }, 'n1')).toEqual(DONE('unload'))
  expect(await loadedAt(engines)).toEqual(['n2'])
  for (const [body, nodes, status, error] of [
    [{ model: 'nobody' }, undefined, 404, "model 'nobody' not found"],
    [{ model: 'shared', replicas: 3 }, undefined, 503, '3 nodes are to load it: only n1, n2 hold it and can'],
    [{ model: 'shared' }, 'n9', 400, "node 'n9' is not there"],
    [{ model: 'shared', keep_alive: '0s' }, undefined, 400, 'a model that is loaded with keep_alive 0 would be unloaded at once: POST /api/unload does that'],
    [{ model: 'shared', keep_alive: '5' }, undefined, 400, 'time: missing unit in duration "5"'],
    [{ model: 'shared', num_ctx: 0 }, undefined, 400, expect.stringContaining('num_ctx must be between 1')],
    [{}, undefined, 400, 'model is required'],
  ] as const) expect([body, await change(url, 'load', body, nodes)]).toEqual([body, { status, lines: [{ error }] }])
})

test('a node that takes no work keeps it, and that is told', async ({ drover, scripted }) => {
  const { url, engines } = await pair({ drover, scripted })
  expect(await change(url, 'load', { model: 'shared', replicas: 2 })).toEqual(DONE('load'))
  await send(`${url}/api/nodes/n2/drain`)
  await until('it drains', async () => (await statusOf(url)).nodes.some(({ id, draining }) => id === 'n2' && draining))
  const error = 'unloaded on n1, but not on all nodes: node n2: takes no work: it is drained, or is being stopped'
  expect(await change(url, 'unload', { model: 'shared', stream: false })).toEqual({ status: 500, lines: [{ error }] })
  expect(await loadedAt(engines)).toEqual(['n2'])
  expect((await change(url, 'load', { model: 'shared' }, 'n2')).lines).toEqual([{ error: "node 'n2' takes no work: it is drained, or is being stopped" }])
})

test('an engine that dies while it loads a model leaves it to another node', async ({ drover, scripted }) => {
  const { url, engines, at } = await pair({ drover, scripted })
  await at('n1').admin.models([{ name: MODEL, loadMs: 600_000 }])
  const loading = change(url, 'load', { model: 'shared' })
  await until('it loads', async () => ((await at('n1').admin.stats()).models[MODEL]?.waiting ?? 0) > 0)
  await at('n1').admin.die()
  expect(await loading).toEqual(DONE('load'))
  expect((await inMemory(engines['n2']!)).map(({ name }) => name)).toEqual([MODEL])
})

test('what only makes vectors is loaded, too', async ({ drover, scripted }) => {
  const { url, at } = await pair({ drover, scripted }, [{ name: 'vectors:latest', capabilities: ['embedding'] }])
  expect(await change(url, 'load', { model: 'vectors', keep_alive: '1h' }, 'n1')).toEqual(DONE('load'))
  expect((await at('n1').admin.stats()).last).toMatchObject([{ path: '/api/embed' }])
  expect((await inMemory(at('n1'))).map(({ name }) => name)).toEqual(['vectors:latest'])
  expect(await change(url, 'unload', { model: 'vectors' })).toEqual(DONE('unload'))
  expect(await inMemory(at('n1'))).toEqual([])
})

test('a key that may not use a model may not load it, nor unload it', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['mine:latest', 'other:latest'] })
  const { url } = await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  await drover.worker('n1', [engine.url])
  const { key } = await makeKey(url, { scopes: ['models'], models: ['mine*'] })
  const status = async (call: 'load' | 'unload', model: string, bearer = key) => (await send(`${url}/api/${call}`, { body: JSON.stringify({ model, stream: false }), headers: { authorization: `Bearer ${bearer}` } })).status
  await until('the node is there', async () => (await status('load', 'mine')) === 200)
  expect(await status('load', 'other')).toBe(404)
  expect(await status('load', 'other', OPERATOR_KEY)).toBe(200)
  expect(await status('unload', 'other')).toBe(404)
  expect((await inMemory(engine)).map(({ name }) => name).toSorted()).toEqual(['mine:latest', 'other:latest'])
  expect(await status('unload', 'mine')).toBe(200)
  expect((await inMemory(engine)).map(({ name }) => name)).toEqual(['other:latest'])
})

test.skipIf(skipsWithoutLlamaServer())('a model of the models folder is loaded with a context of its own, stays, and is ended when it is unloaded', async ({ drover, folder }) => {
  await copySmall(folder, 'small.gguf')
  const site = await openSite(drover, folder, { DROVER_KEEP_ALIVE: '1s' })
  await untilHeld(site, 'small:latest')
  expect(await change(site.url, 'load', { model: 'small', keep_alive: -1, num_ctx: 256 })).toEqual(DONE('load'))
  expect(await inMemory(site)).toMatchObject([{ name: 'small:latest', expires_at: expect.stringMatching(/^2318/) as string, context_length: 256 }])
  const [server = 0] = await site.servers()
  expect((await readFile(`/proc/${server}/cmdline`, 'utf8')).split('\0')).toEqual(expect.arrayContaining(['-c', '512']))
  const answered = await send(`${site.url}/api/generate`, { body: JSON.stringify({ model: 'small', prompt: 'Hello', stream: false, options: { num_predict: 4 } }) })
  expect(answered.status).toBe(200)
  expect(await inMemory(site)).toMatchObject([{ expires_at: expect.stringMatching(/^2318/) as string }])
  // It is asked once how it goes on with half an answer, which is a use of it.
  await until('that is known', async () => (await statusOf(site.url)).nodes.some(({ engines }) => engines.some((engine) => engine.models.some(({ continues }) => continues !== undefined))), 60_000)
  // With another context it is another process.
  expect(await change(site.url, 'load', { model: 'small', num_ctx: 128, keep_alive: -1 })).toEqual(DONE('load'))
  expect(await site.servers()).not.toContain(server)
  expect(await change(site.url, 'unload', { model: 'small' })).toEqual(DONE('unload'))
  expect(await site.servers()).toEqual([])
  await until('both ends are told', () => site.told('model stopped').length === 2)
  expect(site.told('model stopped').map(({ why }) => why)).toEqual(['unloaded', 'unloaded'])
  expect(await change(site.url, 'unload', { model: 'small' })).toEqual(DONE('unload'))
  // It is given no more than it was trained for.
  expect(await change(site.url, 'load', { model: 'small', num_ctx: 99_000_000 })).toEqual(DONE('load'))
  const { models } = JSON.parse((await send(`${site.url}/api/tags`, { method: 'GET' })).text) as { models: { details: { context_length: number } }[] }
  expect(await inMemory(site)).toMatchObject([{ context_length: models[0]?.details.context_length }])
})

import type { ShortOf } from '@drover/core'
import { expect } from 'vitest'
import { handIn, show, untilState } from '../jobs/asking.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { heldBy, heldModel, scriptedNode } from '../support/scripted-node.ts'
import { test as world } from '../support/world.ts'
import { laidOut, ownWorker } from './own-worker.ts'

/** A gateway, and a node that has the file of `m`. */
const test = world.extend('site', async ({ drover, redis }, { onCleanup }) => {
  const { url } = await drover.gateway()
  const joins = { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix }
  const node = await scriptedNode('c1', joins)
  onCleanup(() => node.stop())
  const seen = (what: string, condition: (status: Awaited<ReturnType<typeof statusOf>>) => boolean) => until(what, async () => condition(await statusOf(url)))
  return { url, node, joins, seen }
})

const WHY = 'needs 231 GB with 8k context and 2 slots; 4 lenders have 96.0 GB free'
const short = (never: boolean): ShortOf => ({ model: 'm:latest' as ShortOf['model'], reason: WHY, never })
const messages = [{ role: 'user', content: 'tokens=1' }]
const ROUTES: readonly [string, object][] = [
  ['/api/chat', { messages }],
  ['/api/generate', { prompt: 'tokens=1' }],
  ['/v1/chat/completions', { messages }],
  ['/v1/responses', { input: 'tokens=1' }],
  ['/v1/messages', { messages, max_tokens: 1 }],
]

test('a model for which all memory of all nodes would not do is refused with the reason, not as one that is not there', async ({ site: { url, node, seen } }) => {
  await node.says({ shortOf: [short(true)] })
  await seen('it is known', ({ distributed_inference: { short_of: all } }) => all.length === 1)
  for (const [path, body] of ROUTES) {
    const { status, text, headers } = await send(url + path, { body: JSON.stringify({ model: 'm', ...body }) })
    expect([path, status, 'retry-after' in headers]).toEqual([path, 503, true])
    expect(text).toContain(`model 'm' cannot be run: ${WHY}`)
    expect((await send(url + path, { body: JSON.stringify({ model: 'n', ...body }) })).status).toBe(404)
  }
  // It is not among the models that can be used.
  expect((await send(`${url}/api/show`, { body: '{"model":"m"}' })).status).toBe(404)
  expect(JSON.parse((await send(`${url}/api/tags`, { method: 'GET' })).text)).toEqual({ models: [] })
})

test('a job whose model is short of memory waits, says for what, and runs when there is some', async ({ site: { url, node, joins, seen }, scripted }) => {
  await node.says({ engines: [heldBy('cluster', [heldModel('m:latest')])], shortOf: [short(false)] })
  await seen('it is known', ({ distributed_inference: { short_of: all } }) => all.length === 1)
  const job = await handIn(url, '/api/chat', { model: 'm', messages: [{ role: 'user', content: 'job=short tokens=3' }], stream: false })
  expect(await show(url, job)).toMatchObject({ state: 'queued', position: 0, short_of: WHY, expected_start_at: null })
  expect((await statusOf(url)).lanes).toMatchObject([{ model: 'm:latest', waiting: 1, short_of: WHY, expected_wait_ms: null }])
  expect((await statusOf(url)).distributed_inference).toMatchObject({ enabled: true, active: false, server_count: 0, short_of: [{ model: 'm:latest', node: 'c1', reason: WHY, never: false }] })
  const server = await scripted({ kind: 'llama-server', models: ['m'] })
  await node.says({ engines: [], shortOf: [] })
  await ownWorker({ node: 'c2', redis: joins, engines: [laidOut('cluster', server, { kind: 'llama-server', layout: 'cluster' }).engine] })
  await untilState(url, job, 'completed')
  expect(await show(url, job)).toMatchObject({ node: 'c2', short_of: null })
})

test('a job that waits for a slot of a node is short of nothing, whatever a cluster would need', async ({ site: { url, node, seen }, drover, scripted }) => {
  const server = await scripted({ models: ['m'], script: { tokens: 20, stall_at: 5 } })
  await drover.worker('n1', [server.url], { gateway: { url } })
  await node.says({ engines: [heldBy('cluster', [heldModel('m:latest', { onlyAsked: true })])], shortOf: [short(false)] })
  await seen('both are known', ({ nodes, distributed_inference: { short_of: all } }) => nodes.length === 2 && all.length === 1)
  const running = ask(url, 'ollama.chat', { key: 'runs', model: 'm' })
  await running.tokens(5)
  const [waits, over] = [await handIn(url, '/api/chat', { model: 'm', messages }), await handIn(url, '/api/chat', { model: 'm', messages, options: { distributed: true } })]
  expect([await show(url, waits), await show(url, over)]).toMatchObject([{ state: 'queued', short_of: null }, { state: 'queued', short_of: WHY }])
  await server.admin.release()
  await running.told
})

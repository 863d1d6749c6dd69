import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { clientOf, ended, expectOnce, resultsOf, submit } from '../batches/lines.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { laidOut, ownWorker } from './own-worker.ts'

/** Model `m` on an Ollama of its own worker process, and on an engine that says it is a cluster. */
const test = world.extend('site', async ({ drover, scripted, redis }) => {
  const [node, cluster] = [await scripted({ models: ['m'], slots: 2 }), await scripted({ kind: 'llama-server', models: ['m'], slots: 2 })]
  const { url } = await drover.gateway({ DROVER_FILES_DIR: await mkdtemp(join(redis.dir, 'files-')) })
  const over = laidOut('cluster', cluster, { kind: 'llama-server', layout: 'cluster' })
  const joins = { node: 'c1', redis: { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix } }
  return {
    url, node, cluster, over,
    nodeComes: () => drover.worker('n1', [{ url: node.url, slots: 2 }], { gateway: { url } }),
    clusterComes: async () => {
      await ownWorker({ ...joins, engines: [over.engine] })
      await until('the cluster is known', async () => (await statusOf(url)).nodes.some(({ id }) => id === 'c1'))
    },
    /** Both engines belong to one node. */
    bothCome: async () => {
      const alone = laidOut('node', node, { kind: 'ollama' })
      await ownWorker({ ...joins, engines: [alone.engine, over.engine] })
      await until('both are known', async () => (await statusOf(url)).nodes.some(({ engines }) => engines.length === 2))
      return alone
    },
  }
})

/** Which jobs of a sort an engine has run. */
const ran = async ({ admin }: ScriptedEngine, sort: string): Promise<number> => Object.keys((await admin.stats()).jobs).filter((key) => key.startsWith(`${sort}-`)).length

const WISHES = {
  over: { fields: { options: { distributed: true } } },
  alone: { fields: { options: { distributed: false } } },
  'header-over': { headers: { 'x-drover-distributed': 'true' } },
  'header-alone': { headers: { 'x-drover-distributed': 'false' } },
  // What the request itself says goes before the header.
  'both-over': { fields: { options: { distributed: true } }, headers: { 'x-drover-distributed': 'false' } },
  plain: {},
} as const

/** Asks six times in every way, all at once, and tells how many jobs of each ran on each engine. */
const askAll = async ({ url, node, cluster }: { url: string; node: ScriptedEngine; cluster: ScriptedEngine }, round: string) => {
  const sorts = Object.entries(WISHES)
  const answers = await Promise.all(
    sorts.flatMap(([sort, wish]) =>
      Array.from({ length: 6 }, (_, i) => ask(url, sort.startsWith('header') && i % 2 ? 'openai.chat' : i % 2 ? 'ollama.generate' : 'ollama.chat', { key: `${round}-${sort}-${i}`, model: 'm', script: { tokens: 3, rate: 300 }, ...wish }).told),
    ),
  )
  for (const told of answers) expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 3 } })
  for (const told of answers) expect(told.headers).not.toHaveProperty('x-drover-ignored')
  return Object.fromEntries(await Promise.all(sorts.map(async ([sort]) => [sort, { node: await ran(node, `${round}-${sort}`), cluster: await ran(cluster, `${round}-${sort}`) }])))
}
const [NODE, CLUSTER] = [{ node: 6, cluster: 0 }, { node: 0, cluster: 6 }]
const ASKED = { over: CLUSTER, alone: NODE, 'header-over': CLUSTER, 'header-alone': NODE, 'both-over': CLUSTER }

test('a job runs as it asks for, and one that asks for nothing not on an engine that is only for those who ask', async ({ site }) => {
  site.over.onlyAsked(true)
  await Promise.all([site.nodeComes(), site.clusterComes()])
  expect(await askAll(site, 'one')).toEqual({ ...ASKED, plain: NODE })
  // No engine is told of the wish.
  for (const { admin } of [site.node, site.cluster]) for (const { body } of (await admin.stats()).last) expect(body).not.toContain('distributed')
})

test('the same between two engines of one node, and when they change places', async ({ site }) => {
  const alone = await site.bothCome()
  const places = async (cluster: boolean) => {
    alone.onlyAsked(cluster)
    site.over.onlyAsked(!cluster)
    await until('the registry says so', async () => (await statusOf(site.url)).nodes[0]?.engines.every(({ id, models }) => (models[0]?.only_asked ?? false) === (id === 'cluster' ? !cluster : cluster)) === true)
  }
  await places(false)
  expect(await askAll(site, 'one')).toEqual({ ...ASKED, plain: NODE })
  await places(true)
  expect(await askAll(site, 'two')).toEqual({ ...ASKED, plain: CLUSTER })
})

test('jobs that wait for a cluster go on when there is one again, and no engine of a node takes them meanwhile', async ({ site, drover, scripted, redis }) => {
  await Promise.all([site.nodeComes(), site.clusterComes()])
  await site.cluster.admin.die()
  await until('its engine is gone', async () => (await statusOf(site.url)).nodes.find(({ id }) => id === 'c1')?.engines.every(({ models }) => models.length === 0) === true)
  const waiting = ask(site.url, 'ollama.chat', { key: 'waits', model: 'm', fields: { options: { distributed: true } }, script: { tokens: 3 } })
  const lane = async () => (await statusOf(site.url)).lanes.find(({ layout }) => layout === 'cluster')
  await until('it waits', async () => (await lane())?.waiting === 1)
  expect(await ask(site.url, 'ollama.chat', { key: 'plain', model: 'm', script: { tokens: 3 } }).told).toMatchObject({ status: 200, headers: { 'x-drover-node': 'n1' } })
  expect(await lane()).toMatchObject({ model: 'm:latest', class: 'interactive', layout: 'cluster', waiting: 1 })
  const next = await scripted({ kind: 'llama-server', models: ['m'] })
  await ownWorker({ node: 'c2', redis: { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix }, engines: [laidOut('cluster', next, { kind: 'llama-server', layout: 'cluster' }).engine] })
  expect(await waiting.told).toMatchObject({ status: 200, ended: true, headers: { 'x-drover-node': 'c2' }, verdict: { ok: true, count: 3 } })
  expect((await site.node.admin.job('waits')).requests).toBe(0)
})

const post = async (url: string, path: string, body: object, headers: Record<string, string> = {}) => {
  const { status, headers: told, text } = await send(url + path, { body: JSON.stringify(body), headers })
  return { status, retry: 'retry-after' in told, body: JSON.parse(text) as unknown }
}
const messages = [{ role: 'user', content: 'tokens=1' }]

test('what nobody can do is refused in the words of the API, with what is missing', async ({ site }) => {
  await site.nodeComes()
  const why = "model 'm' cannot be run: no node that lends memory has the file of 'm'"
  const asks = { 'x-drover-distributed': 'true' }
  expect(await post(site.url, '/api/chat', { model: 'm', messages, options: { distributed: true } })).toEqual({ status: 503, retry: true, body: { error: why } })
  expect(await post(site.url, '/api/embed', { model: 'm', input: 'a', options: { distributed: true } })).toEqual({ status: 503, retry: true, body: { error: why } })
  expect(await post(site.url, '/v1/chat/completions', { model: 'm', messages }, asks)).toMatchObject({ status: 503, retry: true, body: { error: { message: why, type: 'api_error' } } })
  expect(await post(site.url, '/v1/messages', { model: 'm', messages, max_tokens: 1 }, asks)).toMatchObject({ status: 503, retry: true, body: { type: 'error', error: { message: why } } })
  expect(await post(site.url, '/api/jobs', { url: '/api/chat', body: { model: 'm', messages, options: { distributed: true } } })).toEqual({ status: 503, retry: true, body: { error: why } })
  // A model that nobody has is still one that nobody has.
  expect(await post(site.url, '/api/chat', { model: 'n', messages, options: { distributed: true } })).toMatchObject({ status: 404 })
  expect((await site.node.admin.stats()).requests).toBe(0)
})

test('a model that runs over several nodes only is refused to who wants it on one', async ({ site }) => {
  await site.clusterComes()
  expect(await post(site.url, '/api/chat', { model: 'm', messages, options: { distributed: false } })).toEqual({
    status: 503, retry: true, body: { error: "model 'm' cannot be run: no node runs it by itself; without distributed: false it may run over several" },
  })
  expect(await post(site.url, '/api/chat', { model: 'm', messages, stream: false })).toMatchObject({ status: 200 })
})

test('a wish that is none is refused', async ({ site }) => {
  await site.nodeComes()
  for (const distributed of ['yes', 1, {}])
    expect(await post(site.url, '/api/generate', { model: 'm', prompt: 'tokens=1', options: { distributed } })).toEqual({ status: 400, retry: false, body: { error: 'option "distributed" must be of type boolean' } })
  expect(await post(site.url, '/v1/chat/completions', { model: 'm', messages }, { 'x-drover-distributed': 'yes' })).toMatchObject({ status: 400, body: { error: { message: 'invalid x-drover-distributed header: it can be true or false' } } })
  // Of the other APIs it is no field.
  const { status, headers } = await send(`${site.url}/v1/chat/completions`, { body: JSON.stringify({ model: 'm', messages, distributed: true }) })
  expect([status, headers['x-drover-ignored'], headers['x-drover-node']]).toEqual([200, 'distributed', 'n1'])
})

const line = (id: string, distributed?: boolean) =>
  `${JSON.stringify({ custom_id: id, method: 'POST', url: '/api/chat', body: { model: 'm', messages: [{ role: 'user', content: `job=${id} tokens=2` }], options: { ...(distributed !== undefined && { distributed }) } } })}\n`
const SORTS = ['over', 'alone', 'plain']
const ranOf = (engine: ScriptedEngine) => Promise.all(SORTS.map((sort) => ran(engine, sort)))
const CHAT = '/api/chat' as '/v1/chat/completions'

test('lines of a batch run as they ask for; a batch that asks for what nobody can do is told so before anything of it runs', async ({ site }) => {
  await site.nodeComes()
  const openai = clientOf(site.url)
  const refused = await ended(() => openai, (await submit(openai, line('a') + line('b', true), CHAT)).id)
  expect(refused).toMatchObject({ status: 'failed', errors: { data: [{ line: 2, code: 'cannot_run', param: 'body.model' }] } })
  expect((await site.node.admin.stats()).requests).toBe(0)
  site.over.onlyAsked(true)
  await site.clusterComes()
  const ids = SORTS.flatMap((sort) => Array.from({ length: 4 }, (_, i) => `${sort}-${i}`))
  const batch = await ended(() => openai, (await submit(openai, ids.map((id) => line(id, { over: true, alone: false }[id.split('-')[0]!])).join(''), CHAT)).id)
  expectOnce(batch, await resultsOf(openai, batch), ids)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 12 } })
  expect([await ranOf(site.node), await ranOf(site.cluster)]).toEqual([[0, 4, 4], [4, 0, 0]])
})

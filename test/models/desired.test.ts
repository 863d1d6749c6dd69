import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { done } from '../cli/commands-setup.ts'
import { makeKey, OPERATOR_KEY, bearer } from '../keys/making.ts'
import { statusOf, until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { desired, described, fulfilled, settled, type Described } from './described.ts'
import { modelSite } from './site.ts'

const LIBRARY = [{ name: 'twice' }, { name: 'pinned' }, { name: 'warm' }, { name: 'slow', size: 12_000_000, rate: 1_000_000 }]
const NODES = ['n1', 'n2', 'n3']

/** What an engine has in memory, and until when. */
const inMemory = async (url: string) => (JSON.parse((await send(`${url}/api/ps`, { method: 'GET' })).text) as { models: { name: string; expires_at: string }[] }).models.map(({ name, expires_at }) => ({ name, expires_at }))

test('from nothing to what is described, and back, whichever gateway is asked', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY, gateways: 2 })
  const { url } = site
  const other = site.gateways[1]!.url
  expect(await desired(url)).toMatchObject({ version: 0, desired: { models: {}, prune: false }, fulfilled: true, drift: [], actions: [] })
  const models = { twice: { replicas: 2 }, pinned: { nodes: ['n3', 'n2'] }, warm: { preload: true, numCtx: 8192 } }
  const state = { models }
  const dry = await desired(url, state, '?dry_run=true')
  expect(dry.planned.map(({ action, model }) => `${action} ${model}`)).toEqual(['pull twice:latest', 'pull twice:latest', 'pull pinned:latest', 'pull pinned:latest', 'pull warm:latest'])
  expect(dry.planned.flatMap(({ model, node }) => (model === 'pinned:latest' ? [node] : [])).toSorted()).toEqual(['n2', 'n3'])
  expect(dry.drift.map(({ text }) => text)).toEqual(['twice:latest: 0 of 2 copies', 'pinned:latest: 0 of 2 copies', 'warm:latest: 0 of 1 copies'])
  expect(await desired(url)).toMatchObject({ version: 0, fulfilled: true })
  expect((await desired(other, state)).version).toBe(1)
  await fulfilled(url)
  expect(await site.holders('twice:latest')).toHaveLength(2)
  expect(await site.holders('pinned:latest')).toEqual(['n2', 'n3'])

  const [warm = '', ...others] = await site.holders('warm:latest')
  expect([others, await inMemory(site.nodes.get(warm)!.engine.url)]).toEqual([[], [{ name: 'warm:latest', expires_at: expect.stringMatching(/^2318/) as string }]])

  // The same once more is nothing new.
  expect(await desired(url, { prune: false, models: { warm: models.warm, pinned: models.pinned, twice: models.twice } })).toMatchObject({ version: 1, fulfilled: true, planned: [] })
  expect([await site.sum('twice', 'pulls'), await site.sum('pinned', 'pulls'), await site.sum('warm', 'pulls')]).toEqual([2, 2, 1])

  // What is in memory for nothing is let go, and all copies stay.
  expect(await desired(url, {}, '?dry_run=true')).toMatchObject({ drift: [{ text: `warm:latest: still loaded on ${warm}` }] })
  expect(await desired(url, {})).toMatchObject({ desired: { models: {}, prune: false } })
  await fulfilled(url)
  expect([await inMemory(site.nodes.get(warm)!.engine.url), await site.holders('warm:latest')]).toEqual([[], [warm]])
  expect((await desired(other, { prune: true }, '?dry_run=true')).planned).toHaveLength(5)
  await desired(other, { prune: true })
  await settled(url)
  for (const model of ['twice:latest', 'pinned:latest', 'warm:latest']) expect(await site.holders(model)).toEqual([])
  // What was there before is nobody's business.
  for (const node of NODES) expect(await site.holders(`own-${node}`)).toEqual([node])
  expect([await site.sum('twice', 'pulls'), await site.sum('twice', 'deletes')]).toEqual([2, 2])
  // Each change is made once, and told once.
  const changes = () => site.gateways.flatMap(({ log }) => log().split('\n')).filter((line) => line.includes('"models changed as described"')).map((line) => (JSON.parse(line) as { action: string }).action).toSorted()
  await expect.poll(changes).toEqual([...Array.from({ length: 5 }, () => 'delete'), 'load', ...Array.from({ length: 5 }, () => 'pull'), 'unload'])
})

test('a node that has gone for longer than it is waited for is replaced, and of its copies one goes when it is back', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY, env: { DROVER_RECONCILE_GRACE: '8s' } })
  const { url } = site
  await desired(url, { models: { twice: { replicas: 2 } }, prune: true })
  await fulfilled(url)
  const [first = ''] = await site.holders('twice:latest')
  const { worker, engine } = site.nodes.get(first)!
  worker.signal('SIGKILL')
  await engine.admin.die()
  const others = NODES.filter((node) => node !== first)
  await until('another has its place', async () => (await site.holders('twice:latest')).join() === others.join(), 60_000)
  await fulfilled(url)

  const back = await scripted({ models: [`own-${first}`, 'twice:latest'], library: LIBRARY })
  site.nodes.set(first, { engine: back, worker: await drover.worker(first, [back.url]) })
  await until('it is seen', async () => (await statusOf(url)).nodes.some(({ id, engines }) => id === first && engines.length > 0), 60_000)
  await until('one is too many', async () => (await site.holders('twice:latest')).length === 2, 60_000)
  await fulfilled(url)
})

test('a node that may be back soon is waited for', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY })
  const { url } = site
  await desired(url, { models: { twice: { replicas: 2 } } })
  await fulfilled(url)
  const [first = '', second = ''] = await site.holders('twice:latest')
  const { worker, engine } = site.nodes.get(first)!
  worker.signal('SIGKILL')
  await engine.admin.die()
  await until('it is gone', async () => (await statusOf(url)).nodes.every(({ id }) => id !== first), 60_000)
  // What is described besides shows that it was looked at since.
  await desired(url, { models: { twice: { replicas: 2 }, pinned: { nodes: [second] } } })
  await until('the other is there', async () => (await site.holders('pinned:latest')).includes(second), 60_000)
  await fulfilled(url)
  expect([await site.holders('twice:latest'), await site.sum('twice', 'pulls')]).toEqual([[second], 1])
})

test('the gateway that acts is killed in the middle of a pull: the other goes on with it', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY, gateways: 2 })
  await desired(site.url, { models: { slow: { replicas: 2 } } })
  await until('it pulls', async () => (await site.sum('slow', 'pulling')) === 2, 60_000)
  let acting: string | null = null
  await described(site.url, 'somebody acts', ({ gateway }) => (acting = gateway) !== null)
  const ids = await Promise.all(site.gateways.map(async ({ url }) => (await statusOf(url)).gateway.id))
  const killed = ids.indexOf(acting ?? '')
  const busy: string[] = []
  for (const [name, { engine }] of site.nodes) if ((await engine.admin.managed('slow')).pulls > 0) busy.push(name)
  site.gateways[killed]!.signal('SIGKILL')
  const { url } = site.gateways[1 - killed]!
  await fulfilled(url)
  expect(await site.holders('slow:latest')).toEqual(busy)
  for (const name of busy) expect((await site.nodes.get(name)!.engine.admin.managed('slow')).pulled).toBe(1)
  await settled(url)
  expect(await site.sum('slow', 'pulls')).toBe(2 + (await site.sum('slow', 'leftPulls')))
})

test('what cannot be done is told, and tried again later', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1', 'n2'], library: LIBRARY })
  const { url } = site
  const { engine } = site.nodes.get('n1')!
  await engine.admin.library([{ name: 'pinned', fails: 'no space left on device' }])
  await desired(url, { models: { pinned: { nodes: ['n1', 'n9'] } } })
  let told: Described = await desired(url)
  await described(url, 'it was tried', (now) => (told = now).failures.length > 0)
  expect(told.failures).toEqual([{ action: 'pull', model: 'pinned:latest', node: 'n1', error: 'no space left on device', tries: expect.any(Number) as number, next_try_at: expect.any(String) as string }])
  expect(told.drift).toEqual([{ model: 'pinned:latest', text: 'pinned:latest: 0 of 2 copies; n9 is not there' }])
  expect(site.gateways[0]!.log()).toMatch(/"level":40[^\n]*"action":"pull"[^\n]*"reason":"no space left on device"[^\n]*"models could not be changed as described"/)
  await engine.admin.library(LIBRARY)
  await until('it is there', async () => (await site.holders('pinned:latest')).includes('n1'), 60_000)
  await described(url, 'nothing fails any more', ({ drift }) => drift[0]?.text === 'pinned:latest: 1 of 2 copies; n9 is not there')
})

test('what the configuration describes holds from the start on, until something else is said', async ({ drover, scripted }) => {
  const env = { DROVER_MODELS: '{"twice": {"replicas": 1}}' }
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: LIBRARY, env })
  await fulfilled(site.url)
  expect([await site.holders('twice:latest'), (await desired(site.url)).version]).toEqual([['n1'], 1])
  await send(`${site.url}/api/models/desired`, { method: 'DELETE' })
  const again = await drover.gateway(env)
  expect(await desired(again.url)).toMatchObject({ version: 2, desired: { models: {} } })
  const other = await drover.gateway({ DROVER_MODELS: '{"pinned": {}}' })
  expect(await desired(other.url)).toMatchObject({ version: 3, desired: { models: { pinned: {} } } })
  for (const [models, problem] of [['{"a": {"replicas": 0}}', 'a.replicas'], ['{"../a": {}}', '"\\.\\./a|is no name of a model'], ['[', 'gateway.models|DROVER_MODELS']] as const) {
    const { code, said } = await drover.refused('gateway', { DROVER_MODELS: models })
    expect([models, code, new RegExp(problem).test(said)]).toEqual([models, 2, true])
  }
})

test('the commands apply a file, show what is missing, and refuse a bad one with its line', async ({ drover, scripted, redis }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY })
  const env = { env: { DROVER_URL: site.url } }
  const file = join(redis.dir, 'models.yaml')
  const models = (...args: string[]) => done(['models', ...args], env)
  const written = async (text: string) => void (await writeFile(file, text))
  expect((await models('state')).output).toBe('nothing is described: see drover models apply --help\n')
  await written('models:\n  twice: { replicas: 2 }\n  pinned:\n    nodes: [n1]\n')
  const dry = await models('diff', file)
  expect([dry.code, dry.output.trimEnd().split('\n').map((line) => line.replace(/twice:latest on n\d/, 'twice:latest')).toSorted()]).toEqual([0, ['pull pinned:latest on n1', 'pull twice:latest', 'pull twice:latest']])
  const applied = await models('apply', file, '--wait')
  expect([applied.code, applied.errors, applied.output.trimEnd().split('\n').at(-1)]).toEqual([0, '', 'done'])
  expect(await site.holders('pinned:latest')).toEqual(['n1'])
  await settled(site.url)
  expect((await models('apply', file)).output).toBe('nothing is to be done\n')
  expect((await models('state')).output).toBe('MODEL    DESCRIBED    STATE\npinned   nodes=n1     as described\ntwice    replicas=2   as described\n')
  const { desired: described } = JSON.parse((await models('state', '--json')).output) as { desired: object }
  expect(described).toEqual({ models: { pinned: { nodes: ['n1'] }, twice: { replicas: 2 } }, prune: false })

  for (const [text, line, problem] of [
    ['models:\n  twice:\n    replicas: many\n', 3, 'models.twice.replicas'], ['models:\n  twice:\n    replica: 2\n', 3, 'models.twice.replica: is not known'], ['models:\n  ../x: {}\n', 2, 'is no name of a model'],
    ['models:\n  a:\n    nodes: [n1]\n    replicas: 1\n', 4, 'cannot stand beside'], ['models:\n  a: {\n', 3, ''], ['modles: {}\n', 1, 'modles: is not known'], ['models:\n  a: {}\n  a:latest: {}\n', 3, 'stands there already'],
  ] as const) {
    await written(text)
    const refused = await models('apply', file)
    expect([text, refused.code, refused.errors.includes(`${file}:${line}: `), refused.errors]).toEqual([text, 2, true, expect.stringContaining(problem)])
  }
  expect((await models('apply')).code).toBe(2)
  const cleared = await models('apply', '--empty', '--prune', '--wait')
  expect([cleared.code, cleared.output.trimEnd().split('\n').at(-1)]).toEqual([0, 'done'])
  expect([await site.holders('twice:latest'), await site.holders('pinned:latest')]).toEqual([[], []])
})

test('what is no such state is refused with its field, and a key for some models neither changes nor sees the others', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['mine'] })
  const { url } = await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  await drover.worker('n1', [engine.url])
  const put = (body: string, key = OPERATOR_KEY) => send(`${url}/api/models/desired`, { method: 'PUT', body, headers: bearer(key) })
  for (const [body, field] of [
    ['', 'not JSON'], ['[]', 'the request body'], ['{"models":{"a":{"replicas":0}}}', 'models.a.replicas'], ['{"models":{"a":{"nodes":["../x"]}}}', 'models.a.nodes.0'], ['{"models":{"../a":{}}}', 'is no name of a model'],
    ['{"models":{"a":{"numCtx":4096}}}', 'models.a.numCtx: needs'], ['{"models":{"a":{"preload":true,"keepAlive":"soon"}}}', 'models.a.keepAlive'], ['{"prune":"all"}', 'prune'], ['{"model":"a"}', 'model'],
  ] as const) {
    const { status, text } = await put(body)
    expect([body, status, (JSON.parse(text) as { error: string }).error]).toEqual([body, 400, expect.stringContaining(field)])
  }
  expect((await put('{"models":{"mine":{},"other":{}}}')).status).toBe(200)
  const { key } = await makeKey(url, { scopes: ['models'], models: ['mine*'] })
  expect([(await put('{}', key)).status, (await send(`${url}/api/models/desired`, { method: 'DELETE', headers: bearer(key) })).status]).toEqual([403, 403])
  const { text } = await send(`${url}/api/models/desired`, { method: 'GET', headers: bearer(key) })
  expect((JSON.parse(text) as { desired: { models: object } }).desired.models).toEqual({ mine: {} })
  expect(text).not.toContain('other')
})

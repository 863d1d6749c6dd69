import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { chatLine, clientOf, ended, expectAnswers, resultsOf, submit } from '../batches/lines.ts'
import { expectedText } from '../engine/tokens.ts'
import { handIn, resultOf, show } from '../jobs/asking.ts'
import { makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { ask } from '../support/client.ts'
import { statusOf, until, type Environment } from '../support/drover.ts'
import { send, type RawAnswer } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { modelSite, type ModelSite } from './site.ts'

const MODEL = 'big:latest'
const NODES = ['n1', 'n2']
/** Its pulls stand at two fifths until the test lets them go on. */
const HELD = [{ name: MODEL, size: 1_000_000, layers: 1, stall_at: 400_000 }]
/** A refusal has its own status however long it takes to come. */
const PULL: Environment = { DROVER_MISSING: 'pull', DROVER_PULLABLE: 'big:*,nobody,full,hf.co/org/*', DROVER_GRACE: '120s' }

const release = async ({ nodes }: ModelSite) => {
  for (const { engine } of nodes.values()) await engine.admin.library([{ name: MODEL, size: 1_000_000, layers: 1 }]).catch(() => undefined)
}
const laneOf = async (url: string) => (await statusOf(url)).lanes.filter(({ model }) => model === MODEL)
const waitingFor = async (url: string) => (await laneOf(url)).reduce((sum, { waiting }) => sum + waiting, 0)
const isBrought = async (url: string) => (await laneOf(url)).some(({ being_brought: brought }) => brought?.endsWith(' 40 %'))

/** Requests of all sorts, for a model that nobody holds. */
const chat = (model: string, key: string, stream: boolean) => ({ model, stream, messages: [{ role: 'user', content: `job=${key} tokens=20` }] })
const REQUESTS: [path: string, body: (model: string, key: string) => object][] = [
  ['/api/chat', (model, key) => chat(model, key, true)],
  ['/api/chat', (model, key) => chat(model, key, false)],
  ['/api/generate', (model, key) => ({ model, prompt: `job=${key} tokens=20`, stream: false })],
  ['/v1/chat/completions', (model, key) => chat(model, key, true)],
  ['/v1/chat/completions', (model, key) => chat(model, key, false)],
  ['/v1/completions', (model, key) => ({ model, prompt: `job=${key} tokens=20` })],
  ['/v1/responses', (model, key) => ({ model, input: `job=${key} tokens=20` })],
  ['/v1/messages', (model, key) => ({ ...chat(model, key, false), max_tokens: 100 })],
  ['/api/embed', (model, key) => ({ model, input: `job=${key}` })],
  ['/v1/embeddings', (model, key) => ({ model, input: `job=${key}` })],
]
const FORM = { 'x-request-id': 'the-same' }
const askAll = (url: string, model: string): Promise<RawAnswer[]> => Promise.all(REQUESTS.map(([path, body], i) => send(url + path, { body: JSON.stringify(body(model, `r${i}`)), headers: FORM })))

/** All text of an answer, whole or in events. */
const textIn = (text: string): string =>
  [...text.matchAll(/"(?:content|response|text)":"((?:[^"\\]|\\.)*)"/g)].map(([, part]) => JSON.parse(`"${part}"`) as string).join('')

test('twenty clients of two gateways ask for a model that nobody holds: one pull, twenty answers', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: HELD, env: PULL })
  const answers = Promise.all(site.gateways.map(({ url }) => askAll(url, 'big')))
  answers.catch(() => undefined)
  await until('all of them wait', async () => (await waitingFor(site.url)) === 20, 60_000)
  for (const { url } of site.gateways) await until('it is told why', () => isBrought(url), 60_000)
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'pulling')]).toEqual([1, 1])
  // What is not there yet is not listed.
  expect((await send(`${site.url}/api/show`, { body: JSON.stringify({ model: 'big' }) })).status).toBe(404)
  expect((await send(`${site.url}/v1/models`, { method: 'GET' })).text).not.toContain('big')
  await release(site)
  for (const all of await answers)
    for (const [i, { status, text }] of all.entries()) {
      const [path] = REQUESTS[i]!
      expect([path, status]).toEqual([path, 200])
      if (path.includes('embed')) expect(text).toMatch(/"embeddings?":\[/)
      else expect(textIn(text)).toContain(expectedText(`r${i}`, 20))
    }
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls')]).toEqual([1, 0])
  expect(await site.holders(MODEL)).toHaveLength(1)
})

test('how long somebody has waited for a model says nothing of the wait of those who come when it is there', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['own'], slots: 2, library: HELD })
  const gateway = await drover.gateway(PULL)
  const { url } = gateway
  await drover.worker('n1', [{ url: engine.url, slots: 2 }], { gateway })
  const waited = ask(url, 'ollama.chat', { key: 'waited', model: 'big', script: { stall_at: 5 } })
  await until('it is being brought', () => isBrought(url), 60_000)
  await engine.admin.library([{ name: MODEL, size: 1_000_000, layers: 1 }])
  await until('the gateway knows that it has come', () => gateway.log().includes('"model brought for jobs that wait"'), 60_000)
  const came = ask(url, 'ollama.chat', { key: 'came', model: 'big', script: { stall_at: 5 } })
  for (const key of ['waited', 'came']) await until('both run', async () => (await engine.admin.job(key)).running > 0)
  await engine.admin.release('waited')
  expect((await waited.told).verdict.ok).toBe(true)
  expect((await laneOf(url))[0]).toMatchObject({ running: 1, expected_wait_ms: null })
  await engine.admin.release('came')
  expect((await came.told).verdict.ok).toBe(true)
  await until('that one is counted', async () => (await laneOf(url))[0]?.expected_wait_ms !== null)
})

test('a stream is kept alive meanwhile, and a job tells why it waits', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: HELD, env: { ...PULL, DROVER_GRACE: '100ms', DROVER_KEEP_ALIVE: '100ms' } })
  const streams = (['ollama.chat', 'ollama.generate', 'openai.chat'] as const).map((format, i) => ask(site.url, format, { key: `s${i}`, model: 'big' }))
  const job = await handIn(site.url, '/api/chat', chat('big', 'later', false))
  for (const { head } of streams) expect(await head).toBe(200)
  await until('it tells how far that is', async () => (await show(site.url, job)).being_brought === 'to n1: 40 %', 60_000)
  expect(await show(site.url, job)).toMatchObject({ state: 'queued', expected_start_at: null })
  expect((await laneOf(site.url))[0]).toMatchObject({ being_brought: 'to n1: 40 %', expected_wait_ms: null })
  await release(site)
  for (const { told } of streams) expect(await told).toMatchObject({ ended: true, verdict: { ok: true } })
  expect(textIn((await resultOf(site.url, job)).text)).toBe(expectedText('later', 20))
  expect((await show(site.url, job)).being_brought).toBeNull()
})

test('names that may not be pulled, and those that no registry has, are refused as by a gateway that pulls nothing', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: HELD, env: PULL })
  const plain = await drover.gateway()
  await until('it knows the nodes', async () => (await statusOf(plain.url)).models.length === NODES.length)
  for (const model of ['other', 'nobody:1b', 'hf.co/else/big', 'x.example/org/big', 'nobody']) {
    const [refused, told] = await Promise.all([askAll(plain.url, model), askAll(site.url, model)])
    expect(told.map(({ status, text }) => [status, text])).toEqual(refused.map(({ status, text }) => [status, text]))
    expect(new Set(told.map(({ status }) => status))).toEqual(new Set([404]))
    // All at once, so one pull or a few, of the one name for which it is tried.
    const pulls = await site.sum(model, 'pulls')
    expect([model, pulls > 0]).toEqual([model, model === 'nobody'])
  }
  const job = await handIn(site.url, '/api/chat', chat('nobody', 'n', false))
  expect(await resultOf(site.url, job)).toMatchObject({ status: 404, text: expect.stringContaining("model 'nobody' not found") as string })
  await until('nothing waits', async () => (await statusOf(site.url)).lanes.every(({ waiting }) => waiting === 0))
})

test('a name that no registry has leaves no lane behind, also where nobody has waited for the answer', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: HELD, env: PULL })
  const lanes = async () => (await statusOf(site.url)).lanes.map(({ model }) => model)
  expect((await send(`${site.url}/api/chat`, { body: JSON.stringify(chat('nobody', 'n', false)) })).status).toBe(404)
  const left = ask(site.url, 'ollama.chat', { key: 'left', model: 'big' })
  await until('it is being brought', () => isBrought(site.url), 60_000)
  left.leave()
  await expect(left.told).rejects.toThrow()
  await until('their lanes are gone', async () => (await lanes()).every((model) => model !== 'nobody:latest' && model !== MODEL), 60_000)
  await release(site)
  // And are there again when they are needed.
  expect(await ask(site.url, 'ollama.chat', { key: 'again', model: 'big' }).told).toMatchObject({ ended: true, verdict: { ok: true } })
  expect(await lanes()).toContain(MODEL)
})

test('jobs wait for so many models at once; one more is refused, and any number for each of those is not', async ({ drover, scripted }) => {
  const names = Array.from({ length: 64 }, (_, i) => `big:t${i}`)
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: names.map((name) => ({ name, size: 1_000_000, layers: 1, stall_at: 400_000 })), env: PULL })
  for (const name of names) await handIn(site.url, '/api/chat', chat(name, name, false))
  await until('one is being brought', async () => (await statusOf(site.url)).lanes.some(({ being_brought: brought }) => brought !== undefined && brought !== null), 60_000)
  const refused = await send(`${site.url}/api/chat`, { body: JSON.stringify(chat('big:more', 'more', false)) })
  expect([refused.status, refused.text]).toEqual([503, expect.stringContaining('64 other models that no node holds are waited for')])
  await handIn(site.url, '/v1/chat/completions', chat('big:t1', 'another', false))
})

test('a model for which there is no room is told with the reason, and nobody waits on', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: [{ name: 'full', fails: 'no space left on device' }], env: PULL })
  for (const { status, text } of await askAll(site.url, 'full')) {
    expect(status).toBe(500)
    expect(text).toContain("model 'full' could not be brought to a node: no space left on device")
  }
  await site.nodes.get('n1')!.engine.admin.library([{ name: 'full' }])
  expect(await ask(site.url, 'ollama.chat', { key: 'again', model: 'full' }).told).toMatchObject({ ended: true, verdict: { ok: true } })
})

test('a key brings what it may use, and nothing else', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['mine'], library: [{ name: 'big' }, { name: 'nobody' }] })
  const { url } = await drover.gateway({ ...PULL, DROVER_API_KEY: OPERATOR_KEY })
  await drover.worker('n1', [engine.url])
  const { key } = await makeKey(url, { models: ['big', 'mine'] })
  const status = async (model: string) => (await send(`${url}/api/chat`, { body: JSON.stringify(chat(model, 'k', false)), headers: { authorization: `Bearer ${key}` } })).status
  await until('the node is there', async () => (await status('mine')) === 200)
  expect([await status('nobody'), await status('big')]).toEqual([403, 200])
  expect([(await engine.admin.managed('nobody')).pulls, (await engine.admin.managed('big')).pulls]).toEqual([0, 1])
})

test('when all have left, the pull is stopped, and whoever comes again goes on with it', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: HELD, env: PULL })
  const clients = site.gateways.flatMap(({ url }, i) => [0, 1].map((j) => ask(url, j === 0 ? 'ollama.chat' : 'openai.chat', { key: `l${i}${j}`, model: 'big' })))
  for (const { url } of site.gateways) await until('it is being brought', () => isBrought(url), 60_000)
  const [last, ...others] = clients
  for (const { leave } of others) leave()
  await until('one waits', async () => (await waitingFor(site.url)) === 1, 60_000)
  expect(await site.sum(MODEL, 'pulling')).toBe(1)
  last!.leave()
  await until('the engine has been stopped', async () => (await site.sum(MODEL, 'pulling')) === 0, 60_000)
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls'), await site.holders(MODEL)]).toEqual([1, 1, []])
  await release(site)
  expect(await ask(site.url, 'ollama.chat', { key: 'again', model: 'big' }).told).toMatchObject({ ended: true, verdict: { ok: true } })
  for (const { told } of clients) await expect(told).rejects.toThrow()
})

test('a gateway that is killed: what others wait for is brought, what nobody else wants is not', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: HELD, env: PULL })
  const [first, second] = site.gateways.map(({ url }, i) => ask(url, 'ollama.chat', { key: `g${i}`, model: 'big' }))
  const job = await handIn(site.gateways[0]!.url, '/api/chat', chat('big', 'later', false))
  for (const { url } of site.gateways) await until('it is being brought', () => isBrought(url), 60_000)
  site.gateways[0]!.signal('SIGKILL')
  await expect(first!.told).rejects.toThrow()
  await release(site)
  expect(await second!.told).toMatchObject({ ended: true, verdict: { ok: true } })
  const { url } = site.gateways[1]!
  expect(textIn((await resultOf(url, job)).text)).toBe(expectedText('later', 20))
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls')]).toEqual([1, 0])
})

test('jobs of a dead gateway bring nothing', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], gateways: 2, library: HELD, env: PULL })
  const client = ask(site.url, 'ollama.chat', { key: 'dead', model: 'big' })
  for (const { url } of site.gateways) await until('it is being brought', () => isBrought(url), 60_000)
  site.gateways[0]!.signal('SIGKILL')
  await expect(client.told).rejects.toThrow()
  await until('the engine has been stopped', async () => (await site.sum(MODEL, 'pulling')) === 0, 60_000)
  expect([await site.sum(MODEL, 'leftPulls'), await site.holders(MODEL)]).toEqual([1, []])
})

test('a worker that dies while it pulls: another node gets the model, and the answer comes', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: HELD, env: PULL })
  const client = ask(site.url, 'openai.chat', { key: 'w', model: 'big' })
  await until('it is being brought', () => isBrought(site.url), 60_000)
  const brought = (await laneOf(site.url))[0]?.being_brought?.slice(3, 5) ?? ''
  site.nodes.get(brought)!.worker.signal('SIGKILL')
  await site.nodes.get(brought)!.engine.admin.die()
  const other = NODES.find((node) => node !== brought)!
  await until('it goes to the other one', async () => (await laneOf(site.url))[0]?.being_brought === `to ${other}: 40 %`, 60_000)
  await release(site)
  expect(await client.told).toMatchObject({ ended: true, verdict: { ok: true } })
})

test('a request waits no longer than it may, and where no node could take the model it is refused at once', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: HELD, env: { ...PULL, DROVER_TIMEOUT: '3s' } })
  const late = await send(`${site.url}/api/chat`, { body: JSON.stringify(chat('big', 'late', false)) })
  expect([late.status, late.text]).toEqual([504, expect.stringContaining('deadline')])
  await until('nobody wants it any more', async () => (await site.sum(MODEL, 'pulling')) === 0, 60_000)
  await site.nodes.get('n1')!.worker.stop()
  await until('the node is gone', async () => (await statusOf(site.url)).nodes.length === 0)
  const refused = await send(`${site.url}/api/chat`, { body: JSON.stringify(chat('big', 'r', false)) })
  expect([refused.status, refused.text]).toEqual([503, expect.stringContaining('none with an Ollama is there')])
})

test('Redis restarts meanwhile', async ({ drover, scripted, redis }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: HELD, env: PULL })
  const clients = site.gateways.map(({ url }, i) => ask(url, 'ollama.chat', { key: `q${i}`, model: 'big' }))
  for (const { url } of site.gateways) await until('it is being brought', () => isBrought(url), 60_000)
  await redis.restart()
  await release(site)
  for (const { told } of clients) expect(await told).toMatchObject({ ended: true, verdict: { ok: true } })
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls')]).toEqual([1, 0])
})

test('lines of a batch bring their model, too', async ({ drover, scripted }) => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-on-demand-'))
  try {
    const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: [{ name: 'big' }], env: { ...PULL, DROVER_FILES_DIR: folder } })
    const openai = clientOf(site.url)
    const ids = Array.from({ length: 8 }, (_, i) => `line-${i}`)
    const { id } = await submit(openai, ids.map((line) => chatLine(line, { model: 'big' })).join(''))
    const batch = await ended(() => openai, id)
    const { output } = await resultsOf(openai, batch)
    expect([batch.status, output.length]).toEqual(['completed', ids.length])
    expectAnswers(output, 5)
    expect(await site.sum(MODEL, 'pulls')).toBe(1)
    const unknown = await ended(() => openai, (await submit(openai, chatLine('a', { model: 'nobody' }))).id)
    expect((await resultsOf(openai, unknown)).errors[0]).toMatchObject({ custom_id: 'a' })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('to pull for who asks is refused where it is not said what may be pulled', async ({ drover }) => {
  const none = await drover.refused('gateway', { DROVER_MISSING: 'pull' })
  expect([none.code, none.said]).toEqual([2, expect.stringContaining('set pullable')])
  const wrong = await drover.refused('gateway', { DROVER_MISSING: 'pull', DROVER_PULLABLE: 'https://x/y' })
  expect([wrong.code, wrong.said]).toEqual([2, expect.stringContaining('must be the name of a model')])
})

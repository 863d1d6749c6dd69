import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ollama } from 'ollama'
import { expect, onTestFinished } from 'vitest'
import { done } from '../cli/commands-setup.ts'
import { openMachines } from '../cluster/machines.ts'
import { startScriptedEngine } from '../engine/server.ts'
import { keepModel, makeStore } from '../engine/store.ts'
import { engineOn } from '../joining/hosts.ts'
import { bearer, makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { statusOf, until } from '../support/drover.ts'
import { noHosts } from '../support/network.ts'
import { send } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { held, storeNode } from './copy-site.ts'
import { streamedLines } from './lines.ts'

const BYTES = randomBytes(1_500_000)
const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const DIGEST = digestOf(BYTES)

const blobs = async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-blobs-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const put = (url: string, digest: string, body: Buffer) => send(`${url}/api/blobs/${digest}`, { body, headers: { 'content-type': 'application/octet-stream' } })
const head = async (url: string, digest: string) => (await send(`${url}/api/blobs/${digest}`, { method: 'HEAD' })).status

test('a file is sent once, and a model is made of it on the node that is chosen, or on those that are named', async ({ drover, scripted }) => {
  const folder = await blobs()
  const gateway = await drover.gateway({ DROVER_BLOBS_DIR: folder, DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' })
  const a = await storeNode({ drover, scripted }, 'a')
  const b = await storeNode({ drover, scripted }, 'b')
  await until('both are known', async () => (await statusOf(gateway.url)).nodes.length === 2)
  expect(await head(gateway.url, DIGEST)).toBe(404)
  expect((await put(gateway.url, DIGEST, BYTES)).status).toBe(201)
  expect((await put(gateway.url, DIGEST, BYTES)).status).toBe(200)
  expect([await head(gateway.url, DIGEST), await head(gateway.url, DIGEST.replace(':', '-'))]).toEqual([200, 200])
  const lines = []
  for await (const line of await new Ollama({ host: gateway.url }).create({ model: 'mine', files: { 'mine.gguf': DIGEST }, stream: true } as never)) lines.push((line as unknown as { status: string }).status)
  expect(lines.filter((line) => line.startsWith('sending'))).toHaveLength(1)
  expect(lines.slice(-4)).toEqual(['parsing GGUF', `using existing layer ${DIGEST}`, 'writing manifest', 'success'])
  const holder = (await a.engine.admin.managed('mine')).creates === 1 ? a : b
  await held(gateway, 'mine:latest', holder.name)
  expect(await readFile(join(holder.folder, 'blobs', DIGEST.replace(':', '-')))).toEqual(BYTES)
  // Named ones; one of them has the file.
  const both = streamedLines(gateway.url, '/api/create', { model: 'ours', files: { 'ours.gguf': DIGEST } }, { 'x-drover-nodes': 'a,b' })
  await both.over
  expect(both.lines.at(-1)).toEqual({ status: 'success' })
  expect(both.lines.filter(({ status }) => status?.startsWith('sending'))).toHaveLength(1)
  await held(gateway, 'ours:latest', 'a', 'b')
})

test('the command sends the files of a Modelfile, which lie beside it, and has the model made of them', async ({ drover, scripted }) => {
  const folder = await blobs()
  const gateway = await drover.gateway({ DROVER_BLOBS_DIR: folder, DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' })
  const a = await storeNode({ drover, scripted }, 'a')
  const at = await blobs()
  await writeFile(join(at, 'own.gguf'), BYTES)
  await writeFile(join(at, 'Modelfile'), 'FROM ./own.gguf\nPARAMETER temperature 0\n')
  const create = () => done(['create', 'own', '-f', join(at, 'Modelfile')], { env: { DROVER_URL: gateway.url } })
  const made = await create()
  expect([made.code, made.errors, made.output.trimEnd().split('\n').slice(-2)]).toEqual([0, '', ['writing manifest', 'success']])
  await held(gateway, 'own:latest', 'a')
  const asked = (await a.engine.admin.stats()).last.find(({ path }) => path === '/api/create')
  expect(JSON.parse(asked?.body ?? '')).toEqual({ model: 'own', files: { 'own.gguf': DIGEST }, parameters: { temperature: 0 }, stream: true })
  // Nothing is sent that is there.
  expect((await create()).output).not.toContain('sending')
})

test('what is not what it is called is not kept, nor what there is no room for, nor what was cut off', async ({ drover, scripted }) => {
  const folder = await blobs()
  const gateway = await drover.gateway({ DROVER_BLOBS_DIR: folder, DROVER_BLOBS_LIMIT: '2mb' })
  await storeNode({ drover, scripted }, 'a')
  const other = randomBytes(1_000_000)
  const mismatch = await put(gateway.url, DIGEST, other)
  expect([mismatch.status, JSON.parse(mismatch.text)]).toEqual([400, { error: `digest mismatch, expected "${DIGEST}", got "${digestOf(other)}"` }])
  expect((await put(gateway.url, DIGEST, BYTES)).status).toBe(201)
  const full = await put(gateway.url, digestOf(other), other)
  expect([full.status, full.text]).toEqual([413, expect.stringContaining('there is no room left')])
  const cut = request(`${gateway.url}/api/blobs/${digestOf(other)}`, { method: 'POST', headers: { 'content-length': 100_000 } })
  cut.on('error', () => undefined).write(other.subarray(0, 1_000))
  await until('it is coming in', async () => (await readdir(folder)).some((name) => name.startsWith('.draft-')))
  cut.destroy()
  await until('nothing is left of it', async () => (await readdir(folder)).join() === DIGEST.replace(':', '-'))
  for (const digest of ['sha256:12', '..%2f..%2fx', `sha256:${'g'.repeat(64)}`, `${DIGEST}0`]) expect([digest, (await put(gateway.url, digest, Buffer.from('x'))).status, await head(gateway.url, digest)]).toEqual([digest, 400, 400])
})

test('a model of files that nobody has sent, or no node may have, is refused', async ({ drover, scripted }) => {
  const gateway = await drover.gateway({ DROVER_BLOBS_DIR: await blobs() })
  const create = async (body: object, headers = {}) => {
    const { status, text } = await send(`${gateway.url}/api/create`, { body: JSON.stringify(body), headers })
    return [status, (JSON.parse(text) as { error: string }).error]
  }
  expect(await create({ model: 'mine', files: { 'mine.gguf': DIGEST } })).toEqual([503, 'no node with an Ollama is there that could make it, and takes files'])
  const a = await storeNode({ drover, scripted }, 'a')
  await until('it is known', async () => (await (await fetch(`${gateway.url}/api/nodes`)).text()).includes('"a"'))
  expect(await create({ model: 'mine', files: { 'mine.gguf': DIGEST } })).toEqual([400, `blob ${DIGEST} is not here: send it before, to this gateway`])
  expect(await create({ model: 'mine', files: { '../mine.gguf': DIGEST } })).toEqual([400, 'file path must be relative'])
  expect(await create({ model: 'mine', files: { 'mine.gguf': DIGEST } }, { 'x-drover-nodes': 'nobody' })).toEqual([400, "node 'nobody' is not there"])
  expect((await a.engine.admin.managed('mine').catch(() => undefined))?.creates ?? 0).toBe(0)
})

test('who may use some models only makes none of files that only a node has', async ({ drover, scripted }) => {
  const gateway = await drover.gateway({ DROVER_BLOBS_DIR: await blobs(), DROVER_API_KEY: OPERATOR_KEY })
  let digests: string[] = []
  await storeNode({ drover, scripted }, 'a', { fill: async (folder) => (digests = await keepModel(folder, 'secret', BYTES)) })
  const { key } = await makeKey(gateway.url, { scopes: ['models'], models: ['mine*'] })
  const create = async (by: string) => {
    const { status, text } = await send(`${gateway.url}/api/create`, { body: JSON.stringify({ model: 'mine', files: { 'x.gguf': `sha256:${digests[0]}` }, stream: false }), headers: bearer(by) })
    return [status, text]
  }
  await until('it is known', async () => (await send(`${gateway.url}/api/tags`, { method: 'GET', headers: bearer(OPERATOR_KEY) })).text.includes('secret'))
  expect(await create(key)).toEqual([400, expect.stringContaining('is not here: send it before')])
  expect((await create(OPERATOR_KEY))[0]).toBe(200)
})

const why = noHosts()
if (why !== undefined) console.warn(`skipped: machines of their own: ${why}`)

test.skipIf(why !== undefined)('a node whose worker cannot be reached from here leaves it to the next', async () => {
  const machines = await openMachines([{ name: 'a', memory: 1e9 }])
  onTestFinished(() => machines.close())
  const a = machines.named('a')
  const gateway = await machines.drover.gateway({ DROVER_BLOBS_DIR: await blobs(), DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' })
  // The loopback of another machine is not ours.
  await a.work([await engineOn(a.host, 'own-a')], { DROVER_COPY_ADDRESS: '127.0.0.1', DROVER_LEND: 'false', DROVER_PREFERENCE: '5' })
  const folder = await blobs()
  await makeStore(folder)
  const engine = await startScriptedEngine({ models: [], store: folder })
  onTestFinished(() => engine.close())
  await machines.drover.worker('b', [engine.url])
  await until('both are known', async () => (await statusOf(gateway.url)).nodes.length === 2)
  const alone = streamedLines(gateway.url, '/api/create', { model: 'x', from: 'own-a' })
  await alone.over
  expect(alone.lines.at(-1)).toEqual({ status: 'success' })
  expect((await put(gateway.url, DIGEST, BYTES)).status).toBe(201)
  const named = streamedLines(gateway.url, '/api/create', { model: 'mine', files: { 'mine.gguf': DIGEST } }, { 'x-drover-nodes': 'a' })
  const { status } = await named.over
  expect([status, named.lines]).toEqual([502, []])
  const chosen = streamedLines(gateway.url, '/api/create', { model: 'mine', files: { 'mine.gguf': DIGEST } })
  await chosen.over
  expect(chosen.lines.at(-1)).toEqual({ status: 'success' })
  expect((await engine.admin.managed('mine')).creates).toBe(1)
})

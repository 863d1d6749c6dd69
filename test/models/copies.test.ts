import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { done } from '../cli/commands-setup.ts'
import { keepModel } from '../engine/store.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { llamaServerPath, skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { until } from '../support/drover.ts'
import { post, send } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { areSame, copiesIn, held, progressOf, sizeOf, storeNode, temporary, transferLines } from './copy-site.ts'
import { goesBack, pullLines } from './site.ts'

const MODEL = 'big:7b'
const WEIGHTS = randomBytes(2_000_000)
const LARGE = randomBytes(8_000_000)
/** Nothing is said of what is waited for but what is new. */
const QUIET = { DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' }
/** Eight seconds for the large one. */
const SLOW = { DROVER_COPY_RATE: '1000000' }

test('a model of one Ollama is copied to another, every byte of it, and is not sent twice', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  let digests: string[] = []
  const a = await storeNode({ drover, scripted }, 'a', { fill: async (folder) => (digests = await keepModel(folder, MODEL, WEIGHTS, { template: '{{ .Prompt }}', params: '{"stop":["x"]}' })) })
  const b = await storeNode({ drover, scripted }, 'b')
  await held(gateway, MODEL, 'a')
  const copy = transferLines(gateway.url, { model: MODEL, to: 'b' })
  expect((await copy.over).headers.get('x-drover-nodes')).toBe('b')
  const [weights = ''] = digests
  expect(copy.lines[0]).toEqual({ status: 'pulling manifest' })
  expect(copy.lines).toContainEqual({ status: `pulling ${weights.slice(0, 12)}`, digest: `sha256:${weights}`, total: WEIGHTS.length, completed: WEIGHTS.length })
  expect(copy.lines.slice(-3).map(({ status }) => status)).toEqual(['verifying sha256 digest', 'writing manifest', 'success'])
  expect(goesBack(copy.lines)).toBe(false)
  await held(gateway, MODEL, 'a', 'b')
  expect(await areSame(a.folder, b.folder, digests, 'big/7b')).toBe(true)
  expect((await readdir(join(b.folder, 'blobs'))).toSorted()).toEqual(digests.map((digest) => `sha256-${digest}`).toSorted())
  // By the command, which has nothing left to do.
  const again = await done(['transfer', MODEL, '--from', 'a', '--to', 'b'], { env: { DROVER_URL: gateway.url } })
  expect([again.code, again.errors, again.output.trimEnd().split('\n').at(-1)]).toEqual([0, '', 'success'])
  expect(copiesIn(b.worker).map(({ from, bytes }) => [from, bytes > WEIGHTS.length])).toEqual([['a', true], ['a', false]])
  expect(copiesIn(b.worker)[1]?.bytes).toBe(0)
})

test('a second copy comes from the node that has one, not from the registry', async ({ drover, scripted }) => {
  const library = [{ name: MODEL, size: 5_000 }]
  const gateway = await drover.gateway(QUIET)
  await storeNode({ drover, scripted }, 'a', { library, fill: (folder) => keepModel(folder, MODEL, WEIGHTS) })
  const b = await storeNode({ drover, scripted }, 'b', { library })
  await held(gateway, MODEL, 'a')
  const pull = pullLines(gateway.url, { model: MODEL, replicas: 2 })
  await pull.over
  expect(pull.lines.at(-1)).toEqual({ status: 'success' })
  await held(gateway, MODEL, 'a', 'b')
  expect((await b.engine.admin.managed(MODEL)).pulls).toBe(0)
  // Who is named and holds it brings it up to date from the registry.
  const update = pullLines(gateway.url, { model: MODEL }, { 'x-drover-nodes': 'b' })
  await update.over
  expect((await b.engine.admin.managed(MODEL)).pulls).toBe(1)
})

test('a worker that is killed in the middle goes on where it was', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  let digests: string[] = []
  const a = await storeNode({ drover, scripted }, 'a', { env: SLOW, fill: async (folder) => (digests = await keepModel(folder, MODEL, LARGE)) })
  const b = await storeNode({ drover, scripted }, 'b')
  await held(gateway, MODEL, 'a')
  const copy = transferLines(gateway.url, { model: MODEL, to: 'b' })
  const part = join(b.folder, 'blobs', `sha256-${digests[0]}-drover`)
  await until('it is in the middle', async () => (await sizeOf(part)) > 2_000_000)
  b.worker.signal('SIGKILL')
  await b.worker.exited
  const there = await sizeOf(part)
  expect(there).toBeLessThan(LARGE.length)
  await b.again()
  await copy.over
  expect(copy.lines.at(-1)).toEqual({ status: 'success' })
  expect(goesBack(copy.lines)).toBe(false)
  expect(await areSame(a.folder, b.folder, digests, 'big/7b')).toBe(true)
  const [told] = copiesIn(b.worker)
  expect(told?.bytes).toBeLessThanOrEqual(LARGE.length + 1_000 - there)
})

test('a sender that dies in the middle is replaced by another, which sends the rest', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  let digests: string[] = []
  const fill = async (folder: string) => (digests = await keepModel(folder, MODEL, LARGE))
  await storeNode({ drover, scripted }, 'a', { env: SLOW, fill })
  await held(gateway, MODEL, 'a')
  const newest = await storeNode({ drover, scripted }, 'c', { env: SLOW, fill })
  const b = await storeNode({ drover, scripted }, 'b', { library: [{ name: MODEL }] })
  await held(gateway, MODEL, 'a', 'c')
  const pull = pullLines(gateway.url, { model: MODEL }, { 'x-drover-nodes': 'b' })
  const part = join(b.folder, 'blobs', `sha256-${digests[0]}-drover`)
  await until('it is in the middle', async () => (await sizeOf(part)) > 1_500_000)
  // The newest copy is asked for first.
  newest.worker.signal('SIGKILL')
  await pull.over
  expect(pull.lines.at(-1)).toEqual({ status: 'success' })
  expect((await b.engine.admin.managed(MODEL)).pulls).toBe(0)
  const [told] = copiesIn(b.worker)
  expect([told?.from, told!.bytes < LARGE.length]).toEqual(['a', true])
})

test('a sender that is the only one and dies ends a copy with the reason, and a pull by its engine', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  const fill = (folder: string) => keepModel(folder, MODEL, LARGE)
  const a = await storeNode({ drover, scripted }, 'a', { env: SLOW, fill })
  const b = await storeNode({ drover, scripted }, 'b', { library: [{ name: MODEL, size: 5_000 }] })
  await held(gateway, MODEL, 'a')
  const copy = transferLines(gateway.url, { model: MODEL, from: 'a', to: 'b' })
  await until('it is in the middle', () => progressOf(copy.lines) > 500_000)
  const pull = pullLines(gateway.url, { model: MODEL }, { 'x-drover-nodes': 'b' })
  a.worker.signal('SIGKILL')
  await Promise.all([copy.over, pull.over])
  expect(copy.lines.at(-1)?.error).toMatch(/^node a is not there$|node a at http:\S+ cannot be reached/)
  expect(pull.lines.at(-1)).toEqual({ status: 'success' })
  expect((await b.engine.admin.managed(MODEL)).pulls).toBe(1)
})

test('who leaves in the middle stops it, and the next one goes on', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  let digests: string[] = []
  await storeNode({ drover, scripted }, 'a', { env: SLOW, fill: async (folder) => (digests = await keepModel(folder, MODEL, LARGE)) })
  const b = await storeNode({ drover, scripted }, 'b')
  await held(gateway, MODEL, 'a')
  const part = join(b.folder, 'blobs', `sha256-${digests[0]}-drover`)
  const first = transferLines(gateway.url, { model: MODEL, to: 'b' })
  await until('it is in the middle', () => progressOf(first.lines) > 500_000)
  first.leave()
  await until('it has stopped', () => b.worker.log().includes('"model work over"'))
  const there = await sizeOf(part)
  expect(there).toBeLessThan(LARGE.length)
  const second = transferLines(gateway.url, { model: MODEL, to: 'b' })
  await second.over
  expect(second.lines.at(-1)).toEqual({ status: 'success' })
  expect(copiesIn(b.worker)[0]!.bytes).toBeLessThanOrEqual(LARGE.length + 1_000 - there)
})

test('what cannot be copied is told before anything is sent', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  await storeNode({ drover, scripted }, 'a', { fill: (folder) => keepModel(folder, MODEL, WEIGHTS) })
  const b = await storeNode({ drover, scripted }, 'b')
  await drover.worker('plain', [(await scripted({ models: ['x'] })).url])
  await drover.worker('silent', [(await scripted({ models: ['other'] })).url], { env: { DROVER_COPY_MODELS: 'false' } })
  await held(gateway, MODEL, 'a')
  await until('all are known', async () => (await done(['nodes', '--json'], { env: { DROVER_URL: gateway.url } })).output.includes('silent'))
  const refusal = async (body: object) => {
    const { status, text } = await send(`${gateway.url}/api/transfer`, { body: JSON.stringify(body) })
    return [status, (JSON.parse(text) as { error: string }).error]
  }
  expect(await refusal({ model: 'none', to: 'b' })).toEqual([404, "model 'none' not found"])
  expect(await refusal({ model: MODEL })).toEqual([400, 'to is required: the node that is to have the model'])
  expect(await refusal({ model: MODEL, to: 'nobody' })).toEqual([400, "node 'nobody' is not there"])
  expect(await refusal({ model: MODEL, to: 'plain' })).toEqual([400, "node 'plain' has no folder of models that it may write to"])
  expect(await refusal({ model: MODEL, from: 'b', to: 'a' })).toEqual([400, "node 'b' does not hold big:7b, or hands out no files"])
  expect(await refusal({ model: 'other', to: 'b' })).toEqual([400, 'no other node holds other and hands out its files'])
  // Held, but behind an Ollama whose folder is elsewhere.
  const x = transferLines(gateway.url, { model: 'x', to: 'b' })
  await x.over
  expect(x.lines.at(-1)?.error).toMatch(/node plain at http:.* sends no files: node plain has no files of this model/)
  expect(await readdir(join(b.folder, 'blobs'))).toEqual([])
})

test('a copy goes where the labels say, and not where there is no room for it', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  await storeNode({ drover, scripted }, 'a', { fill: (folder) => keepModel(folder, MODEL, WEIGHTS) })
  await drover.worker('huge', [(await scripted({ models: [{ name: 'huge:1', size: 1e17 }] })).url])
  const b = await storeNode({ drover, scripted }, 'b', { env: { DROVER_LABEL: 'rack=1' } })
  await storeNode({ drover, scripted }, 'c', { env: { DROVER_PREFERENCE: '9' } })
  await held(gateway, MODEL, 'a')
  await held(gateway, 'huge:1', 'huge')
  const labelled = await done(['pull', MODEL, '--label', 'rack=1'], { env: { DROVER_URL: gateway.url } })
  expect([labelled.code, labelled.errors]).toEqual([0, ''])
  await held(gateway, MODEL, 'a', 'b')
  expect(copiesIn(b.worker)).toHaveLength(1)
  const { status, text } = await send(`${gateway.url}/api/pull`, { body: JSON.stringify({ model: 'huge:1', replicas: 2 }) })
  expect([status, (JSON.parse(text) as { error: string }).error]).toEqual([503, expect.stringMatching(/^2 nodes are to hold it, and 1 do: .*; too little room on their disks have a \(.* GB\), b \(.*\), c \(.*\)$/)])
})

test.skipIf(skipsWithoutLlamaServer())('a model of an Ollama comes into a models folder and answers there under its name, and the other way round', async ({ drover, scripted }) => {
  const gateway = await drover.gateway(QUIET)
  const source = join(await temporary(), 'tiny.gguf')
  await writeTinyModel({ path: source })
  const weights = await readFile(source)
  const a = await storeNode({ drover, scripted }, 'a', { fill: (folder) => keepModel(folder, 'tiny:1b', weights) })
  const folder = await temporary()
  await writeFile(join(folder, 'mine.gguf'), weights)
  await drover.worker('l', [], { env: { DROVER_MODELS_DIR: folder, DROVER_LLAMA_SERVER: llamaServerPath() ?? '', DROVER_NUM_CTX: '256', OLLAMA_MODELS: join(folder, 'none') } })
  await held(gateway, 'mine:latest', 'l')
  const copy = transferLines(gateway.url, { model: 'tiny:1b', to: 'l' })
  await copy.over
  expect(copy.lines.at(-1)).toEqual({ status: 'success' })
  expect(await readFile(join(folder, 'tiny%3A1b.gguf'))).toEqual(weights)
  await held(gateway, 'tiny:1b', 'a', 'l')
  await a.worker.stop()
  await held(gateway, 'tiny:1b', 'l')
  const answer = await post(gateway.url, 'ollama.chat', { model: 'tiny:1b', stream: false, messages: [{ role: 'user', content: 'Hello.' }], options: { num_predict: 8 } })
  expect([answer.status, answer.headers['x-drover-node']]).toEqual([200, 'l'])
  await a.again()
  const back = transferLines(gateway.url, { model: 'mine', to: 'a' })
  await back.over
  expect(back.lines.slice(-3).map(({ status }) => status)).toEqual([expect.stringMatching(/^using existing layer sha256:/), 'writing manifest', 'success'])
  await held(gateway, 'mine:latest', 'a', 'l')
  expect((await a.engine.admin.managed('mine')).creates).toBe(1)
})

import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { placementReader } from '../../libs/engines/src/cluster/placement.ts'
import { engineOn } from '../joining/hosts.ts'
import { reading } from '../resume/reading.ts'
import { copySmall } from '../supervised/site.ts'
import { statusOf, until } from '../support/drover.ts'
import { llamaOn, besides, peersOf, valueOf, type LlamaProcess } from './processes.ts'
import { bodyFor, CONTEXT, ending, LARGE, openStage, skipsWithoutCluster, SLOTS, whole, type ShownCluster, type Stage } from './stage.ts'

const MIB = 2 ** 20
/** An rpc-server by itself touches 1 MiB of memory, and some of its room to compute in: 3 to 4 MiB here, and a layer of this model has 13. */
const BESIDES = 6 * MIB
/** Half of the last decimal of a size that llama.cpp tells. */
const ROUNDING = 0.005 * MIB
const TOKENS = 320
const PROMPTS = ['Tell of number 1.', 'Tell of number 2.', 'Tell of number 3.']

const skipped = skipsWithoutCluster()
let stage: Stage
let texts: string[] = []
beforeAll(async () => {
  if (skipped) return
  stage = await openStage({ machines: [{ name: 'a', holds: true }, { name: 'b' }, { name: 'c', env: { DROVER_LLAMA_MEMORY: '1gb' } }], needed: 3, exact: true })
  await copySmall(stage.machines.named('c').folder, 'small.gguf')
  texts = await stage.undisturbed(PROMPTS, TOKENS)
}, 120_000)
afterAll(() => stage?.close())

/** The one process of llama.cpp on each machine, by the machine's name. */
const processesOf = ({ machines }: Stage): Map<string, LlamaProcess> =>
  new Map(machines.all.map(({ name, host }) => {
    const [process, ...more] = llamaOn(host)
    if (!process || more.length > 0) expect.fail(`${name} runs ${more.length + (process ? 1 : 0)} processes of llama.cpp`)
    return [name, process]
  }))

/** That what is told of a cluster is what its processes have, by all that can be seen of them from outside. */
const expectTruth = async (site: Stage, { coordinator, members }: ShownCluster): Promise<void> => {
  const processes = processesOf(site)
  const server = processes.get(coordinator) ?? expect.fail('nothing coordinates')
  expect(server.program).toBe('llama-server')
  const lent = members.filter(({ node }) => node !== coordinator)
  const addresses = lent.map(({ node }) => {
    const lender = processes.get(node) ?? expect.fail(`${node} lends nothing`)
    expect(lender.program).toBe('rpc-server')
    expect(valueOf(lender, '-H')).toBe(site.machines.named(node).host.address)
    return `${valueOf(lender, '-H')}:${valueOf(lender, '-p')}`
  })
  const counts = lent.map(({ layers, output }) => layers + Number(output))
  expect(valueOf(server, '--host')).toBe('127.0.0.1')
  expect(valueOf(server, '--rpc')).toBe(addresses.join(','))
  expect(valueOf(server, '--tensor-split')).toBe(counts.join(','))
  expect(valueOf(server, '--n-gpu-layers')).toBe(String(counts.reduce((sum, count) => sum + count, 0)))
  expect(peersOf(server.pid).filter((address) => addresses.includes(address)).toSorted()).toEqual(addresses.toSorted())

  const { placement, read } = placementReader()
  for (const line of (await readFile(site.machines.named(coordinator).engineLog, 'utf8')).split('\n')) read(line)
  expect(placement.devices).toEqual(addresses)
  for (const [i, { node, weights, kv, total }] of lent.entries()) {
    const address = addresses[i]!
    expect(Math.abs((placement.weights.get(address) ?? 0) - weights), node).toBeLessThan(ROUNDING)
    expect(Math.abs((placement.kv.get(address) ?? 0) - kv), node).toBeLessThan(ROUNDING)
    const { anonymous } = processes.get(node)!
    expect(anonymous, node).toBeGreaterThan(weights + kv)
    expect(anonymous, node).toBeLessThan(Math.min(weights + kv + BESIDES, total))
  }
}

test.skipIf(skipped)('a model that none of three machines has memory for runs on all of them, and says what it says on one', async () => {
  expect(await stage.clusters()).toEqual([])
  for (const { host } of stage.machines.all) expect(llamaOn(host)).toEqual([])
  const read = await stage.ask('ollama.chat', PROMPTS[0]!, TOKENS).told
  expect(ending(read)).toEqual(whole(texts[0]!))
  expect(read.headers['x-drover-node']).toBe('a')

  const cluster = await stage.ready()
  expect(cluster).toMatchObject({ model: LARGE, coordinator: 'a', slots: SLOTS, context_length: CONTEXT })
  const { members } = cluster
  expect(members.map(({ node }) => node).toSorted()).toEqual(['a', 'b', 'c'])
  expect(members.map(({ from }) => from)).toEqual([0, ...members.slice(0, -1).map(({ to }) => to)])
  expect(members.at(-1)).toMatchObject({ to: stage.file.facts.shape.layers.length, output: true })
  await expectTruth(stage, cluster)
  await until('it is told what they have left', async () => {
    const { lenders } = (await statusOf(stage.gateway.url)).distributed_inference
    return members.filter(({ node }) => node !== 'a').every(({ node, total }) => lenders.find((lender) => lender.node === node)?.devices[0]?.free === stage.memory.lent - total)
  })
}, 120_000)

test.skipIf(skipped).each(['openai.chat', 'anthropic.messages', 'ollama.generate'] as const)('it answers by %s, too', async (dialect) => {
  const read = await stage.ask(dialect, PROMPTS[1]!, TOKENS).told
  // A prompt alone is rendered as a chat, too.
  expect(ending(read)).toEqual(whole(texts[1]!))
  expect(await stage.clusters()).toHaveLength(1)
})

test.skipIf(skipped)('two are answered at once, and a small model beside them by one machine alone', async () => {
  const { url } = stage.gateway
  const [cluster] = await stage.clusters()
  await until('the small model is held', async () => (await statusOf(url)).models.some(({ model }) => model === 'small:latest'))
  const asked = [stage.ask('ollama.chat', PROMPTS[0]!, TOKENS), stage.ask('openai.chat', PROMPTS[2]!, TOKENS)]
  await Promise.all(asked.map((each) => each.chars(40)))
  let over = 0
  for (const { told } of asked) void told.finally(() => (over += 1)).catch(() => undefined)
  const small = await reading(url, 'ollama.chat', bodyFor('small', 'ollama.chat', 'Hello.', 8)).told
  expect(small).toMatchObject({ status: 200, ended: true, error: undefined })
  expect(small.text).not.toBe('')
  expect(small.headers['x-drover-node']).toBe('c')
  expect(over, 'both go on meanwhile').toBe(0)
  const beside = llamaOn(stage.machines.named('c').host).find(({ program }) => program === 'llama-server')
  expect(beside && valueOf(beside, '--rpc')).toBeUndefined()
  expect(beside?.args.join(' ')).toContain('small.gguf')
  expect((await Promise.all(asked.map(({ told }) => told))).map(ending)).toEqual([whole(texts[0]!), whole(texts[2]!)])
  // The same as before, and no other.
  expect((await stage.clusters()).map(({ model, since }) => ({ model, since }))).toEqual([{ model: LARGE, since: cluster?.since }])
}, 120_000)

const STORED = 'stored:7b'

/** Lays a file out as Ollama keeps a model; resolves with its blob's path and digest. */
const store = async (folder: string, source: string): Promise<{ blob: string; digest: string; size: number }> => {
  const bytes = await readFile(source)
  const digest = createHash('sha256').update(bytes).digest('hex')
  const [blobs, manifests] = [join(folder, 'blobs'), join(folder, 'manifests', 'registry.ollama.ai', 'library', 'stored')]
  for (const each of [blobs, manifests]) await mkdir(each, { recursive: true })
  const blob = join(blobs, `sha256-${digest}`)
  await writeFile(`${blob}.part`, bytes)
  await rename(`${blob}.part`, blob)
  const layer = { mediaType: 'application/vnd.ollama.image.model', digest: `sha256:${digest}`, size: bytes.length }
  await writeFile(join(manifests, '7b'), JSON.stringify({ schemaVersion: 2, layers: [layer] }))
  return { blob, digest, size: bytes.length }
}

test.skipIf(skipped)('a model of an Ollama that is too large for its machine runs over several, from Ollama’s own file, and nothing is left after its time', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-store-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  let blob = ''
  const site = await openStage({
    needed: 3,
    env: { DROVER_KEEP_ALIVE: '3s' },
    machines: [{
      name: 'o',
      env: { OLLAMA_MODELS: folder },
      async prepare({ host: on }, { path }) {
        const { digest, size, ...stored } = await store(folder, path)
        ;({ blob } = stored)
        return [await engineOn(on, { name: STORED, digest, size })]
      },
    }, { name: 'p' }, { name: 'q' }],
  })
  onTestFinished(() => site.close())
  const [text = ''] = await site.undisturbed([PROMPTS[0]!], 80)
  const { host } = site.machines.named('o')
  const engines = host.processes()
  const read = await reading(site.gateway.url, 'ollama.chat', bodyFor(STORED, 'ollama.chat', PROMPTS[0]!, 80)).told
  expect(ending(read)).toEqual(whole(text))
  const [cluster] = await site.clusters()
  expect(cluster).toMatchObject({ model: STORED, coordinator: 'o', state: 'ready' })
  await expectTruth(site, cluster!)
  expect(valueOf(llamaOn(host)[0]!, '-m')).toBe(blob)
  // No second copy of it.
  expect(await readdir(site.machines.named('o').folder)).toEqual([])
  await until('its time is over', async () => (await site.clusters()).length === 0, 30_000)
  for (const machine of site.machines.all) await until(`nothing is left on ${machine.name}`, () => besides(machine.host, [machine.worker().pid, ...engines]).length === 0)
  await until('all that was lent is free', async () =>
    (await statusOf(site.gateway.url)).distributed_inference.lenders.every(({ devices }) => devices.every(({ free }) => free === site.memory.lent)))
}, 180_000)

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { modelsFolder, running } from '../supervised/site.ts'
import { Installation, statusOf, until, type Environment, type Part } from '../support/drover.ts'
import { writeTinyModel, type TinyModelOptions } from '../gguf/tiny-model.ts'
import { llamaServerPath, skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { rpcServerPath, skipsWithoutRpcServer } from '../support/rpc-server.ts'

const skip = skipsWithoutLlamaServer() || skipsWithoutRpcServer()

/** Twelve layers of 5 MB, with as much memory as a coordinator and two lenders have only together. */
const LAYERS = 12
const BIG: Omit<TinyModelOptions, 'path'> = { layers: LAYERS, embd: 512, heads: 8, kvHeads: 8, ffn: 1024, type: 'f16' }
const OWN = 170_000_000
const LENT = 120_000_000
const CONTEXT = 1_024

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis({ roles: true })
})
afterAll(() => redis.stop())

interface Shown {
  model: string
  coordinator: string
  state: string
  members: { node: string; from: number; to: number; total: number }[]
  slots: number
  context_length: number
  tokens_per_second: number | null
}

/** Lines of a part's log with this message. */
const toldBy = (part: Part, message: string): Record<string, unknown>[] =>
  part.log().split('\n').flatMap((line) => {
    const entry = line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {}
    return entry['msg'] === message ? [entry] : []
  })

interface SiteOptions {
  models?: Record<string, Omit<TinyModelOptions, 'path'>>
  env?: Environment
  /** Bytes more than usual that each has. */
  more?: number
  server?: RedisServer
}

/** A gateway, a coordinator with models and two lenders, all on this machine. */
const site = async ({ models = { big: BIG }, env = {}, more = 0, server = redis }: SiteOptions = {}) => {
  const folder = await modelsFolder(async (remove) => onTestFinished(remove))
  for (const [name, options] of Object.entries(models)) await writeTinyModel({ path: `${folder}/${name}.gguf`, ...options })
  const drover = new Installation(server.url, {}, server.urlFor)
  onTestFinished(() => drover.stop())
  const programs = { DROVER_LLAMA_SERVER: llamaServerPath() ?? '', DROVER_RPC_SERVER: rpcServerPath() ?? '', LLAMA_ARG_THREADS: '1', DROVER_NUM_CTX: String(CONTEXT) }
  const gateway = await drover.gateway()
  const coordinates = (node: string, from: string) =>
    drover.worker(node, [], { env: { ...programs, DROVER_MODELS_DIR: from, DROVER_LLAMA_MEMORY: String(OWN + more), ...env } })
  const lends = (node: string) => drover.worker(node, [], { env: { ...programs, DROVER_LEND: 'true', DROVER_LLAMA_MEMORY: String(LENT + more) } })
  const lending = new Map<string, Part>()
  for (const node of ['l1', 'l2']) lending.set(node, await lends(node))
  const coordinator = await coordinates('c', folder)
  return {
    url: gateway.url, folder, coordinator, lending, lends, coordinates, told: (message: string) => toldBy(coordinator, message),
    clusters: async () => ((await (await fetch(`${gateway.url}/api/clusters`)).json()) as { clusters: Shown[] }).clusters,
    free: async () => Object.fromEntries((await statusOf(gateway.url)).distributed_inference.lenders.map(({ node, devices }) => [node, devices[0]?.free])),
    held: (model: string, node = 'c') =>
      until(`${model} is held over several nodes`, async () =>
        (await statusOf(gateway.url)).nodes.some(({ id, engines }) => id === node && engines.some(({ layout, models: all }) => layout === 'cluster' && all.some((each) => each.model === `${model}:latest` && !each.only_asked)))),
    /** llama-servers of the models folder. */
    servers: () => running(`${folder}/`, (line) => !line.startsWith('/bin/sh')),
  }
}

const QUESTION = { messages: [{ role: 'user', content: 'tell me a story' }] }

const chat = async (url: string, model: string, options: Record<string, unknown> = {}, signal?: AbortSignal) => {
  const response = await fetch(`${url}/api/chat`, {
    method: 'POST', body: JSON.stringify({ model, stream: false, ...QUESTION, options: { temperature: 0, num_predict: 48, ...options } }), ...(signal && { signal }),
  })
  const body = (await response.json()) as { message?: { content: string }; error?: string }
  return { status: response.status, node: response.headers.get('x-drover-node'), text: body.message?.content, error: body.error }
}

/** What one process with the whole model says. */
const alone = async (folder: string, name: string): Promise<string> => {
  await using server = await startLlamaServer({ model: `${folder}/${name}.gguf`, slots: 2, ctx: CONTEXT, extraArgs: ['--flash-attn', 'on'] })
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ ...QUESTION, temperature: 0, max_tokens: 48 }) })
  return ((await response.json()) as { choices: { message: { content: string } }[] }).choices[0]!.message.content
}

test.skipIf(skip)('a model that fits no node is spread when somebody asks for it, answers as it would alone, and all is given back when nobody does', async () => {
  const s = await site({ env: { DROVER_KEEP_ALIVE: '5s' } })
  await s.held('big')
  expect(await s.clusters()).toEqual([])
  expect(await s.servers()).toEqual([])
  const big = await chat(s.url, 'big')
  expect(big).toMatchObject({ status: 200, node: 'c' })
  await until('it is seen', async () => (await s.clusters())[0]?.state === 'ready')
  const [cluster, ...more] = await s.clusters()
  expect(more).toEqual([])
  expect(cluster).toMatchObject({ model: 'big:latest', coordinator: 'c', state: 'ready', slots: 2, context_length: CONTEXT })
  const members = cluster!.members
  expect(members.map(({ node }) => node).toSorted()).toEqual(['c', 'l1', 'l2'])
  expect(members.map(({ from }) => from)).toEqual([0, ...members.slice(0, -1).map(({ to }) => to)])
  expect(members.at(-1)!.to).toBe(LAYERS)
  // What a member takes is exactly what is lent by its node.
  const free = await s.free()
  for (const { node, total } of members) if (node !== 'c') expect(LENT - free[node]!).toBe(Math.ceil(total))
  await until('it is fast', async () => ((await s.clusters())[0]?.tokens_per_second ?? 0) > 0)
  await until('all is given back', async () => Object.values(await s.free()).every((bytes) => bytes === LENT))
  expect(await s.clusters()).toEqual([])
  await until('no process is left', async () => (await running('-p\0')).filter((pid) => [...s.lending.values()].some((part) => toldBy(part, 'memory lent').some((lent) => lent['pid'] === pid))).length === 0)
  expect(s.told('cluster over')).toMatchObject([{ model: 'big:latest', why: 'idle' }])
  expect(big.text).toBe(await alone(s.folder, 'big'))
  // And again.
  expect(await chat(s.url, 'big')).toMatchObject({ status: 200, text: big.text })
})

test.skipIf(skip)('nodes, layers, slots, context and cache can be set for a model', async () => {
  const layers = { c: [0, 2], l2: [2, 7], l1: [7, LAYERS] }
  const s = await site({ more: 20e6, env: { DROVER_CLUSTER_MODELS: JSON.stringify({ big: { layers, slots: 1, context: 512, flash_attention: false, kv_type: 'f32' } }) } })
  await s.held('big')
  expect(await chat(s.url, 'big')).toMatchObject({ status: 200 })
  await until('it is seen', async () => (await s.clusters())[0]?.state === 'ready')
  const [cluster] = await s.clusters()
  expect(cluster).toMatchObject({ slots: 1, context_length: 512 })
  expect(Object.fromEntries(cluster!.members.map(({ node, from, to }) => [node, [from, to]]))).toEqual(layers)
})

test.skipIf(skip)('a cluster that is idle makes room for a model that waits, of this coordinator or of another', async () => {
  const s = await site({ models: { big: BIG, other: { ...BIG, seed: 7 } } })
  const folder = await modelsFolder(async (remove) => onTestFinished(remove))
  await writeTinyModel({ path: `${folder}/third.gguf`, ...BIG, seed: 11 })
  await s.coordinates('d', folder)
  await s.held('big')
  await s.held('third', 'd')
  expect(await chat(s.url, 'big')).toMatchObject({ status: 200, node: 'c' })
  expect(await chat(s.url, 'other')).toMatchObject({ status: 200, node: 'c' })
  expect(s.told('cluster over')).toMatchObject([{ model: 'big:latest', why: 'evicted' }])
  await until('it is seen', async () => (await s.clusters()).map(({ model }) => model).join() === 'other:latest')
  expect(await chat(s.url, 'third')).toMatchObject({ status: 200, node: 'd' })
  await until('it is seen', async () => (await s.clusters()).map(({ model }) => model).join() === 'third:latest')
})

test.skipIf(skip)('what the rest cannot hold is refused with what is missing, and what waits for it ends with that, too', async () => {
  const s = await site()
  await s.held('big')
  expect(await chat(s.url, 'big', { distributed: false })).toMatchObject({ status: 502, error: expect.stringContaining('of memory') as string })
  s.lending.get('l2')!.signal('SIGKILL')
  const waits = chat(s.url, 'big')
  const WHY = /big.* cannot be run: needs 0\.2 GB with 1k context and 2 slots; the coordinator and 1 lender have 0\.3 GB free/
  await until('it is known', async () => (await statusOf(s.url)).distributed_inference.short_of.some(({ never }) => never))
  expect(await chat(s.url, 'big')).toMatchObject({ status: 503, error: expect.stringMatching(WHY) as string })
  expect(await waits).toMatchObject({ status: 503, error: expect.stringMatching(WHY) as string })
  // Whoever comes back in time is used.
  await s.lends('l2')
  await until('nothing is missing', async () => (await statusOf(s.url)).distributed_inference.short_of.length === 0)
  expect(await chat(s.url, 'big')).toMatchObject({ status: 200 })
})

/** Text of a streamed answer, and what is called when so much of it is there. */
const streamed = async (url: string, after: number, then: () => Promise<void> | void) => {
  const response = await fetch(`${url}/api/chat`, { method: 'POST', body: JSON.stringify({ model: 'big', ...QUESTION, options: { temperature: 0, num_predict: 400 } }) })
  let [text, done, error] = ['', false, undefined as string | undefined]
  let called = false
  let rest = ''
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const event = JSON.parse(line) as { message?: { content: string }; done?: boolean; error?: string }
      text += event.message?.content ?? ''
      done ||= event.done === true
      error ??= event.error
      if (!called && text.length > after) {
        called = true
        await then()
      }
    }
  }
  return { text, done, error, called }
}

test.skipIf(skip)('a Redis that is killed and comes back ends no cluster and no answer', async () => {
  const server = await startRedis()
  onTestFinished(() => server.stop())
  const s = await site({ server })
  await s.held('big')
  const before = await streamed(s.url, Infinity, () => undefined)
  expect(before).toMatchObject({ done: true, error: undefined })
  const after = await streamed(s.url, 50, async () => {
    await server.kill()
    await sleep(500)
    await server.restart()
  })
  expect(after).toMatchObject({ done: true, error: undefined, called: true, text: before.text })
  await sleep(7_000) // longer than a loan lives, and than Redis' word is not taken for it
  expect(s.told('cluster formed')).toHaveLength(1)
  expect((await s.clusters()).map(({ state }) => state)).toEqual(['ready'])
})

test.skipIf(skip)('a llama-server that is stopped, which nothing else tells, is ended, and its answer goes on', async () => {
  const s = await site({ more: 20e6, env: { DROVER_CLUSTER_MODELS: JSON.stringify({ big: { flash_attention: false, kv_type: 'f32', context: 768, slots: 1 } }) } })
  await s.held('big')
  const before = await streamed(s.url, Infinity, () => undefined)
  const after = await streamed(s.url, 200, () => void process.kill(s.told('cluster formed')[0]!['pid'] as number, 'SIGSTOP'))
  expect(after).toMatchObject({ done: true, error: undefined, called: true, text: before.text })
  expect(s.told('cluster failed')).toMatchObject([{ reason: expect.stringContaining('its llama-server was stopped') as string }])
  expect(await s.servers()).toHaveLength(1)
})

test.skipIf(skip)('a model that one node could run is shared by two for whoever asks for that, and a lender that is drained meanwhile serves on', async () => {
  const s = await site({ models: { little: { ...BIG, layers: 4 } } })
  await until('both ways are known', async () => (await statusOf(s.url)).nodes.flatMap(({ engines }) => engines).filter(({ models }) => models.some(({ model }) => model === 'little:latest')).length === 2)
  const shared = await chat(s.url, 'little', { distributed: true })
  expect(shared).toMatchObject({ status: 200, node: 'c' })
  await until('it is seen', async () => (await s.clusters())[0]?.state === 'ready')
  const [cluster] = await s.clusters()
  expect(cluster!.members.map(({ node, from, to }) => [node, from, to])).toEqual([['c', 0, 2], [cluster!.members[1]!.node, 2, 4]])
  const lender = cluster!.members[1]!.node
  expect((await fetch(`${s.url}/api/nodes/${lender}/drain`, { method: 'POST' })).status).toBe(200)
  await until('it lends no more', async () => (await statusOf(s.url)).distributed_inference.lenders.every(({ node }) => node !== lender))
  await sleep(4_000) // longer than a line may be silent
  expect(await chat(s.url, 'little', { distributed: true })).toMatchObject({ status: 200, text: shared.text })
  expect(s.told('cluster formed')).toHaveLength(1)
  // Without that wish it runs alone.
  expect(await chat(s.url, 'little')).toMatchObject({ status: 200, text: shared.text })
  expect(s.told('model started')).toMatchObject([{ model: 'little:latest' }])
})

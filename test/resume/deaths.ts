import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DialectName } from '../campaign/formats.ts'
import { startFaultProxy, type FaultProxy } from '../campaign/fault-proxy.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { Installation, statusOf, until, type Gateway, type Part } from '../support/drover.ts'
import { startLlamaServer, type LlamaServer } from '../support/llama-server.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { reading, type Read } from './reading.ts'

/** What is done to the node that answers. */
export type Death = 'worker' | 'engine' | 'freeze' | 'cut'
/** What must become of the answer: three rungs of the ladder, and the honest error below them. */
export type Wanted = 'continue' | 'replay' | 'restart' | 'error'

/** Long enough that there is time to die in the middle. */
const TOKENS = 320
/** What is asked at most is the half of a context. */
const CONTEXT = 2048
/**
 * Tokens that are read together are not computed as those that are made one by one, and a prompt that is remembered in part not as one that is not.
 * With half precision the difference decides between two words that are nearly as likely once in some thousand tokens.
 */
const EXACT = ['-ctk', 'f32', '-ctv', 'f32', '-fa', 'off', '--no-cache-prompt']

interface Node {
  name: string
  server: LlamaServer
  worker: Part
  link: FaultProxy
}

/** A gateway and two nodes with the same model, each a real llama-server behind a worker; what dies is replaced. */
export class RealSite {
  #redis: RedisServer
  #installation: Installation
  readonly gateway: Gateway
  #folder: string
  #nodes: Node[] = []
  #made = 0

  private constructor(redis: RedisServer, installation: Installation, gateway: Gateway, folder: string) {
    this.#redis = redis
    this.#installation = installation
    this.gateway = gateway
    this.#folder = folder
  }

  static async open(): Promise<RealSite> {
    const folder = await mkdtemp(join(tmpdir(), 'drover-deaths-'))
    await writeTinyModel({ path: join(folder, 'm.gguf'), layers: 4, embd: 512, heads: 8, ffn: 1024, context: CONTEXT, type: 'f32' })
    const redis = await startRedis({ tcp: true })
    const installation = new Installation(redis.url)
    const site = new RealSite(redis, installation, await installation.gateway(), folder)
    await site.fill()
    return site
  }

  /** Starts what is missing of the two nodes. */
  async fill(): Promise<void> {
    while (this.#nodes.length < 2) {
      const name = `n${(this.#made += 1)}`
      const link = await startFaultProxy(Number(new URL(this.#redis.url).port))
      const server = await startLlamaServer({ model: join(this.#folder, 'm.gguf'), alias: 'm', ctx: CONTEXT, extraArgs: EXACT })
      const worker = await this.#installation.worker(name, [{ url: server.url, kind: 'llama-server' }], {
        env: { DROVER_REDIS_URL: `redis://127.0.0.1:${link.port}` },
        gateway: this.gateway,
      })
      this.#nodes.push({ name, server, worker, link })
      await until('it is known how the model continues', async () =>
        (await statusOf(this.gateway.url)).nodes.some(({ id, engines }) => id === name && engines.some(({ models }) => models.some((model) => 'continues' in model))))
    }
  }

  #remove(node: Node): void {
    this.#nodes = this.#nodes.filter((each) => each !== node)
    node.link.close()
  }

  /** The node that runs something. */
  async busy(): Promise<Node> {
    let found: Node | undefined
    await until('a node runs it', async () => {
      const { nodes } = await statusOf(this.gateway.url)
      const busy = nodes.find(({ engines }) => engines.some(({ models }) => models.some(({ busy: count }) => count > 0)))
      found = this.#nodes.find(({ name }) => name === busy?.id)
      return found !== undefined
    })
    return found!
  }

  /** To the engines of both nodes. */
  engines(signal: NodeJS.Signals): void {
    for (const { server } of this.#nodes) server.signal(signal)
  }

  node(name: string): Node {
    const node = this.#nodes.find((each) => each.name === name)
    if (!node) throw new Error(`there is no node ${name}`)
    return node
  }

  other(node: Node): Node {
    return this.#nodes.find((each) => each !== node)!
  }

  async kill(node: Node, death: Death): Promise<() => Promise<void>> {
    switch (death) {
      case 'worker': {
        node.worker.signal('SIGKILL')
        return async () => {
          await node.worker.exited
          await node.server.stop()
          this.#remove(node)
          await this.fill()
        }
      }
      case 'engine': {
        node.server.signal('SIGKILL')
        return async () => {
          await node.server.stop()
          await node.worker.stop()
          this.#remove(node)
          await this.fill()
        }
      }
      case 'freeze': {
        node.worker.signal('SIGSTOP')
        const since = performance.now()
        return async () => {
          await sleep(Math.max(0, 20_000 - (performance.now() - since)))
          node.worker.signal('SIGCONT')
          await this.#working(node)
        }
      }
      case 'cut': {
        await node.link.set({ stopped: 'both' })
        return async () => {
          await node.link.set({})
          await this.#working(node)
        }
      }
      default:
        return death satisfies never
    }
  }

  /** It is back, and its engine idle. */
  async #working(node: Node): Promise<void> {
    await until(`${node.name} is back`, async () => (await statusOf(this.gateway.url)).nodes.some(({ id }) => id === node.name), 30_000)
  }

  /** Nothing runs anywhere: no slot of a node, none of an engine. */
  async settled(): Promise<void> {
    await until('no slot is busy', async () => {
      const { nodes, lanes } = await statusOf(this.gateway.url)
      const engines = await Promise.all(this.#nodes.map(({ server }) => metric(server, 'requests_processing')))
      return (
        nodes.every((node) => node.engines.every(({ models }) => models.every(({ busy }) => busy === 0))) &&
        lanes.every(({ waiting, running }) => waiting + running === 0) &&
        engines.every((count) => count === 0)
      )
    }, 30_000)
  }

  async close(): Promise<void> {
    await this.#installation.stop()
    await Promise.all(this.#nodes.map(({ server }) => server.stop()))
    for (const { link } of this.#nodes) link.close()
    await this.#redis.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/** A number that the engine counts itself. */
const metric = async (server: LlamaServer, name: string): Promise<number> => {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  return Number(new RegExp(`^llamacpp:${name} (\\S+)$`, 'm').exec(text)?.[1])
}

/** How often an answer went on so, as the gateway counts. */
export const resumed = async (url: string, rung: string): Promise<number> => {
  const text = await (await fetch(`${url}/metrics`)).text()
  return [...text.matchAll(new RegExp(`resumed_total\\{[^}]*rung="${rung}"[^}]*\\} (\\d+)`, 'g'))].reduce((sum, [, count]) => sum + Number(count), 0)
}

/** One fault in mid-answer, and everything that can be said of it afterwards. */
export interface Story {
  dialect: DialectName
  death: Death
  wanted: Wanted
  read: Read
  undisturbed: Read
  /** How often each way was taken. */
  rungs: Record<Exclude<Wanted, 'error'>, number>
  /** Tokens that the second engine made, by its own count (absent where it was stopped before), and that the whole answer has. */
  made: number | undefined
  whole: number
  /** From the fault to the next text. */
  gapMs: number
}

const SCHEMA = { type: 'object', properties: { a: { type: 'string' }, b: { type: 'array', items: { type: 'number' }, minItems: 40 } }, required: ['a', 'b'] }

const bodyOf = (dialect: DialectName, prompt: string, wanted: Wanted): string => {
  const bound = wanted === 'replay' || wanted === 'error'
  const temperature = wanted === 'error' ? 1 : 0
  const messages = [{ role: 'user', content: prompt }]
  switch (dialect) {
    case 'ollama.chat':
    case 'ollama.generate':
      return JSON.stringify({ model: 'm', ...(dialect === 'ollama.chat' ? { messages } : { prompt }), ...(bound && { format: SCHEMA }), options: { temperature, num_predict: TOKENS } })
    case 'openai.chat':
      return JSON.stringify({ model: 'm', stream: true, stream_options: { include_usage: true }, messages, temperature, max_tokens: TOKENS, ...(bound && { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: SCHEMA } } }) })
    case 'anthropic.messages':
      return JSON.stringify({ model: 'm', stream: true, messages, temperature, max_tokens: TOKENS, ...(bound && { output_config: { format: { type: 'json_schema', schema: SCHEMA } } }) })
    default:
      throw new Error(`${dialect} is not asked here`)
  }
}

export const ASKED: readonly DialectName[] = ['ollama.chat', 'ollama.generate', 'openai.chat', 'anthropic.messages']

/** Asks, lets the node die in the middle of its answer (before its first word for `restart`), and waits for what comes of it. */
export const tell = async (site: RealSite, dialect: DialectName, death: Death, wanted: Wanted, place: number): Promise<Story> => {
  const { url } = site.gateway
  const body = bodyOf(dialect, `Tell of number ${place}.`, wanted)
  const undisturbed = await reading(url, dialect, body).told
  const before = { continue: await resumed(url, 'continue'), replay: await resumed(url, 'replay'), restart: await resumed(url, 'restart') }
  // An engine that stands still says nothing before its node dies.
  if (wanted === 'restart') site.engines('SIGSTOP')
  const asking = reading(url, dialect, body)
  let node: Node
  if (wanted === 'restart') node = await site.busy()
  else {
    await asking.chars(40 + ((place * 137) % Math.max(1, Math.floor(undisturbed.text.length / 2))))
    node = site.node(String((await asking.head)['x-drover-node']))
  }
  const successor = site.other(node)
  const count = wanted === 'restart' ? undefined : await metric(successor.server, 'tokens_predicted_total')
  const heal = await site.kill(node, death)
  if (wanted === 'restart') site.engines('SIGCONT')
  const read = await asking.told
  await until('the engine has counted', async () => (await metric(successor.server, 'requests_processing')) === 0)
  const made = count === undefined ? undefined : (await metric(successor.server, 'tokens_predicted_total')) - count
  await heal()
  await site.settled()
  const rungs = {
    continue: (await resumed(url, 'continue')) - before.continue,
    replay: (await resumed(url, 'replay')) - before.replay,
    restart: (await resumed(url, 'restart')) - before.restart,
  }
  return { dialect, death, wanted, read, undisturbed, rungs, made, whole: TOKENS, gapMs: read.gapMs }
}

const difference = (text: string, wanted: string): string => {
  let at = 0
  while (text[at] !== undefined && text[at] === wanted[at]) at += 1
  const near = (each: string) => JSON.stringify(each.slice(Math.max(0, at - 24), at + 24))
  return `from character ${at} of ${wanted.length} on another text than undisturbed: ${near(text)} instead of ${near(wanted)}`
}

/** What is wrong with a story; '' for nothing. */
export const fault = ({ wanted, read, undisturbed, rungs, made, whole, gapMs }: Story): string => {
  const wrong: string[] = []
  if (undisturbed.error !== undefined || !undisturbed.ended) wrong.push(`undisturbed: ${undisturbed.error ?? 'cut'}`)
  if (wanted === 'error') {
    if (read.ended || read.error === undefined) wrong.push('no honest error')
    return wrong.join('; ')
  }
  if (read.error !== undefined || !read.ended) wrong.push(`ended with ${read.error ?? 'nothing'}`)
  if (read.text !== undisturbed.text) wrong.push(difference(read.text, undisturbed.text))
  // A restart of what nobody has read is none that readers are told of.
  if (wanted !== 'restart' && rungs[wanted] !== 1) wrong.push(`rungs ${JSON.stringify(rungs)}`)
  if (wanted === 'continue' && !(made !== undefined && made < whole - 8)) wrong.push(`the second engine made ${made} of ${whole} tokens`)
  if (gapMs > 5_000) wrong.push(`a gap of ${Math.round(gapMs)} ms`)
  return wrong.join('; ')
}

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PlanWish } from '@drover/core'
import { memoryNeeded } from '../../libs/engines/src/supervised/memory.ts'
import type { ModelFile } from '../../libs/engines/src/supervised/model-files.ts'
import { bodyOf, type DialectName } from '../campaign/formats.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { reading, type Read, type Reading } from '../resume/reading.ts'
import { statusOf, until, type Environment, type Gateway } from '../support/drover.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { skipsWithoutRpcServer } from '../support/rpc-server.ts'
import { openMachines, type Machine, type Machines } from './machines.ts'
import { memoryFor, modelFileAt, type Memory } from './sizes.ts'

/** For `test.skipIf(...)`: as `skipsWithoutLlamaServer`. */
export const skipsWithoutCluster = (): boolean => skipsWithoutLlamaServer() || skipsWithoutRpcServer()

/** The model that no machine has memory for; its file is `large.gguf`. */
export const LARGE = 'large:latest'
export const SIZES = { layers: 12, embd: 512, heads: 4, ffn: 1_536, vocab: 4_000, context: 2_048, seed: 4, type: 'f32' } as const
export const CONTEXT = 768
export const SLOTS = 2

export interface StageMachine {
  name: string
  /** Whether it has the model's file, and so may coordinate. */
  holds?: boolean
  env?: Environment
  /** What is done before its worker starts; resolves with the URLs of engines of that machine. */
  prepare?(machine: Machine, file: ModelFile): Promise<string[]>
}

export interface StageOptions {
  machines: readonly StageMachine[]
  /** On so many of them the model just fits. */
  needed: number
  /**
   * Text that is read together is not computed as that which is made one by one; with half precision the difference decides between two
   * words that are nearly as likely once in some thousand tokens. Exact: with full precision throughout.
   */
  exact?: boolean
  /** Of every worker. */
  env?: Environment
  gatewayEnv?: Environment
}

/** What `GET /api/clusters` tells of one. */
export interface ShownCluster {
  model: string
  coordinator: string
  state: 'forming' | 'ready' | 'ending'
  members: { node: string; device: string; from: number; to: number; layers: number; output: boolean; weights: number; kv: number; compute: number; total: number }[]
  slots: number
  context_length: number
  tokens_per_second: number | null
  since: string
}

export interface Stage {
  machines: Machines
  gateway: Gateway
  file: ModelFile
  memory: Memory
  wish: PlanWish
  clusters(): Promise<ShownCluster[]>
  /** The cluster of the model once it is ready. */
  ready(): Promise<ShownCluster>
  /** Asks the model, streamed and at temperature 0. */
  ask(dialect: DialectName, prompt: string, tokens: number, url?: string): Reading
  /** What a plain llama-server says to these prompts, run alone on this machine with the same flags. */
  undisturbed(prompts: readonly string[], tokens: number): Promise<string[]>
  close(): Promise<void>
}

export const clustersOf = async (url: string): Promise<ShownCluster[]> => ((await (await fetch(`${url}/api/clusters`)).json()) as { clusters: ShownCluster[] }).clusters

export const bodyFor = (model: string, dialect: DialectName, prompt: string, tokens: number): string => bodyOf(dialect, { model, prompt, stream: true, sampling: 'zero', limit: tokens })

/** What llama-server is told besides, by hand and through the settings of a worker. */
const flagsOf = (exact: boolean) => (exact ? ['-fa', 'off', '-ctk', 'f32', '-ctv', 'f32'] : ['-fa', 'on', '-ctk', 'f16', '-ctv', 'f16'])

/** Its text to each prompt, one after the other. @throws Error when one does not end well */
export const textsOf = async (url: string, model: string, prompts: readonly string[], tokens: number): Promise<string[]> => {
  const texts: string[] = []
  for (const prompt of prompts) {
    const { text, ended, error } = await reading(url, 'openai.chat', bodyFor(model, 'openai.chat', prompt, tokens)).told
    if (!ended) throw new Error(`the answer to ${prompt} ended with ${error ?? 'nothing'}`)
    texts.push(text)
  }
  return texts
}

/** A gateway and machines that have one model among them, which is too large for each. All their workers run when it is open. */
export const openStage = async ({ machines: wanted, needed, exact = false, env = {}, gatewayEnv = {} }: StageOptions): Promise<Stage> => {
  const source = await mkdtemp(join(tmpdir(), 'drover-large-'))
  const removeSource = () => rm(source, { recursive: true, force: true })
  let machines: Machines | undefined
  try {
    const path = join(source, 'large.gguf')
    await writeTinyModel({ path, ...SIZES })
    const file = await modelFileAt(path)
    const wish: PlanWish = { slots: SLOTS, context: CONTEXT, ...(exact && { kvType: 'f32' as const, flashAttention: false }) }
    const memory = memoryFor(file.facts.shape, wish, needed)
    if (memoryNeeded(file, { slots: SLOTS, ctx: CONTEXT }) <= memory.own) throw new Error('the model would fit on one machine')
    const common: Environment = {
      DROVER_LEND_MEMORY: String(memory.lent), DROVER_NUM_CTX: String(CONTEXT), DROVER_LLAMA_SLOTS: String(SLOTS), LLAMA_ARG_CACHE_PROMPT: '0',
      ...(exact && { DROVER_CLUSTER_MODELS: JSON.stringify({ [LARGE]: { kv_type: 'f32', flash_attention: false } }) }),
      ...env,
    }
    machines = await openMachines(wanted.map((each) => ({ name: each.name, memory: memory.own, env: { ...common, ...each.env } })))
    const { drover, all } = machines
    await Promise.all(wanted.map(({ name, holds }) => holds && copyFile(path, join(machines!.named(name).folder, 'large.gguf'))))
    const gateway = await drover.gateway(gatewayEnv)
    for (const { name, prepare } of wanted) {
      const machine = machines.named(name)
      await machine.work(await prepare?.(machine, file))
    }
    const { url } = gateway
    const holders = wanted.filter(({ holds, prepare }) => holds || prepare).map(({ name }) => name)
    await until('every machine lends, and those with the file would coordinate', async () => {
      const { nodes, distributed_inference: told } = await statusOf(url)
      const ready = new Set(nodes.filter(({ engines }) => engines.some(({ layout, models }) => layout === 'cluster' && models.length > 0)).map(({ id }) => id))
      return told.lenders.length === all.length && holders.every((name) => ready.has(name))
    })
    const stage: Stage = {
      machines, gateway, file, memory, wish,
      clusters: () => clustersOf(url),
      async ready() {
        let found: ShownCluster | undefined
        await until('the cluster is ready', async () => {
          found = (await clustersOf(url)).find(({ model, state }) => model === LARGE && state === 'ready')
          return found !== undefined
        }, 60_000)
        return found!
      },
      ask: (dialect, prompt, tokens, at = url) => reading(at, dialect, bodyFor(LARGE, dialect, prompt, tokens)),
      async undisturbed(prompts, tokens) {
        const server = await startLlamaServer({ model: path, alias: 'large', slots: SLOTS, ctx: CONTEXT, extraArgs: [...flagsOf(exact), '--no-cache-prompt'] })
        return textsOf(server.url, 'large', prompts, tokens).finally(() => server.stop())
      },
      async close() {
        await machines?.close()
        await removeSource()
      },
    }
    return stage
  } catch (error) {
    await machines?.close()
    await removeSource()
    throw error
  }
}

/** How an answer ended, for an expectation that tells all of it. */
export const ending = ({ status, ended, error, text }: Read) => ({ status, ended, error, text })

/** Of a text that came whole. */
export const whole = (text: string) => ({ status: 200, ended: true, error: undefined, text })

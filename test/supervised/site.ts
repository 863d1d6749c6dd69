import { cp, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeTinyModel, type TinyModelOptions } from '../gguf/tiny-model.ts'
import { statusOf, until, type Environment, type Gateway, type Installation, type Part } from '../support/drover.ts'
import { llamaServerPath } from '../support/llama-server.ts'

export const SMALL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

/** A worker over a models folder of its own, and a gateway before it. */
export interface Site {
  url: string
  folder: string
  gateway: Gateway
  worker: Part
  put(name: string, options?: Omit<TinyModelOptions, 'path'>): Promise<void>
  /** Process ids of this worker's llama-servers. */
  servers(): Promise<number[]>
  /** Lines of the worker's log with this message. */
  told(message: string): Record<string, unknown>[]
  holds(model: string): Promise<boolean>
  loaded(): Promise<string[]>
}

/** Living processes whose command line has a text in it. */
export const running = async (text: string, counts: (line: string) => boolean = () => true): Promise<number[]> => {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(ids.map((id) => readFile(join('/proc', id, 'cmdline'), 'utf8').catch(() => '')))
  return ids.filter((_, i) => lines[i]?.includes(text) && counts(lines[i])).map(Number)
}

export const modelsFolder = async (onCleanup: (fn: () => Promise<void>) => void): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-models-'))
  onCleanup(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export const copySmall = (folder: string, name: string): Promise<void> => cp(SMALL, join(folder, name))

export const openSite = async (drover: Installation, folder: string, env: Environment = {}, engines: string[] = []): Promise<Site> => {
  const gateway = await drover.gateway()
  const worker = await drover.worker('own', engines, {
    // Threads of llama.cpp wait for each other by spinning, which on busy cores takes a hundred times as long.
    env: { DROVER_MODELS_DIR: folder, DROVER_LLAMA_SERVER: llamaServerPath() ?? 'llama-server', LLAMA_ARG_THREADS: '1', DROVER_NUM_CTX: '512', ...env },
    gateway,
  })
  const models = async () => (await statusOf(gateway.url)).nodes.flatMap((node) => node.engines.flatMap((engine) => engine.models))
  const site: Site = {
    url: gateway.url,
    folder,
    gateway,
    worker,
    put: (name, options) => writeTinyModel({ path: join(folder, name), ...options }),
    // The watch of each has the command line of the shell that it was forked from.
    servers: () => running(folder, (line) => !line.startsWith('/bin/sh')),
    told: (message) =>
      worker.log().split('\n').flatMap((line) => {
        const entry = line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {}
        return entry['msg'] === message ? [entry] : []
      }),
    holds: async (model) => (await models()).some((each) => each.model === model),
    loaded: async () => (await models()).filter((each) => each.loaded).map((each) => each.model),
  }
  return site
}

/** A limit on an answer's length, in the words of a dialect. */
export const atMost = (dialect: string, tokens: number): Record<string, unknown> =>
  dialect === 'openai.chat' ? { max_tokens: tokens } : { options: { num_predict: tokens } }

export const untilHeld = (site: Site, model: string): Promise<void> => until(`${model} is held`, () => site.holds(model))

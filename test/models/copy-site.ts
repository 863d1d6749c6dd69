import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { LibraryModel } from '../engine/library.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { makeStore } from '../engine/store.ts'
import { statusOf, until, type Environment, type Gateway, type Installation, type Part } from '../support/drover.ts'
import type { StartScripted } from '../support/world.ts'
import { streamedLines, type Line } from './site.ts'

/** A node whose Ollama keeps its models in a folder of its own. */
export interface StoreNode {
  name: string
  folder: string
  engine: ScriptedEngine
  worker: Part
  /** Starts its worker once more, behind the end of the one before. */
  again(): Promise<void>
}

/** A folder that goes with the test. */
export const temporary = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-copies-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** @param fill puts models into the node's folder before anybody looks */
export const storeNode = async (
  { drover, scripted }: { drover: Installation; scripted: StartScripted },
  name: string,
  { env = {}, library = [], fill }: { env?: Environment; library?: LibraryModel[]; fill?(folder: string): Promise<unknown> } = {},
): Promise<StoreNode> => {
  const folder = await temporary()
  await makeStore(folder)
  await fill?.(folder)
  const engine = await scripted({ models: [], store: folder, library })
  const start = () => drover.worker(name, [engine.url], { env: { OLLAMA_MODELS: folder, ...env } })
  const node: StoreNode = {
    name, folder, engine,
    worker: await start(),
    async again() {
      node.worker = await start()
    },
  }
  return node
}

/** Resolves when the gateway knows that exactly these nodes hold a model. */
export const held = (gateway: Gateway, model: string, ...names: string[]): Promise<void> =>
  until(`${model} is held by ${names.join(', ') || 'nobody'}`, async () => {
    const { nodes } = await statusOf(gateway.url)
    return nodes.filter(({ engines }) => engines.some(({ models }) => models.some((each) => each.model === model))).map(({ id }) => id).toSorted().join() === names.toSorted().join()
  })

export const transferLines = (url: string, body: object) => streamedLines(url, '/api/transfer', body)

export const sizeOf = (path: string): Promise<number> => stat(path).then(({ size }) => size, () => 0)

/** What a worker has logged of copies, one object each. */
export const copiesIn = (worker: Part): { model: string; from: string; bytes: number }[] =>
  worker.log().split('\n').filter((line) => line.includes('"model copied"')).map((line) => JSON.parse(line) as { model: string; from: string; bytes: number })

/** All files of a model in two folders are the same. */
export const areSame = async (folder: string, other: string, digests: readonly string[], manifest: string): Promise<boolean> => {
  const paths = [...digests.map((digest) => `blobs/sha256-${digest}`), `manifests/registry.ollama.ai/library/${manifest}`]
  const pairs = await Promise.all(paths.map(async (path) => [await readFile(join(folder, path)), await readFile(join(other, path))] as const))
  return pairs.every(([one, two]) => one.equals(two))
}

export const progressOf = (lines: readonly Line[]): number => Math.max(0, ...lines.map(({ completed = 0 }) => completed))

import type { ModelName } from '@drover/core'
import { FileDigests, GgufFolder, OllamaFolder } from '@drover/engines'
import type { EngineSeat } from './engine-seat.ts'
import type { CopyDescription } from './description.ts'

export interface FilesHereOptions {
  /** Engines of this node that are there. */
  seats(): Iterable<EngineSeat>
  /** Where an Ollama of this machine may keep its models. */
  stores: readonly string[]
  /** Folder of GGUF files; absent: none. */
  folder: string | undefined
}

/** The files behind the models of this node, for others to copy. */
export class FilesHere {
  #options: FilesHereOptions
  #digests = new FileDigests()
  /** Of what was described. */
  #paths = new Map<string, { path: string; size: number }>()

  constructor(options: FilesHereOptions) {
    this.#options = options
  }

  /** `undefined`: no engine of this node holds it, or its files cannot be read. The digest of a file is worked out when it is asked for first. */
  async describe(model: ModelName): Promise<CopyDescription | undefined> {
    const { seats, stores, folder } = this.#options
    const kinds = new Set([...seats()].filter(({ engine, view }) => engine.layout !== 'cluster' && view.held.some((held) => held.model === model)).map(({ engine }) => engine.kind))
    if (kinds.has('ollama')) {
      for (const root of stores) {
        const store = new OllamaFolder(root)
        const found = await store.read(model).catch(() => undefined)
        if (!found) continue
        for (const { digest, size } of found.blobs) this.#paths.set(digest, { path: store.pathOf(digest), size })
        return { model, kind: 'ollama', manifest: found.manifest, files: found.blobs }
      }
    }
    if (!kinds.has('llama-server') || folder === undefined) return undefined
    const files: CopyDescription['files'] = []
    for (const { name, path, size } of await new GgufFolder(folder).read(model).catch(() => [])) {
      const digest = await this.#digests.of(path)
      this.#paths.set(digest, { path, size })
      files.push({ name, digest, size })
    }
    return files.length === 0 ? undefined : { model, kind: 'gguf', files }
  }

  /** Of a file that was described before. */
  find(digest: string): { path: string; size: number } | undefined {
    return this.#paths.get(digest)
  }
}

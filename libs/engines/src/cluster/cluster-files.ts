import type { ModelName } from '@drover/core'
import { ggufFilesIn, modelFiles } from '../supervised/model-files.ts'
import type { ModelFile } from '../supervised/model-files.ts'
import { ollamaStore } from './ollama-store.ts'

export interface ClusterFilesOptions {
  /** Folder of GGUF files; absent: none. */
  folder: string | undefined
  /** Stores of Ollama on this machine: the blob behind a model is its file. */
  stores: readonly string[]
  onLeftOut(model: string, reason: string): void
}

/** The model files of this machine that could be run over several nodes. Of two with one name that of the folder counts. */
export const clusterFiles = ({ folder, stores, onLeftOut }: ClusterFilesOptions): (() => Promise<ModelFile[]>) => {
  // The engine that runs the folder's models tells what it leaves out.
  const inFolder = folder === undefined ? async () => [] : modelFiles(() => ggufFilesIn(folder), () => undefined)
  const stored = ollamaStore(stores, onLeftOut)
  let paths: string[] = []
  const blobs = modelFiles(async () => paths, onLeftOut)

  return async () => {
    const models = new Map<ModelName, ModelFile>()
    const kept = await stored()
    paths = [...new Set(kept.map(({ path }) => path))]
    const byPath = new Map((paths.length > 0 ? await blobs() : []).map((file) => [file.path, file]))
    for (const { model, path, modifiedAt } of kept) {
      const file = byPath.get(path)
      if (file) models.set(model, { ...file, model, modifiedAt })
    }
    for (const file of await inFolder().catch(() => [])) models.set(file.model, file)
    return [...models.values()]
  }
}

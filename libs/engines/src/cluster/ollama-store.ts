import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { canonicalName } from '@drover/core'
import type { ModelName } from '@drover/core'
import { z } from 'zod'

/** A model of an Ollama on this machine: the blob behind it is a GGUF file. */
export interface StoredModel {
  /** As Ollama calls it. */
  model: ModelName
  path: string
  /** Of the blob, 64 hex digits. */
  digest: string
  /** RFC 3339: when Ollama was given it. */
  modifiedAt: string
}

const MODEL = 'application/vnd.ollama.image.model'
/** Layers that make of a model what its file alone is not. */
const NOT_ALONE: Readonly<Record<string, string>> = {
  'application/vnd.ollama.image.projector': 'reads images with a projector, a file of its own',
  'application/vnd.ollama.image.adapter': 'has an adapter, a file of its own',
}

type Blob = Pick<StoredModel, 'path' | 'digest'>

/** A digest is part of a path: nothing but this form. */
export const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)
const Manifest = z.object({ layers: z.array(z.object({ mediaType: z.string(), digest: Digest })).max(64) })

/** A manifest is a few hundred bytes. */
export const MANIFEST_BYTES = 64 * 1024

/** Where Ollama keeps its models: where `OLLAMA_MODELS` says, in its user's home, or where its service has them on Linux. */
export const ollamaFolders = (named: string | undefined, home = homedir()): string[] =>
  named === undefined ? [join(home, '.ollama', 'models'), '/usr/share/ollama/.ollama/models', '/var/lib/ollama/models'] : [named]

/**
 * The models in the stores of Ollama at `folders`, looked for whenever somebody wants to know. What is not simply one GGUF file is left
 * out, and `onLeftOut` hears of it once for each reason; a store that cannot be read holds nothing.
 */
export const ollamaStore = (folders: readonly string[], onLeftOut: (model: ModelName, reason: string) => void) => {
  const told = new Set<string>()
  const known = new Map<string, { stamp: string; found: Blob | string }>()

  const leaveOut = (model: ModelName, reason: string): void => {
    if (!told.has(model + reason)) onLeftOut(model, reason)
    told.add(model + reason)
  }

  return async (): Promise<StoredModel[]> => {
    const models = new Map<ModelName, StoredModel>()
    const seen = new Set<string>()
    for (const folder of folders) {
      for (const { model, path } of await manifestsIn(join(folder, 'manifests'))) {
        const file = await stat(path).catch(() => undefined)
        if (!file?.isFile() || file.size > MANIFEST_BYTES || models.has(model)) continue
        seen.add(path)
        const stamp = `${file.mtimeMs} ${file.size}`
        const before = known.get(path)
        const found = before?.stamp === stamp ? before.found : await blobOf(folder, path).catch(() => undefined)
        if (found === undefined) continue
        known.set(path, { stamp, found })
        if (typeof found === 'string') leaveOut(model, found)
        else models.set(model, { model, ...found, modifiedAt: file.mtime.toISOString() })
      }
    }
    for (const path of known.keys()) if (!seen.has(path)) known.delete(path)
    return [...models.values()]
  }
}

/** The blob that a manifest names, or why it is left out. */
const blobOf = async (folder: string, manifestPath: string): Promise<Blob | string> => {
  const manifest = Manifest.safeParse(jsonOf(await readFile(manifestPath, 'utf8')))
  if (!manifest.success) return 'its manifest cannot be read'
  const layer = weightsIn(manifest.data.layers)
  if (typeof layer === 'string') return layer
  const digest = layer.digest.slice('sha256:'.length)
  return { path: join(folder, 'blobs', `sha256-${digest}`), digest }
}

/** The layer that is the whole model as one GGUF file, or why there is none. */
export const weightsIn = <L extends { mediaType: string }>(layers: readonly L[]): L | string => {
  for (const { mediaType } of layers) if (NOT_ALONE[mediaType]) return NOT_ALONE[mediaType]
  const [layer, ...more] = layers.filter(({ mediaType }) => mediaType === MODEL)
  return layer && more.length === 0 ? layer : `its weights lie in ${more.length + (layer ? 1 : 0)} files`
}

/** Manifests lie at `HOST/NAMESPACE/MODEL/TAG`; what is not called as a model is none. */
export const manifestsIn = async (root: string): Promise<{ model: ModelName; path: string }[]> => {
  let folders = [root]
  for (let depth = 0; depth < 3; depth += 1) folders = (await Promise.all(folders.map(foldersIn))).flat()
  const files = await Promise.all(folders.map(async (folder) => (await entriesOf(folder)).filter((entry) => entry.isFile()).map(({ name }) => join(folder, name))))
  return files.flat().flatMap((path) => {
    const [host = '', namespace = '', name = ''] = path.slice(root.length + 1).split(/[/\\]/)
    const model = canonicalName(`${host}/${namespace}/${name}:${basename(path)}`)
    return model === undefined ? [] : [{ model, path }]
  })
}

const entriesOf = (folder: string) => readdir(folder, { withFileTypes: true }).catch(() => [])
/** Not by links: they may lead round and round. */
const foldersIn = async (folder: string): Promise<string[]> => (await entriesOf(folder)).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))

export const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

import { randomBytes } from 'node:crypto'
import { access, constants, mkdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { BrokerError, nameParts, type ModelName } from '@drover/core'
import { z } from 'zod'
import { Digest, jsonOf, MANIFEST_BYTES, manifestsIn, weightsIn } from '../cluster/ollama-store.ts'
import { removeOld } from './remove-old.ts'

const Layer = z.object({ mediaType: z.string(), digest: Digest, size: z.int().min(0) })
const Manifest = z.object({ config: Layer, layers: z.array(Layer).max(64) })

/** A file that is known by its content. */
export interface Blob {
  /** SHA-256, 64 hex digits. */
  digest: string
  /** Bytes. */
  size: number
}

/** What Ollama keeps of a model: its manifest, as it is written, and the blobs that this names. */
export interface OllamaModel {
  manifest: string
  blobs: Blob[]
  /** The one that is a GGUF file with all of its weights; a reason, where there is none. */
  weights: Blob | string
}

/** @throws BrokerError `engine_failed` for what is no manifest of a model */
export const readManifest = (text: string): OllamaModel => {
  const parsed = Manifest.safeParse(jsonOf(text))
  if (text.length > MANIFEST_BYTES || !parsed.success) throw new BrokerError('engine_failed', 'the manifest cannot be read')
  const { config, layers } = parsed.data
  const blobs = new Map([config, ...layers].map(({ digest, size }) => [digest, { digest: digest.slice('sha256:'.length), size }]))
  const weights = weightsIn(layers)
  return { manifest: text, blobs: [...blobs.values()], weights: typeof weights === 'string' ? weights : blobs.get(weights.digest)! }
}

/** A folder where an Ollama keeps its models: reads what is in it, and adds to it as Ollama itself would. */
export class OllamaFolder {
  readonly root: string

  constructor(root: string) {
    this.root = root
  }

  /** By name, where each manifest lies. */
  async models(): Promise<Map<ModelName, string>> {
    return new Map((await manifestsIn(join(this.root, 'manifests'))).map(({ model, path }) => [model, path]))
  }

  /** Whether models can be added to it. */
  async isWritable(): Promise<boolean> {
    const folders = ['manifests', 'blobs'].map((name) => join(this.root, name))
    return Promise.all(folders.map((folder) => access(folder, constants.W_OK))).then(() => true, () => false)
  }

  /** `undefined`: it is not here, or not whole. */
  async read(model: ModelName): Promise<OllamaModel | undefined> {
    const path = (await this.models()).get(model)
    if (path === undefined) return undefined
    const found = readManifest(await readFile(path, 'utf8'))
    const all = await Promise.all(found.blobs.map((blob) => this.has(blob)))
    return all.every(Boolean) ? found : undefined
  }

  /** A link that leads out of the folder is no blob. */
  async has({ digest, size }: Blob): Promise<boolean> {
    const path = this.pathOf(digest)
    const found = await stat(path).catch(() => undefined)
    return found?.isFile() === true && found.size === size && isInside(dirname(path), path)
  }

  /** Where a blob lies. */
  pathOf(digest: string): string {
    return join(this.root, 'blobs', `sha256-${Digest.parse(`sha256:${digest}`).slice('sha256:'.length)}`)
  }

  /** Where it lies until it is whole. An Ollama that starts anew throws it away. */
  partOf(digest: string): string {
    return `${this.pathOf(digest)}-drover`
  }

  /** Removes what has not become whole for a day. */
  async sweep(): Promise<void> {
    await removeOld(join(this.root, 'blobs'), (name) => /^sha256-[0-9a-f]{64}-drover$/.test(name))
  }

  /** From now on the model is here: all its blobs are. @throws Error the system's */
  async add(model: ModelName, manifest: string): Promise<void> {
    const { host, namespace, name, tag } = nameParts(model)
    const manifests = join(this.root, 'manifests')
    const path = (await this.models()).get(model) ?? join(manifests, host, namespace, name, tag)
    await mkdir(dirname(path), { recursive: true })
    if (!(await isInside(manifests, dirname(path)))) throw new BrokerError('engine_failed', `${dirname(path)} leads out of the folder of models`)
    // No model is looked for beside the hosts.
    const draft = join(manifests, `.drover-${randomBytes(8).toString('hex')}`)
    await writeFile(draft, manifest, { flag: 'wx', mode: 0o644 })
    await rename(draft, path)
  }
}

const isInside = async (folder: string, path: string): Promise<boolean> => {
  const [outer, inner] = await Promise.all([realpath(folder), realpath(path)])
  return inner.startsWith(`${outer}${sep}`)
}

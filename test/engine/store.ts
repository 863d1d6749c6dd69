import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { withTag } from './library.ts'

/** Layers and config of a model as Ollama's manifests have them. */
interface Layer {
  mediaType: string
  digest: string
  size: number
}

export interface KeptModel {
  name: string
  /** Of the manifest, 64 hex digits. */
  digest: string
  size: number
}

const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex')

const blobPath = (folder: string, digest: string): string => join(folder, 'blobs', `sha256-${digest.replace(/^sha256[:-]/, '')}`)

const libraryOf = (folder: string): string => join(folder, 'manifests', 'registry.ollama.ai', 'library')

const manifestPath = (folder: string, name: string): string => join(libraryOf(folder), ...withTag(name).split(':'))

/** The models of a folder, as an Ollama finds them: a manifest for each, whose blobs are all there. */
export const keptModels = async (folder: string): Promise<KeptModel[]> => {
  const names = await readdir(libraryOf(folder)).catch(() => [])
  const all = await Promise.all(
    names.map(async (name) =>
      Promise.all(
        (await readdir(join(libraryOf(folder), name))).map(async (tag) => {
          const text = await readFile(join(libraryOf(folder), name, tag), 'utf8')
          const { config, layers } = JSON.parse(text) as { config: Layer; layers: Layer[] }
          const blobs = [config, ...layers]
          const isWhole = blobs.every(({ digest, size }) => existsSync(blobPath(folder, digest)) && statSync(blobPath(folder, digest)).size === size)
          return isWhole ? [{ name: `${name}:${tag}`, digest: sha256(text), size: blobs.reduce((sum, { size }) => sum + size, 0) }] : []
        }),
      ),
    ),
  )
  return all.flat(2)
}

/** Puts a model into such a folder. @returns the digests of its blobs, the weights first */
export const keepModel = async (folder: string, name: string, weights: Buffer, more: Readonly<Record<string, string>> = {}): Promise<string[]> => {
  const blob = async (mediaType: string, bytes: Buffer): Promise<Layer> => {
    const digest = `sha256:${sha256(bytes)}`
    await writeFile(blobPath(folder, digest), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  await makeStore(folder)
  const layers = [await blob('application/vnd.ollama.image.model', weights)]
  for (const [type, text] of Object.entries(more)) layers.push(await blob(`application/vnd.ollama.image.${type}`, Buffer.from(text)))
  const config = await blob('application/vnd.docker.container.image.v1+json', Buffer.from(JSON.stringify({ model_format: 'gguf', name })))
  await keepManifest(folder, name, { config, layers })
  return [...layers, config].map(({ digest }) => digest.slice('sha256:'.length))
}

const keepManifest = async (folder: string, name: string, parts: { config: Layer; layers: Layer[] }): Promise<void> => {
  await mkdir(join(manifestPath(folder, name), '..'), { recursive: true })
  await writeFile(manifestPath(folder, name), JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.docker.distribution.manifest.v2+json', ...parts }))
}

/** A folder without a model, as an Ollama makes it when it starts. */
export const makeStore = async (folder: string): Promise<void> => {
  for (const name of ['blobs', 'manifests']) await mkdir(join(folder, name), { recursive: true })
}

export const writeBlob = (folder: string, bytes: Buffer): Promise<void> => writeFile(blobPath(folder, sha256(bytes)), bytes)

export const hasBlob = (folder: string, digest: string): boolean => existsSync(blobPath(folder, digest))

/** What an Ollama makes of a GGUF file that is a blob already. */
export const makeOf = async (folder: string, name: string, digest: string): Promise<void> => {
  const config = Buffer.from('{"model_format":"gguf"}')
  await writeFile(blobPath(folder, sha256(config)), config)
  await keepManifest(folder, name, {
    config: { mediaType: 'application/vnd.docker.container.image.v1+json', digest: `sha256:${sha256(config)}`, size: config.length },
    layers: [{ mediaType: 'application/vnd.ollama.image.model', digest, size: statSync(blobPath(folder, digest)).size }],
  })
}

export const dropModel = (folder: string, name: string): Promise<void> => rm(manifestPath(folder, name), { force: true })

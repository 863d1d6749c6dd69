import { access, constants, mkdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { ModelName } from '@drover/core'
import { nameOfFile } from '../model-file.ts'
import { removeOld } from './remove-old.ts'
import { ggufFilesIn } from '../supervised/model-files.ts'

/** A name of a file in this folder, and of nothing else. */
const FILE = /^[A-Za-z0-9_%@+][A-Za-z0-9_.%@+-]{0,200}\.gguf$/i

export interface GgufFile {
  name: string
  path: string
  /** Bytes. */
  size: number
}

/** What lies in it beside the models: files that are not whole yet. */
const INCOMING = '.incoming'

/** The name of a file that holds a model of this name, so that it has this name and no other. */
export const fileNameOf = (model: ModelName): string => `${encodeURIComponent(model.replace(/:latest$/, ''))}.gguf`

/** A folder of GGUF files, to read from and to add to. */
export class GgufFolder {
  readonly root: string

  constructor(root: string) {
    this.root = root
  }

  async isWritable(): Promise<boolean> {
    return access(this.root, constants.W_OK).then(() => true, () => false)
  }

  /** The files of a model, in order; none: it is not here. */
  async read(model: ModelName): Promise<GgufFile[]> {
    const paths = (await ggufFilesIn(this.root)).filter((path) => nameOfFile(path) === model)
    const files = await Promise.all(paths.map(async (path) => ({ name: basename(path), path, found: await stat(path).catch(() => undefined) })))
    return files.flatMap(({ name, path, found }) => (found?.isFile() ? [{ name, path, size: found.size }] : []))
  }

  /** Where a file of this name lies; `undefined` for what can be no name. */
  pathOf(name: string): string | undefined {
    return FILE.test(name) ? join(this.root, name) : undefined
  }

  /** Where it lies until it is whole. The digest keeps what is there of another file apart. */
  async partOf(name: string, digest: string): Promise<string> {
    const folder = join(this.root, INCOMING)
    await mkdir(folder, { recursive: true })
    return join(folder, `${digest.slice(0, 16)}-${name}`)
  }

  /** Removes what has not become whole for a day. */
  async sweep(): Promise<void> {
    await removeOld(join(this.root, INCOMING), () => true)
  }
}

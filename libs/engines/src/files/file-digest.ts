import { stat } from 'node:fs/promises'
import { GrowingDigest } from './growing-digest.ts'

/** Digests of files, each read once as long as it stays as it is. */
export class FileDigests {
  #known = new Map<string, { stamp: string; digest: Promise<string> }>()

  /** SHA-256, 64 hex digits; of a large file that takes minutes. @throws Error the system's */
  async of(path: string): Promise<string> {
    const { size, mtimeMs } = await stat(path)
    const stamp = `${size} ${mtimeMs}`
    const known = this.#known.get(path)
    if (known?.stamp === stamp) return known.digest
    const digest = digestOf(path, size)
    this.#known.set(path, { stamp, digest })
    digest.catch(() => this.#known.delete(path))
    return digest
  }
}

const digestOf = async (path: string, size: number): Promise<string> => {
  const digest = new GrowingDigest(path)
  return digest.whole(size).finally(() => digest.close())
}

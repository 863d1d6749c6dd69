import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { BrokerError, inGigabytes } from '@drover/core'

/** What nobody has used for this long is removed, ms. */
const UNUSED_MS = 3_600_000
const SWEEP_MS = 60_000
/** What is not whole yet. */
const DRAFT = '.draft-'

export interface BlobSpoolOptions {
  folder: string
  /** Most bytes of all blobs together. */
  most: number
  onError(error: unknown): void
}

export interface SpooledBlob {
  /** Bytes. */
  size: number
  read(): Readable
}

/** Blobs that clients have sent, on this gateway's disk until a model is made of them. A folder may be shared by several gateways. */
export class BlobSpool {
  #options: BlobSpoolOptions
  /** Bytes of what is coming in. */
  #coming = 0
  #timer: NodeJS.Timeout

  constructor(options: BlobSpoolOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.sweep().catch(options.onError), SWEEP_MS).unref()
  }

  /** @param digest SHA-256, 64 hex digits */
  async find(digest: string): Promise<SpooledBlob | undefined> {
    const path = this.#pathOf(digest)
    const found = await stat(path).catch(() => undefined)
    if (!found?.isFile()) return undefined
    const now = new Date()
    await utimes(path, now, now).catch(() => undefined)
    return { size: found.size, read: () => createReadStream(path, { highWaterMark: 1024 ** 2 }) }
  }

  /** Resolves when all of it is on the disk. @throws BrokerError `bad_request` in Ollama's words for another content; `body_too_large` where there is no room */
  async take(digest: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const { folder, most } = this.#options
    await mkdir(folder, { recursive: true })
    const kept = await this.#bytes()
    const draft = join(folder, `${DRAFT}${randomBytes(9).toString('base64url')}`)
    const file = await open(draft, 'wx', 0o600)
    const hash = createHash('sha256')
    let bytes = 0
    try {
      for await (const chunk of content) {
        bytes += chunk.length
        this.#coming += chunk.length
        if (kept + this.#coming > most) throw new BrokerError('body_too_large', `this gateway keeps ${inGigabytes(most)} of blobs at most, and there is no room left for this one`)
        hash.update(chunk)
        await file.writeFile(chunk)
      }
      const got = hash.digest('hex')
      if (got !== digest) throw new BrokerError('bad_request', `digest mismatch, expected "sha256:${digest}", got "sha256:${got}"`)
      await file.sync()
      await file.close()
      await rename(draft, this.#pathOf(digest))
    } catch (error) {
      await file.close().catch(() => undefined)
      await rm(draft, { force: true })
      throw error
    } finally {
      this.#coming -= bytes
    }
  }

  /** Removes what nobody has used for an hour. */
  async sweep(now = Date.now()): Promise<void> {
    for (const name of await this.#names()) {
      const path = join(this.#options.folder, name)
      const found = await stat(path).catch(() => undefined)
      if (found && now - found.mtimeMs > UNUSED_MS) await rm(path, { force: true })
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }

  async #bytes(): Promise<number> {
    const whole = (await this.#names()).filter((name) => !name.startsWith(DRAFT))
    const sizes = await Promise.all(whole.map((name) => stat(join(this.#options.folder, name)).then(({ size }) => size, () => 0)))
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  /** Only what this class has put there. */
  async #names(): Promise<string[]> {
    return (await readdir(this.#options.folder).catch(() => [])).filter((name) => name.startsWith(DRAFT) || /^sha256-[0-9a-f]{64}$/.test(name))
  }

  #pathOf(digest: string): string {
    if (!/^[0-9a-f]{64}$/.test(digest)) throw new TypeError('this is no digest')
    return join(this.#options.folder, `sha256-${digest}`)
  }
}

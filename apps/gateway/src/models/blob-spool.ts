import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, utimes, type FileHandle } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Readable } from 'node:stream'
import { BrokerError, inGigabytes } from '@drover/core'

/** What nobody has used for this long is removed, ms: a model of many large files takes hours to send. */
const UNUSED_MS = 24 * 3_600_000
/** The same of what is not whole: it grows while it is being sent. */
const STUCK_MS = 3_600_000
const SWEEP_MS = 60_000
/** Room that is asked for at once for what was not announced, bytes. */
const STEP = 16 * 1024 ** 2
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
  /** Bytes that were announced of what is coming in, or have come of what was not announced. */
  #coming = 0
  /** Names of what is coming in through this gateway. */
  #drafts = new Set<string>()
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

  /**
   * Resolves when all of it is on the disk. @param announced bytes, where the client has said how many
   * @throws BrokerError `bad_request` in Ollama's words for another content, and for one that was cut off; `body_too_large` where there is no room
   */
  async take(digest: string, content: AsyncIterable<Uint8Array>, announced = 0): Promise<void> {
    const { folder, most } = this.#options
    let reserved = 0
    const reserve = async (bytes: number) => {
      this.#coming += bytes
      reserved += bytes
      if ((await this.#bytes()) + this.#coming > most) throw new BrokerError('body_too_large', `this gateway keeps ${inGigabytes(most)} of blobs at most, and there is no room left for this one`)
    }
    await mkdir(folder, { recursive: true })
    const draft = join(folder, `${DRAFT}${process.pid}-${randomBytes(9).toString('base64url')}`)
    let file: FileHandle | undefined
    try {
      await reserve(announced)
      file = await open(draft, 'wx', 0o600)
      this.#drafts.add(basename(draft))
      const hash = createHash('sha256')
      let bytes = 0
      for await (const chunk of content) {
        bytes += chunk.length
        if (bytes > reserved) await reserve(Math.max(chunk.length, STEP))
        hash.update(chunk)
        await file.writeFile(chunk)
      }
      const got = hash.digest('hex')
      if (got !== digest) throw new BrokerError('bad_request', `digest mismatch, expected "sha256:${digest}", got "sha256:${got}"`)
      await file.sync()
      await file.close()
      await rename(draft, this.#pathOf(digest))
    } catch (error) {
      await file?.close().catch(() => undefined)
      await rm(draft, { force: true })
      throw toRefusal(error)
    } finally {
      this.#coming -= reserved
      this.#drafts.delete(basename(draft))
    }
  }

  /** Removes what nobody has used for a day. */
  async sweep(now = Date.now()): Promise<void> {
    for (const name of await this.#names()) {
      const path = join(this.#options.folder, name)
      const found = await stat(path).catch(() => undefined)
      if (found && now - found.mtimeMs > (name.startsWith(DRAFT) ? STUCK_MS : UNUSED_MS)) await rm(path, { force: true })
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Of all that lies there, but for what is coming in through this gateway. */
  async #bytes(): Promise<number> {
    const there = (await this.#names()).filter((name) => !this.#drafts.has(name))
    const sizes = await Promise.all(there.map((name) => stat(join(this.#options.folder, name)).then(({ size }) => size, () => 0)))
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

/** What the client, or the disk, has done is no fault of this program. */
const toRefusal = (error: unknown): unknown => {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') return new BrokerError('body_too_large', 'the disk of this gateway has no room left for this blob', { cause: error })
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || (error as Error).name === 'AbortError' ? new BrokerError('bad_request', 'the request body was cut off', { cause: error }) : error
}

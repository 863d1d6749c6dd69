import { constants } from 'node:fs'
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@drover/core'
import { Agent, interceptors, request } from 'undici'
import { GrowingDigest } from './growing-digest.ts'

/** Whoever says nothing for this long is gone, ms. */
const SILENT_MS = 30_000
/** Tries in a row that bring nothing. */
const MOST_TRIES = 5
/** Wait before the next one, twice as long each time, ms. */
const PAUSE_MS = 300
/** Bytes that are written at once. */
const PIECE = 1024 ** 2
/** Told at most this often, ms. */
const TELL_MS = 100

const agent = new Agent({ headersTimeout: SILENT_MS, bodyTimeout: SILENT_MS })
/** What authorizes is not carried to another host. */
const following = agent.compose(interceptors.redirect({ maxRedirections: 5 }))

export interface FileFetch {
  url: string
  /** Of each request anew: what they say may grow old. */
  headers(): Record<string, string>
  /** Bytes. */
  size: number
  /** SHA-256, 64 hex digits. */
  digest: string
  /** Where it lies until it is whole; what is there already is not fetched again. */
  part: string
  /** Where it lies then. On the same file system. */
  path: string
  signal: AbortSignal
  /** Bytes that are here, of `size`. */
  onProgress(completed: number): void
  /** `by-digest`: what lies under this name is this file. Else it may be another one, which is replaced. */
  named?: 'by-digest'
  /** It may lie elsewhere than it is asked for. */
  redirects?: boolean
  pauseMs?: number
}

/** What has gone wrong for good: another try would be answered the same. */
class Refused extends BrokerError {}

const refused = (reason: string, cause?: unknown): Refused => new Refused('engine_failed', reason, { cause })

/**
 * Fetches a file over HTTP: goes on where an earlier try, of this process or of one that was killed, has stopped, checks the whole by its
 * digest, and gives it its name only then. Memory stays flat.
 * @returns bytes that were fetched now
 * @throws BrokerError `engine_failed` with the reason; the signal's reason when that ends it, with what has come kept for the next time
 */
export const fetchFile = async (fetch: FileFetch): Promise<number> => {
  const { path, size, named, signal } = fetch
  // Two models may have a file in common.
  while (coming.has(path)) await Promise.race([coming.get(path), abortOf(signal)])
  const isThere = named === 'by-digest' ? stat(path).then((found) => found.size === size, () => false) : Promise.resolve(false)
  const mine = isThere.then((is) => (is ? 0 : fetchNow(fetch)))
  const over = mine.then(() => undefined, () => undefined).finally(() => coming.delete(path))
  coming.set(path, over)
  return mine
}

/** What is being fetched by this process, until each has ended. */
const coming = new Map<string, Promise<void>>()

const abortOf = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    const abort = () => reject(signal.reason as Error)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })

const fetchNow = async (fetch: FileFetch): Promise<number> => {
  const { part, path, digest, size, signal } = fetch
  const file = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644).catch((error: unknown) => {
    throw refused(`${part} cannot be written: ${reasonOf(error)}`, error)
  })
  let growing: GrowingDigest | undefined
  let { size: before } = await file.stat()
  try {
    // What is longer is not the beginning of this file.
    if (before > size) {
      await file.truncate(0)
      before = 0
    }
    growing = new GrowingDigest(part)
    await fetchAll(file, growing, fetch)
    const got = await Promise.race([growing.whole(size), abortOf(signal)])
    if (got !== digest) {
      await rm(part, { force: true })
      throw refused(`digest mismatch, expected "sha256:${digest}", got "sha256:${got}"`)
    }
    await file.sync()
  } finally {
    await growing?.close()
    await file.close()
  }
  await rename(part, path)
  return size - before
}

/** Asks for what is missing until nothing is. */
const fetchAll = async (file: FileHandle, growing: GrowingDigest, fetch: FileFetch): Promise<void> => {
  const { url, size, signal, pauseMs = PAUSE_MS } = fetch
  let { size: here } = await file.stat()
  for (let tries = 0; here < size; ) {
    signal.throwIfAborted()
    const before = here
    let failure: unknown
    try {
      await fetchFrom(here, file, growing, fetch)
      failure = new Error('it ended before its end')
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof Refused) throw error
      failure = error
    }
    here = (await file.stat()).size
    if (here >= size) return
    tries = here > before ? 1 : tries + 1
    if (tries >= MOST_TRIES) throw new BrokerError('engine_failed', `${url} broke off ${tries} times: ${reasonOf(failure)}`, { cause: failure })
    await sleep(pauseMs * 2 ** (tries - 1), undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

/** One request. What has come by the time it resolves or rejects is written. */
const fetchFrom = async (from: number, file: FileHandle, growing: GrowingDigest, { url, headers, size, signal, onProgress, redirects = false }: FileFetch): Promise<void> => {
  const { statusCode, headers: told, body } = await request(url, {
    dispatcher: redirects ? following : agent,
    headers: { ...headers(), ...(from > 0 && { range: `bytes=${from}-` }) },
    signal,
  })
  const isRest = statusCode === 206 && String(told['content-range']) === `bytes ${from}-${size - 1}/${size}`
  if (!(isRest || (statusCode === 200 && from === 0))) {
    const text = await body.text().catch(() => '')
    const reason = `${url} answered with status ${statusCode}${statusCode < 300 ? ', and not with the rest of the file' : `: ${text.slice(0, 200)}`}`
    throw statusCode >= 500 ? new Error(reason) : refused(reason)
  }
  const writer = new PieceWriter(file, from, growing)
  let toldAt = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (writer.end + chunk.length > size) throw refused(`${url} sent more than the ${size} bytes of the file`)
      await writer.take(chunk)
      if (performance.now() - toldAt < TELL_MS) continue
      toldAt = performance.now()
      onProgress(writer.end)
    }
  } finally {
    await writer.flush()
  }
  onProgress(writer.end)
}

/** Writes what comes in larger pieces, one while the next is gathered. */
class PieceWriter {
  /** Where the file ends when all has been written. */
  end: number
  #file: FileHandle
  #growing: GrowingDigest
  #at: number
  #pieces: Buffer[] = []
  #writing: Promise<void> = Promise.resolve()

  constructor(file: FileHandle, at: number, growing: GrowingDigest) {
    this.#file = file
    this.#growing = growing
    this.#at = at
    this.end = at
  }

  /** Resolves when more may come. @throws Refused when the disk takes no more */
  async take(piece: Buffer): Promise<void> {
    this.#pieces.push(piece)
    this.end += piece.length
    if (this.end - this.#at < PIECE) return
    await this.#writing
    this.#writing = this.#write()
    this.#writing.catch(() => undefined)
  }

  /** Resolves when all has been written. @throws Refused when the disk takes no more */
  async flush(): Promise<void> {
    await this.#writing
    await this.#write()
  }

  async #write(): Promise<void> {
    const [pieces, at, bytes] = [this.#pieces, this.#at, this.end - this.#at]
    if (bytes === 0) return
    this.#pieces = []
    this.#at = this.end
    const { bytesWritten } = await this.#file.writev(pieces, at).catch((error: unknown) => {
      throw refused(`the file cannot be written: ${reasonOf(error)}`, error)
    })
    if (bytesWritten < bytes) throw refused('the disk took only a part of what was to be written')
    this.#growing.grown(at + bytes)
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error))

/** A small text over HTTP. @param options `most`: bytes; `silentMs`: longest that its sender may say nothing @throws Error for one that cannot be reached, or sends more */
export const fetchText = async (url: string, { headers, most, silentMs, signal }: { headers: Record<string, string>; most: number; silentMs: number; signal: AbortSignal }) => {
  const answer = await request(url, { dispatcher: agent, headers, signal, headersTimeout: silentMs, bodyTimeout: silentMs })
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > most) throw new Error(`it sent more than ${most} bytes`)
    chunks.push(chunk)
  }
  return { status: answer.statusCode, headers: answer.headers, text: Buffer.concat(chunks).toString('utf8') }
}

import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FilePart } from '@drover/core'
import { EXIT, ExitError } from '@drover/service'
import { checkedName, contentLost, isUnavailable, storeUnavailable, type ContentStore, type StoreOptions } from './content-store.ts'
import { GrowingSegments } from './growing-segments.ts'
import { S3Failure } from './s3-failure.ts'
import { s3Objects, type Objects, type S3Settings } from './s3-objects.ts'
import { storeHealth } from './store-health.ts'

const ID_OBJECT = '.store'
const ID_BYTES = 64
const CHECK_OBJECT = '.check'
/** Where a store does not know conditions, who writes the id last within this time is followed by all, ms. */
const AGREE_MS = 1_000
/** Every request costs something: a time, and often money. */
const GATHER_MS = 1_000
/** A file is cut into objects of so many bytes; into smaller ones while many come at once, so that all of them together hold no more than a bound. */
const MOST_BYTES = 8 * 1024 * 1024
const ALL_BYTES = 32 * 1024 * 1024
const LEAST_BYTES = 256 * 1024
/** Content is read in pieces of so many bytes, one ahead. */
const PIECE_BYTES = 1024 * 1024

const readId = async (objects: Objects): Promise<string | undefined> => {
  try {
    return (await objects.get(ID_OBJECT, 0, ID_BYTES)).toString('utf8')
  } catch (error) {
    if (error instanceof S3Failure && error.missing) return undefined
    throw error
  }
}

/**
 * Gateways that start at once on an empty bucket agree on one id. Many stores know no conditions, some of them without a word, and there one
 * that wrote late would replace what others go by already: those of one installation all write the same.
 */
const idOf = async (objects: Objects, { endpoint = '', bucket, prefix }: S3Settings, agree: StoreOptions['agree']): Promise<string> => {
  const about = createHash('sha256').update(JSON.stringify(['store', endpoint, bucket, prefix])).digest('hex')
  const own = randomBytes(12).toString('hex')
  // Before the bucket is read: whoever finds nothing there was told the same as who writes first.
  const agreed = await agree(about, own).catch(() => own)
  const known = await readId(objects)
  if (known !== undefined) return known
  const mine = Buffer.from(agreed)
  await objects.put(ID_OBJECT, mine, { onlyNew: true }).catch((error: unknown) => {
    const status = error instanceof S3Failure ? error.status : undefined
    if (status === 501) return objects.put(ID_OBJECT, mine)
    // Another was first.
    if (status !== 412 && status !== 409) throw error
  })
  await sleep(AGREE_MS)
  const id = await readId(objects)
  if (id === undefined) throw new S3Failure(new Error('what is written to it is not there afterwards'))
  return id
}

/** Whatever a gateway is going to do it must be allowed to do. Without the right to list, a bucket does not tell what is gone from what is not to be read. */
const checkRights = async (objects: Objects): Promise<void> => {
  await objects.get(CHECK_OBJECT, 0, 1).catch((error: unknown) => {
    if (!(error instanceof S3Failure && error.missing)) throw error
  })
  await objects.put(CHECK_OBJECT, Buffer.from('.'))
  await objects.delete(CHECK_OBJECT)
}

const NEEDED = 'a gateway needs s3:GetObject, s3:PutObject and s3:DeleteObject for its objects, and s3:ListBucket for the bucket'

const refusal = ({ bucket, prefix, endpoint }: S3Settings, failure: S3Failure): ExitError => {
  const place = `s3://${bucket}/${prefix}${endpoint === undefined ? '' : ` at ${endpoint}`}`
  const hint = failure.code === 'AccessDenied' ? `; ${NEEDED}` : ''
  return new ExitError(`the store of files ${place} cannot be used: ${failure.message}${hint}`, failure.refused ? EXIT.refused : EXIT.failed)
}

/** Objects of one bucket of a store that speaks S3. @throws ExitError when it cannot be used */
export const s3Store = async (settings: S3Settings, { names, agree, onDown, onUp }: StoreOptions): Promise<ContentStore> => {
  const objects = s3Objects(settings)
  const id = await idOf(objects, settings, agree).catch((error: unknown) => {
    throw refusal(settings, error as S3Failure)
  })
  await checkRights(objects).catch((error: unknown) => {
    throw refusal(settings, error as S3Failure)
  })
  const use = storeHealth({
    onDown,
    onUp,
    explain: async (error) => {
      const missing = error instanceof Shorter || (error instanceof S3Failure && error.missing)
      // A bucket that is not the one it was has none of its objects either.
      return missing && (await readId(objects).catch(() => undefined)) === id ? contentLost() : storeUnavailable(error)
    },
  })
  const write = (name: string, bytes: Uint8Array): Promise<void> => use(() => objects.put(checkedName(name), bytes))
  const read = (name: string, from: number, to: number): Promise<Buffer> =>
    use(async () => {
      if (from >= to) return Buffer.alloc(0)
      const bytes = await objects.get(checkedName(name), from, to)
      if (bytes.length < to - from) throw new Shorter()
      return bytes
    })
  let puts = 0

  const put = async (name: string, content: AsyncIterable<Uint8Array>): Promise<FilePart[]> => {
    const parts: FilePart[] = []
    let held: Uint8Array[] = []
    let length = 0
    let writing: Promise<void> | undefined
    /** One object is on its way while the next one is gathered. */
    const cut = async () => {
      await writing
      const part = `${name}.${String(parts.length).padStart(6, '0')}`
      const bytes = Buffer.concat(held, length)
      parts.push([part, length])
      held = []
      length = 0
      await names.begin(id, part)
      writing = write(part, bytes)
      writing.catch(() => undefined) // whoever waits for it next is told
    }
    puts += 1
    try {
      for await (const chunk of content) {
        held.push(chunk)
        length += chunk.length
        if (length >= Math.max(LEAST_BYTES, Math.min(MOST_BYTES, ALL_BYTES / puts))) await cut()
      }
      if (length > 0) await cut()
      await writing
      return parts
    } catch (error) {
      await writing?.catch(() => undefined)
      // What the store did not answer may still arrive there: that is removed later, as its name was begun.
      if (!isUnavailable(error)) await Promise.all(parts.map(([part]) => names.abandon(id, part).catch(() => undefined)))
      throw error
    } finally {
      puts -= 1
    }
  }

  return {
    id,
    gatherMs: GATHER_MS,
    put,
    async write(name, bytes) {
      await names.begin(id, name)
      await write(name, bytes)
    },
    async *get(name, from, to) {
      const piece = (at: number) => read(name, at, Math.min(to, at + PIECE_BYTES))
      let next = piece(from)
      for (let at = from; at < to; ) {
        const bytes = await next
        at += bytes.length
        if (at < to) {
          next = piece(at)
          next.catch(() => undefined) // whoever asks for it is told
        }
        yield bytes
      }
    },
    read,
    growing: (name) => new GrowingSegments(name, { begin: (part) => names.begin(id, part), write }),
    delete: (name) => use(() => objects.delete(checkedName(name))),
  }
}

/** An object ends before the bytes that it had. */
class Shorter extends Error {
  override readonly name = 'Shorter'
  constructor() {
    super('the object is shorter than it was')
  }
}

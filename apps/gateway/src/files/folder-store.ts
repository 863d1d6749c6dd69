import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { link, mkdir, open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { FilePart } from '@drover/core'
import { checkedName, contentLost, storeUnavailable, type ContentStore, type Growing, type StoreOptions } from './content-store.ts'
import { storeHealth } from './store-health.ts'

const ID_FILE = '.store'
/** A disk takes small pieces gladly. */
const GATHER_MS = 100

/** Two gateways that start at once on an empty folder agree on one id. */
const idOf = async (folder: string): Promise<string> => {
  const path = join(folder, ID_FILE)
  try {
    const mine = join(folder, `${ID_FILE}-${randomBytes(6).toString('hex')}`)
    await writeFile(mine, randomBytes(12).toString('hex'), { mode: 0o600 })
    // A link is made only where there is no file yet, and the file is never seen half written.
    await link(mine, path).finally(() => rm(mine, { force: true }))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readId(folder)
}

const readId = async (folder: string): Promise<string> => (await readFile(join(folder, ID_FILE), 'utf8')).trim()

const writeAll = async (file: FileHandle, bytes: Uint8Array, at: number): Promise<void> => {
  for (let written = 0; written < bytes.length; ) written += (await file.write(bytes, written, bytes.length - written, at + written)).bytesWritten
}

/** Files of one folder, for its owner alone. @throws Error when it cannot be used */
export const folderStore = async (folder: string, { names, onDown, onUp }: StoreOptions): Promise<ContentStore> => {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const id = await idOf(folder)
  const pathOf = (name: string): string => join(folder, checkedName(name))
  const use = storeHealth({
    onDown,
    onUp,
    explain: async (error) => {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof Shorter
      // A folder that is not mounted just now has no files either.
      return missing && (await readId(folder).catch(() => undefined)) === id ? contentLost() : storeUnavailable(error)
    },
  })

  const put = async (name: string, content: AsyncIterable<Uint8Array>): Promise<FilePart[]> => {
    const path = pathOf(name)
    const partial = `${path}.partial`
    await names.begin(id, name)
    const file = await use(() => open(partial, 'w', 0o600))
    let bytes = 0
    try {
      for await (const chunk of content) {
        await use(() => writeAll(file, chunk, bytes))
        bytes += chunk.length
      }
      await use(async () => {
        await file.datasync()
        await file.close()
        await rename(partial, path)
      })
    } catch (error) {
      await file.close().catch(() => undefined)
      await rm(partial, { force: true }).catch(() => undefined)
      await names.abandon(id, name).catch(() => undefined)
      throw error
    }
    return [[name, bytes]]
  }

  const growing = (name: string): Growing => {
    const path = pathOf(name)
    let file: FileHandle | undefined
    let counts = 0
    let written = 0
    return {
      async add(bytes) {
        if (!file) {
          await names.begin(id, name)
          file = await use(() => open(path, 'wx', 0o600))
        }
        const its = file
        await use(async () => {
          await writeAll(its, bytes, counts)
          await its.datasync()
        })
        written = counts + bytes.length
        return { before: [name, counts], after: [name, written] }
      },
      counted: () => void (counts = written),
      close: async () => file?.close().catch(() => undefined),
    }
  }

  return {
    id,
    gatherMs: GATHER_MS,
    put,
    async write(name, bytes) {
      await put(name, (async function* () { yield bytes })())
    },
    async *get(name, from, to) {
      if (from >= to) return
      const pieces = createReadStream(pathOf(name), { start: from, end: to - 1 })
      try {
        const next = pieces.iterator() as AsyncIterableIterator<Buffer>
        let left = to - from
        for (;;) {
          const piece = await use(async () => {
            const { done, value } = await next.next()
            if (done === true && left > 0) throw new Shorter()
            return done === true ? undefined : value
          })
          if (!piece) return
          left -= piece.length
          yield piece
        }
      } finally {
        pieces.destroy()
      }
    },
    read: (name, from, to) =>
      use(async () => {
        const file = await open(pathOf(name), 'r')
        try {
          const bytes = Buffer.allocUnsafe(to - from)
          for (let length = 0; length < bytes.length; ) {
            const { bytesRead } = await file.read(bytes, length, bytes.length - length, from + length)
            if (bytesRead === 0) throw new Shorter()
            length += bytesRead
          }
          return bytes
        } finally {
          await file.close()
        }
      }),
    growing,
    delete: (name) =>
      use(async () => {
        await rm(pathOf(name), { force: true })
        await rm(`${pathOf(name)}.partial`, { force: true })
      }),
  }
}

/** A file ends before the bytes that it had. */
class Shorter extends Error {
  override readonly name = 'Shorter'
  constructor() {
    super('the file is shorter than it was')
  }
}

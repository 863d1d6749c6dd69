import { may, reaches, type Caller, type FilePart, type FilePurpose, type Owner, type StoredFile } from '@drover/core'
import type { Redis } from 'ioredis'
import { refused } from '../in-time.ts'
import type { Keys } from '../keys.ts'
import type { Scripts } from '../scripts.ts'
import { list, type Listing } from './listing.ts'
import { Recent } from '../recent.ts'

export interface FilesOptions {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** What is known of a file when its content has been written. */
export type NewFile = Pick<StoredFile, 'id' | 'owner' | 'purpose' | 'name' | 'bytes' | 'store' | 'parts'> & { expiresMs: number | undefined }

const FIELDS = ['own', 'purpose', 'name', 'bytes', 'at', 'exp', 'store', 'parts', 'gone'] as const
/** Content that was begun and belongs to no file after so long is removed, ms. */
const ABANDONED_MS = 48 * 60 * 60 * 1000
/** One gateway of all sweeps a store, as often as this, ms. */
const TURN_MS = 10_000
const SWEPT_AT_ONCE = 1_000
/** Content is removed so many names at a time. */
const REMOVED_AT_ONCE = 16

/** What Redis knows of files. Their content lies elsewhere. */
export class Files {
  #options: FilesOptions
  #recent: Recent

  constructor(options: FilesOptions) {
    this.#options = options
    this.#recent = new Recent(options.redis)
  }

  /** Content is about to be written under this name: should nothing come of it, it will be removed. */
  async begin(store: string, name: string): Promise<void> {
    await this.#trash(store, name, ABANDONED_MS)
  }

  /** Nothing came of it: it is removed soon. */
  async abandon(store: string, name: string): Promise<void> {
    await this.#trash(store, name, 0)
  }

  async #trash(store: string, name: string, ms: number): Promise<void> {
    const { keys, scripts } = this.#options
    await scripts.file_trash([keys.trash(store)], [name, ms])
  }

  /** @throws BrokerError `queue_full` when Redis has no memory left */
  async add({ id, owner, purpose, name, bytes, store, parts, expiresMs }: NewFile): Promise<StoredFile> {
    const { keys, scripts, base } = this.#options
    const args = [base, id, owner, purpose, name, bytes, store, JSON.stringify(parts), expiresMs ?? '']
    const [at, expires] = (await this.#recent.send(() => scripts.file_add([keys.file(id)], args)).catch(refused)) as [string, string]
    return { id, owner, purpose, name, bytes, store, parts, createdAt: Number(at), expiresAt: expires === '' ? undefined : Number(expires) }
  }

  /** `undefined`: there is no such file that the caller may read. */
  async get(id: string, caller: Caller): Promise<StoredFile | undefined> {
    const [file] = await this.#read([id])
    return file && reaches(caller, file.owner) ? file : undefined
  }

  /** A caller who may do everything is shown everybody's. */
  list(caller: Caller, { purpose, ...page }: Omit<Listing, 'index'> & { purpose?: string | undefined }): Promise<{ items: StoredFile[]; more: boolean }> {
    const { redis, keys } = this.#options
    const index = may(caller, 'admin') ? keys.files : keys.filesOf(caller.owner)
    return list(redis, { index, ...page }, async (ids) => (await this.#read(ids)).map((file) => (purpose === undefined || file?.purpose === purpose ? file : undefined)))
  }

  /** @returns false: there is no such file that the caller may delete */
  async drop(id: string, caller: Caller): Promise<boolean> {
    const { keys, scripts, base } = this.#options
    return (await this.#recent.send(() => scripts.file_drop([keys.file(id)], [base, id, may(caller, 'admin') ? '' : caller.owner]))) === 1
  }

  /** Deletes what has expired, and removes content that nothing refers to. Any number of gateways may call it as often as they like. */
  async sweep(store: string, who: string, remove: (name: string) => Promise<void>): Promise<void> {
    const { redis, keys, scripts, base } = this.#options
    const names = (await scripts.file_sweep([keys.fileSweep(store), keys.expiring, keys.trash(store)], [base, who, TURN_MS, SWEPT_AT_ONCE])) as string[]
    for (let from = 0; from < names.length; from += REMOVED_AT_ONCE) {
      const some = names.slice(from, from + REMOVED_AT_ONCE)
      await Promise.all(some.map(remove))
      await redis.zrem(keys.trash(store), ...some)
    }
  }

  async #read(ids: string[]): Promise<(StoredFile | undefined)[]> {
    const { redis, keys } = this.#options
    return Promise.all(
      ids.map(async (id) => {
        const [owner, purpose, name, bytes, at, expires, store, parts, gone] = await redis.hmget(keys.file(id), ...FIELDS)
        if (owner == null || parts == null || gone != null) return undefined
        return {
          id,
          owner: owner as Owner,
          purpose: purpose as FilePurpose,
          name: name ?? '',
          bytes: Number(bytes),
          createdAt: Number(at),
          expiresAt: expires ? Number(expires) : undefined,
          store: store ?? '',
          parts: JSON.parse(parts) as FilePart[],
        }
      }),
    )
  }
}

import type { Grown } from '@drover/broker'
import { BrokerError, type FilePart } from '@drover/core'

/**
 * Where the content of files lies. What is written under a name is whole or not there, means the same for every gateway that has this
 * store, and is never changed. What goes wrong here is a `BrokerError`: `content_lost` for what is gone, `store_unavailable` for all that
 * may be otherwise later.
 */
export interface ContentStore {
  /** The same for all gateways that share it, and for no other store. */
  readonly id: string
  /** What is written often is worth gathering for so long, ms. */
  readonly gatherMs: number
  /** Writes all of a stream, as it comes, under names that begin with this one. @returns what it lies in, in order */
  put(name: string, content: AsyncIterable<Uint8Array>): Promise<FilePart[]>
  /** The same under just this name, for what is at hand. */
  write(name: string, bytes: Uint8Array): Promise<void>
  /** Bytes from `from` to before `to`, as they are asked for. */
  get(name: string, from: number, to: number): AsyncIterable<Uint8Array>
  /** The same at once, for pieces that are small. */
  read(name: string, from: number, to: number): Promise<Buffer>
  /** Content of one writer that grows, under names that begin with this one. */
  growing(name: string): Growing
  /** Also where there is none. */
  delete(name: string): Promise<void>
}

/** Content to which one writer adds. What counts of it is written down elsewhere, after each piece. */
export interface Growing {
  /**
   * Writes a piece behind what counts; lasting when it resolves. Called again before `counted`, for one that failed or was not counted,
   * the new piece replaces it.
   * @returns what is to count from now on, and in whose place
   */
  add(bytes: Buffer): Promise<Grown>
  /** The piece that was added last counts. */
  counted(): void
  close(): Promise<void>
}

/** What Redis is told of names in a store. */
export interface Names {
  /** Before anything is written under this one: should nothing of it ever count, it will be removed. */
  begin(store: string, name: string): Promise<void>
  /** Nothing will: it is removed soon. */
  abandon(store: string, name: string): Promise<void>
}

export interface StoreOptions {
  names: Names
  /** What the first of all gateways has said here that have asked about this within a minute. */
  agree(about: string, mine: string): Promise<string>
  /** It cannot be used, and why. Told once. */
  onDown(reason: unknown): void
  /** It can be used again. */
  onUp(): void
}

/** A name is one of ours, and never a path. @throws Error */
export const checkedName = (name: string): string => {
  if (!/^[\w-][\w.-]{0,127}$/.test(name)) throw new Error('this is no name of content')
  return name
}

export const contentLost = (): BrokerError => new BrokerError('content_lost', 'the content of the file is gone from where files lie')
export const storeUnavailable = (cause: unknown): BrokerError => new BrokerError('store_unavailable', 'server busy, please try again.  where files lie cannot be used just now', { cause })

export const isLost = (error: unknown): error is BrokerError => error instanceof BrokerError && error.code === 'content_lost'
export const isUnavailable = (error: unknown): error is BrokerError => error instanceof BrokerError && error.code === 'store_unavailable'

/** Content of several names, one behind the other. */
export async function* contentOf(store: Pick<ContentStore, 'get'>, parts: readonly FilePart[]): AsyncGenerator<Uint8Array> {
  for (const [name, bytes] of parts) if (bytes > 0) yield* store.get(name, 0, bytes)
}

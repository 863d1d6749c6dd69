import type { Owner } from './caller.ts'

export type FilePurpose = 'batch' | 'batch_output'

/** A piece of a file's content: its first bytes of what lies in the store under a name. */
export type FilePart = readonly [name: string, bytes: number]

/** A file as Redis knows it. Its content is its parts, one behind the other. */
export interface StoredFile {
  id: string
  owner: Owner
  purpose: FilePurpose
  /** As its client named it. */
  name: string
  bytes: number
  /** Epoch ms by Redis' clock. */
  createdAt: number
  expiresAt: number | undefined
  /** Where its content lies: only a gateway with this store can read it. */
  store: string
  parts: readonly FilePart[]
}

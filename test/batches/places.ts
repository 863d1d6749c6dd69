import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Environment } from '../support/drover.ts'
import type { S3Server } from '../support/s3-server.ts'

export const KINDS = ['folder', 'bucket'] as const
export type PlaceKind = (typeof KINDS)[number]

/** A place for files that gateways share. */
export interface Place {
  kind: PlaceKind
  /** Given to a gateway, it has the place. */
  env: Environment
  /** The same for another place. */
  apart: Environment
  /** What lies there of files' content. */
  contents(): Promise<string[]>
  /** Takes content away behind Drover's back. */
  lose(name: string): Promise<void>
  /** Leaves only the first bytes of it. */
  shorten(name: string): Promise<void>
}

const isContent = (name: string): boolean => !name.startsWith('.')

export const folderPlace = async (dir: string): Promise<Place> => {
  const folder = await mkdtemp(join(dir, 'files-'))
  return {
    kind: 'folder',
    env: { DROVER_FILES_DIR: folder },
    apart: { DROVER_FILES_DIR: `${folder}-apart` },
    contents: async () => (await readdir(folder)).filter(isContent),
    lose: (name) => rm(join(folder, name)),
    shorten: (name) => writeFile(join(folder, name), 'short'),
  }
}

export const bucketPlace = (s3: S3Server, through?: string): Place => {
  const prefix = `t${randomBytes(6).toString('hex')}`
  return {
    kind: 'bucket',
    env: s3.env(prefix, through),
    apart: s3.env(`${prefix}-apart`, through),
    contents: async () => (await s3.names(prefix)).filter(isContent),
    lose: (name) => s3.delete(prefix, name),
    shorten: (name) => s3.put(prefix, name, Buffer.from('short')),
  }
}

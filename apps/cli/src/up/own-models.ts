import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { findServer, nameOfFile } from '@drover/engines'
import { ExitError } from '@drover/service'

export interface OwnModels {
  folder: string
  /** Arguments of the worker that runs the folder's models. */
  args: string[]
  /** What the model that ships is called, where it can be run. */
  spare?: string
}

export interface OwnModelSettings {
  modelsDir?: string | undefined
  llamaServer?: string | undefined
  spareModel: string
}

/**
 * The models folder, made where nobody has named another, and the model that ships: a spare one that no program can run would only be in
 * the way.
 */
export const ownModels = ({ modelsDir, llamaServer, spareModel }: OwnModelSettings, data: string, searchPath: string): OwnModels => {
  const folder = modelsDir ?? join(data, 'models')
  if (modelsDir === undefined) makeFolder(folder)
  const args = ['--models-dir', folder, ...(llamaServer === undefined ? [] : ['--llama-server', llamaServer])]
  const runs = 'path' in findServer(llamaServer, searchPath) && existsSync(spareModel)
  return runs ? { folder, args: [...args, '--spare-model', spareModel], spare: nameOfFile(spareModel) } : { folder, args }
}

const makeFolder = (folder: string): void => {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new ExitError(`the models folder ${folder} cannot be made: ${error instanceof Error ? error.message : String(error)}; name another with --models-dir`)
  }
}

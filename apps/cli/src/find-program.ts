import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { PROJECT } from './project.ts'

export interface Program {
  names: readonly string[]
  /** Where the set-up unpacks it. */
  inProject: string
}

export const REDIS_SERVER: Program = { names: ['valkey-server', 'redis-server'], inProject: '.drover/redis/bin' }
export const LLAMA_SERVER: Program = { names: ['llama-server'], inProject: '.drover/llama.cpp/bin' }

const executable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Path of a program: the one told and no other, else from the search path, else the one that the set-up has put into the project. */
export const findProgram = (told: string | undefined, { names, inProject }: Program, searchPath: string): string | undefined => {
  if (told !== undefined) return executable(told) ? told : undefined
  const folders = [...searchPath.split(delimiter).filter(Boolean), join(PROJECT, inProject)]
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find(executable)
}

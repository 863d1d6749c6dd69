import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface ProgramSearch {
  /** What it is called, the likeliest name first. */
  names: readonly string[]
  /** A path or name that somebody has set; then only that. */
  named?: string | undefined
  searchPath?: string | undefined
  /** Folders that are not on the search path and may have it, too. */
  folders?: readonly string[]
  /** The setting that names it. */
  setting: string
}

/** Whether a program can be run, by its path or its name on the search path: its path, or why not. */
export const findProgram = ({ names, named, searchPath = '', folders = [], setting }: ProgramSearch): { path: string } | { reason: string } => {
  const wanted = named === undefined ? names : [named]
  const isPath = named?.includes('/') ?? false
  const places = [...searchPath.split(delimiter).filter(Boolean), ...folders]
  const path = (isPath ? wanted : wanted.flatMap((name) => places.map((folder) => join(folder, name)))).find(isProgram)
  if (path !== undefined) return { path }
  return isPath
    ? { reason: `${named} is no program that can be run: correct ${setting}` }
    : { reason: `no ${wanted.join(' or ')} was found on the search path: install llama.cpp, or name the program with ${setting}` }
}

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Bytes of all files below a folder; what vanishes meanwhile, or is not there, counts nothing. */
export const bytesBelow = (folder) => {
  try {
    return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => sum + bytesOf(join(folder, entry.name), entry), 0)
  } catch {
    return 0
  }
}

const bytesOf = (path, entry) => {
  if (entry.isDirectory()) return bytesBelow(path)
  try {
    return entry.isFile() ? statSync(path).size : 0
  } catch {
    return 0
  }
}

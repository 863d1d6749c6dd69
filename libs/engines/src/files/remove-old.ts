import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

const OLD_MS = 24 * 3_600_000

/** Removes the files of a folder that have one of these names and were not written to for a day. */
export const removeOld = async (folder: string, isOne: (name: string) => boolean, now = Date.now()): Promise<void> => {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name)
    if (!entry.isFile() || !isOne(entry.name)) continue
    const found = await stat(path).catch(() => undefined)
    if (found && now - found.mtimeMs > OLD_MS) await rm(path, { force: true })
  }
}

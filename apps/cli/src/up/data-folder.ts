import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, realpathSync, rmSync, statSync } from 'node:fs'
import { type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { ExitError } from '@drover/service'

/** Longest path of a Unix socket that every system takes. */
const SOCKET_PATH_BYTES = 100

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Makes the folder, for its owner alone, and gives its real path, by which two names of one folder are seen to be one. */
export const openDataFolder = (path: string): string => {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    return realpathSync(path)
  } catch (error) {
    throw new ExitError(`the data folder ${path} cannot be made: ${reasonOf(error)}; name another with --data`)
  }
}

/** Where a socket of this data folder lies: in the folder, or where its path is too long for a socket, in a short one. */
export const socketPath = (data: string, name: string): string => {
  const path = join(data, name)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES) return path
  const owner = process.getuid?.() ?? 0
  const folder = join(tmpdir(), `drover-${owner}-${createHash('sha256').update(data).digest('hex').slice(0, 16)}`)
  const short = join(folder, name)
  if (Buffer.byteLength(short) > SOCKET_PATH_BYTES) {
    throw new ExitError(`${short} is too long for a socket: name a shorter folder with --data`)
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  // The temporary folder is everybody's: what somebody else has put there under our name is not ours to use.
  const found = lstatSync(folder)
  if (!found.isDirectory() || found.uid !== owner || (found.mode & 0o077) !== 0) {
    throw new ExitError(`${folder} belongs to somebody else or is open to others: remove it, or name a shorter folder with --data`)
  }
  return short
}

const listening = (path: string): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on('error', () => undefined).end(`${process.pid}`))
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)))
    server.listen(path, () => {
      server.unref()
      resolve(true)
    })
  })

/** The process that listens there: its id, `unknown` if it does not say, `undefined` when there is none. */
const holderOf = async (path: string): Promise<string | undefined> => {
  const socket: Socket = connect(path)
  const timer = setTimeout(() => socket.destroy(), 1_000)
  try {
    return (await text(socket)) || 'unknown'
  } catch (error) {
    return ['ECONNREFUSED', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '') ? undefined : 'unknown'
  } finally {
    clearTimeout(timer)
  }
}

/** How often a folder is tried whose holder is dead while others try the same, and how long a try waits, ms. */
const TRIES = 50
const TRY_MS = 100
/** Clearing away takes a moment; a mark older than this was left by a process that was killed in that moment, ms. */
const CLEARING_MS = 5_000

/**
 * Removes a dead holder's socket. One process at a time does it, and looks once more before: otherwise a slow one would remove the
 * socket of another that was quicker. False: somebody else is at it.
 */
const clearAway = async (path: string): Promise<boolean> => {
  const mark = `${path}.clearing`
  try {
    mkdirSync(mark)
  } catch {
    const { mtimeMs } = statSync(mark, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > CLEARING_MS) rmSync(mark, { recursive: true, force: true })
    return false
  }
  try {
    if ((await holderOf(path)) === undefined) rmSync(path, { force: true })
    return true
  } finally {
    rmSync(mark, { recursive: true, force: true })
  }
}

/**
 * Makes this process the only one on a data folder until it ends, however it ends: the lock is a socket that somebody listens
 * on, so a file that a dead process left behind locks nothing. True: the one before died without cleaning up, so some of its
 * parts may still be about to end.
 */
export const holdDataFolder = async (data: string): Promise<boolean> => {
  const path = socketPath(data, 'up.sock')
  let holder: string | undefined
  let takenOver = false
  for (let tries = 0; tries < TRIES; tries += 1) {
    if (await listening(path)) {
      process.once('exit', () => rmSync(path, { force: true }))
      return takenOver
    }
    holder = await holderOf(path)
    if (holder !== undefined) break
    takenOver = true
    if (!(await clearAway(path))) await sleep(TRY_MS)
  }
  const advice = 'stop it, or give this one a folder with --data and a port with --port'
  throw new ExitError(`another "drover up" (process ${holder ?? 'unknown'}) uses ${data}: ${advice}`)
}

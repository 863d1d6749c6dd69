import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, realpathSync, rmSync, statSync } from 'node:fs'
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

/** How often a folder is tried that others are just trying, and how long a try waits, ms. */
const TRIES = 100
const TRY_MS = 50
/** To look and to take is a matter of a moment; a mark older than this was left by a process that was killed in it, ms. */
const TAKING_MS = 5_000

/** Runs `work` while no other process does the same on this path; `undefined`: another one does. */
const inTurn = async <T>(path: string, work: () => Promise<T>): Promise<T | undefined> => {
  const mark = `${path}.taking`
  try {
    mkdirSync(mark)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new ExitError(`the data folder cannot be written to: ${reasonOf(error)}; name another with --data`)
    const { mtimeMs } = statSync(mark, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > TAKING_MS) rmSync(mark, { recursive: true, force: true })
    return undefined
  }
  try {
    return await work()
  } finally {
    rmSync(mark, { recursive: true, force: true })
  }
}

type Taken = { kind: 'held'; holder: string } | { kind: 'mine'; takenOver: boolean }

/**
 * A socket exists a moment before somebody listens on it, and one that nobody listens on is a dead process's. So that the two are
 * not taken for each other, processes look and take one at a time.
 */
const take = async (path: string): Promise<Taken> => {
  const takenOver = existsSync(path)
  const holder = takenOver ? await holderOf(path) : undefined
  if (holder !== undefined) return { kind: 'held', holder }
  rmSync(path, { force: true })
  if (!(await listening(path))) throw new ExitError(`${path} was taken by something else: remove it`)
  process.once('exit', () => rmSync(path, { force: true }))
  return { kind: 'mine', takenOver }
}

/**
 * Makes this process the only one on a data folder until it ends, however it ends: the lock is a socket that somebody listens
 * on, so a file that a dead process left behind locks nothing. True: the one before died without cleaning up, so some of its
 * parts may still be about to end.
 */
export const holdDataFolder = async (data: string): Promise<boolean> => {
  const path = socketPath(data, 'up.sock')
  let holder = 'unknown'
  for (let tries = 0; tries < TRIES; tries += 1) {
    const taken = await inTurn(path, () => take(path))
    if (taken?.kind === 'mine') return taken.takenOver
    if (taken) {
      holder = taken.holder
      break
    }
    await sleep(TRY_MS)
  }
  const advice = 'stop it, or give this one a folder with --data and a port with --port'
  throw new ExitError(`another "drover up" (process ${holder}) uses ${data}: ${advice}`)
}

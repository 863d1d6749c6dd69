import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, statSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const repository = fileURLToPath(new URL('../..', import.meta.url))

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    // A folder may be entered, which is the same right.
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** A program: as the variable says (unchecked: a wrong path is to be heard of), else on PATH, else in the repository. */
export const findProgram = (variable: string, names: string[], inRepository?: string): string | undefined => {
  const told = process.env[variable]
  if (told) return told
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean)
  const candidates = names.flatMap((name) => folders.map((folder) => join(folder, name)))
  if (inRepository !== undefined) candidates.push(join(repository, inRepository))
  return candidates.find(isProgram)
}

/** A TCP port that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address !== 'object' || address === null) throw new Error('no free port')
  return address.port
}

export interface Program {
  pid: number
  /** Resolves with the exit code, or the signal's name. */
  exited: Promise<number | string>
  running(): boolean
  signal(name: NodeJS.Signals): void
  /** The last 16 KB of what it printed. */
  log(): string
}

const LOG = 16 * 1024

/**
 * Kills `pid` when this process ends, however it ends: a shell waits on a pipe that only this process holds.
 * Calling what it returns ends the watch.
 */
const dieTogether = (pid: number): (() => void) => {
  const watcher = spawn('/bin/sh', ['-c', `read -r _; kill -9 ${pid}`], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  watcher.on('error', () => {}) // no shell, no watch
  watcher.unref()
  if (watcher.stdin instanceof Socket) watcher.stdin.unref()
  return () => void watcher.kill('SIGKILL')
}

/** Starts a program that ends with this process at the latest. @throws Error when it cannot be started */
export const startProgram = async (path: string, args: string[], env: Record<string, string> = {}): Promise<Program> => {
  const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-LOG)))
  }
  const exited = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 0))
  })
  await once(child, 'spawn').catch((error: unknown) => {
    throw new Error(`${path} cannot be started: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  })
  const { pid = 0 } = child
  void exited.then(dieTogether(pid))
  return {
    pid,
    exited,
    running: () => child.exitCode === null && child.signalCode === null,
    signal: (name) => void child.kill(name),
    log: () => log,
  }
}

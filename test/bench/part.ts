import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** A process of the benchmark's own, started from a TypeScript file, with an IPC channel. */
export interface Part {
  name: string
  pid: number
  child: ChildProcess
  /** The end of what it has written. */
  log(): string
  running(): boolean
  /** Resolves with the next message that `read` makes something of. Rejects when the process ends before, or after `ms`. */
  word<T>(read: (message: unknown) => T | undefined, ms?: number): Promise<T>
  stop(): Promise<void>
}

export interface PartOptions {
  args?: string[]
  /** Options of Node itself. */
  node?: string[]
  env?: Record<string, string>
}

const STOP_MS = 8_000

export const startPart = (name: string, main: string, { args = [], node = [], env = {} }: PartOptions = {}): Part => {
  const child = spawn(process.execPath, [...process.execArgv, ...node, main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // Not the repository: a drover.yaml lying there is somebody's own.
    cwd: '/',
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-100_000)))
  const exited = once(child, 'exit')
  const running = () => child.exitCode === null && child.signalCode === null
  child.setMaxListeners(100)
  return {
    name,
    pid: child.pid ?? 0,
    child,
    log: () => log,
    running,
    word: (read, ms = 20_000) =>
      new Promise((resolve, reject) => {
        const over = (settle: () => void) => {
          clearTimeout(timer)
          child.off('message', onMessage)
          child.off('exit', onExit)
          settle()
        }
        const onMessage = (message: unknown) => {
          const word = read(message)
          if (word !== undefined) over(() => resolve(word))
        }
        const onExit = () => over(() => reject(new Error(`${name} has ended: ${log.slice(-2000)}`)))
        const timer = setTimeout(() => over(() => reject(new Error(`${name} said nothing for ${ms} ms: ${log.slice(-2000)}`))), ms)
        child.on('message', onMessage)
        child.on('exit', onExit)
        if (!running()) onExit()
      }),
    async stop() {
      if (!running()) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      await exited
      clearTimeout(timer)
    },
  }
}

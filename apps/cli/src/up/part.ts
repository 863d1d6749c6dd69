import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { EXIT } from '@drover/service'
import { lineSplitter } from './line-splitter.ts'

/** A process that `drover up` keeps running. */
export interface PartOptions {
  name: string
  /** A program for Node, and its arguments. */
  file: string
  args: readonly string[]
  env: Record<string, string>
  /** How long it may take to end before it is killed. */
  stopLimitMs: number
  onLine: (line: string) => void
  onMessage?: (message: unknown) => void
  /** Waits before the next starts, in order; one more failure than there are waits, and the part is given up. */
  restartMs?: readonly number[]
  /** Whether an end of its own is tried again: at first it is not, so that what cannot work is told at once. */
  patient?: () => boolean
  /** A run of at least this long forgets the failures before it. */
  wellAfterMs?: number
}

export interface Part {
  name: string
  /** Resolves with the reason when the part is given up; never when it is stopped. */
  givenUp: Promise<string>
  /** Ends it for good and waits until it is gone. */
  stop: () => Promise<void>
  pid: () => number | undefined
}

const RESTART_MS = [250, 500, 1_000, 2_000, 4_000]
const WELL_AFTER_MS = 30_000
/** Lines of the last words of a process that failed. */
const LAST_WORDS = 12

interface End {
  code: number | null
  signal: NodeJS.Signals | null
  /** It has not even begun. */
  error?: Error
}

// Not `close`: it does not always come for a child with an IPC channel.
const endOf = (child: ChildProcess): Promise<End> =>
  new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.on('error', (error) => resolve({ code: null, signal: null, error }))
  })

const howItEnded = ({ code, signal }: End): string => (signal === null ? `exit code ${code}` : `killed by ${signal}`)

/** Everything that belongs to a child, whichever process of its group is left. */
const signalGroup = (pid: number | undefined, signal: NodeJS.Signals): void => {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch {
    // Nobody is left in it.
  }
}

/**
 * Starts a part, with this process' own Node options, and keeps it running. It has an IPC channel, by which it notices our end however sudden, and a process group of
 * its own: Ctrl-C reaches us alone, so that the parts can be stopped in order.
 */
export const startPart = (options: PartOptions): Part => {
  const { name, file, args, env, stopLimitMs, onLine, onMessage, patient = () => true } = options
  const { restartMs = RESTART_MS, wellAfterMs = WELL_AFTER_MS } = options
  const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<string>()
  let child: ChildProcess | undefined
  let exited: Promise<unknown> = Promise.resolve()
  let stopping = false
  let failures = 0
  let timer: NodeJS.Timeout | undefined

  const start = (): void => {
    const started = performance.now()
    let lastWords: string[] = []
    const running = spawn(process.execPath, [...process.execArgv, file, ...args], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], detached: true })
    child = running
    const stdout = lineSplitter(onLine)
    const stderr = lineSplitter((line) => {
      lastWords = [...lastWords, line].slice(-LAST_WORDS)
      onLine(line)
    })
    running.stdout?.on('data', stdout.write).once('end', stdout.end)
    running.stderr?.on('data', stderr.write).once('end', stderr.end)
    running.on('message', (message) => onMessage?.(message))
    // Its last words may still be in the pipe when it is already gone.
    const said = Promise.all([running.stdout, running.stderr].map((stream) => stream && once(stream, 'close')))
    exited = endOf(running).then(async (end) => {
      // What the process had started must not outlive it, nor get in the way of its successor.
      signalGroup(running.pid, stopping ? 'SIGKILL' : 'SIGTERM')
      await Promise.race([said, new Promise((resolve) => setTimeout(resolve, 500).unref())])
      if (stopping) return
      if (end.error) return giveUp(`${name} cannot be started: ${end.error.message}`)
      if (performance.now() - started >= wellAfterMs) failures = 0
      failures += 1
      const reason = [howItEnded(end), ...lastWords].join('\n  ')
      const wait = restartMs[failures - 1]
      if (end.code === EXIT.refused || (end.code !== null && !patient())) giveUp(`${name} cannot run: ${lastWords.join('\n  ') || reason}`)
      else if (wait === undefined) giveUp(`${name} failed ${failures} times, the last time with ${reason}`)
      else {
        onLine(`ended (${howItEnded(end)}); starting it again in ${wait} ms`)
        timer = setTimeout(start, wait)
      }
    })
  }

  const stop = async (): Promise<void> => {
    stopping = true
    clearTimeout(timer)
    child?.kill('SIGTERM')
    const kill = setTimeout(() => signalGroup(child?.pid, 'SIGKILL'), stopLimitMs)
    await exited
    clearTimeout(kill)
  }

  start()
  return { name, givenUp, stop, pid: () => child?.pid }
}

import { spawn, type ChildProcess } from 'node:child_process'
import type { Writable } from 'node:stream'

/**
 * A shell that becomes the program. Before it does it leaves a watch behind, which waits on a pipe whose other end we alone hold: a line
 * says that all is over, an end without one that we were killed, and then the program is killed too. `$1`: KiB of memory that it may
 * have, or nothing.
 */
const GUARDED = '{ read -r _ <&3 || kill -9 $$; } >/dev/null 2>&1 & exec 3<&-; [ -z "$1" ] || ulimit -d "$1" 2>/dev/null; shift; exec "$0" "$@"'

export interface GuardedOptions {
  path: string
  args: readonly string[]
  /** Its environment, less what looks like a secret. */
  env: Readonly<Record<string, string>>
  /** What it is given on top, as it is. */
  also?: Readonly<Record<string, string>>
  /**
   * Most bytes of memory of its own (`RLIMIT_DATA`: heap, stacks and anonymous mappings; files that it maps and memory of cards are
   * not in it). What is beyond is refused to it. Not every system keeps to it.
   */
  memory?: number
  onLine(line: string): void
}

/** A process that dies with this one, however this one ends. */
export interface GuardedProcess {
  pid: number
  /** Resolves when it is gone and what it said last has been read, with how: a signal's name, `exit code N`, or why it was never there. */
  ended: Promise<string>
  kill(): void
  /** SIGTERM, and SIGKILL for one that has not gone after `graceMs`. Resolves when it is gone. */
  stop(graceMs: number): Promise<void>
}

export const startGuarded = ({ path, args, env, also, memory, onLine }: GuardedOptions): GuardedProcess => {
  const limit = memory === undefined ? '' : String(Math.ceil(memory / 1024))
  const child = spawn('/bin/sh', ['-c', GUARDED, path, limit, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    // A Ctrl-C that is meant for us must not reach it: answers under way are to end first.
    detached: true,
    env: { ...withoutSecrets(env), ...also },
  })
  keepLines(child, onLine)
  const ended = endOf(child)
  void ended.then(() => (child.stdio[3] as Writable).end('\n'))
  return {
    pid: child.pid ?? 0,
    ended,
    kill: () => void child.kill('SIGKILL'),
    async stop(graceMs) {
      child.kill('SIGTERM')
      const kill = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await ended
      clearTimeout(kill)
    },
  }
}

const withoutSecrets = (env: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !/REDIS|KEY|TOKEN|SECRET|PASSWORD/i.test(name)))

const keepLines = (child: ChildProcess, keep: (line: string) => void): void => {
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream?.setEncoding('utf8').on('data', (text: string) => {
      const all = (rest + text).split('\n')
      rest = (all.pop() ?? '').slice(-4_096)
      for (const line of all) keep(line)
    })
  }
}

/** How a process ended, when what it said last has been read, or a moment later. */
const endOf = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => {
      const how = signal ?? `exit code ${code}`
      child.once('close', () => resolve(how))
      setTimeout(resolve, 200, how)
    })
  })

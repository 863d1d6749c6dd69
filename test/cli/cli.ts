import { randomBytes } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { until } from '../support/drover.ts'
import { redisServerPath } from '../support/redis-server.ts'

const main = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))

export interface Command {
  pid: number
  /** What it and its children printed, both streams. */
  output: () => string
  errors: () => string
  exited: Promise<number | string>
  running: () => boolean
  signal: (name: NodeJS.Signals) => void
  /** Processes that it has started and that are still there, itself included, by process id with their command line. */
  processes: () => Promise<Map<number, string>>
}

/**
 * Runs `drover` as somebody would who has set nothing but `env`. It and all it started is gone when the test is over.
 * `within`: a program with arguments that runs it elsewhere, as `ip netns exec NAME` does.
 */
export const drover = (args: readonly string[], env: Record<string, string> = {}, within: readonly string[] = []): Command => {
  // Whatever it starts inherits the mark, so that nothing can hide.
  const mark = `DROVER_TEST_MARK=${randomBytes(9).toString('hex')}`
  const [name = '', value = ''] = mark.split('=')
  const redis = redisServerPath()
  const base = { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), DROVER_LOOK: 'false', ...(redis && { DROVER_REDIS_SERVER: redis }) }
  const [program = '', ...words] = [...within, process.execPath, main, ...args]
  const child = spawn(program, words, { env: { ...base, ...env, [name]: value }, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
    errors += text
  })
  const exited = once(child, 'close').then(([code, signal]: (number | string | null)[]) => code ?? signal ?? 0)
  const data = args[args.indexOf('--data') + 1]
  const processes = () => livingProcesses(mark, args.includes('--data') ? data : undefined)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    for (const pid of (await processes()).keys()) kill(pid)
  })
  return {
    pid: child.pid ?? 0,
    output: () => output,
    errors: () => errors,
    exited,
    running: () => child.exitCode === null && child.signalCode === null,
    signal: (signal) => void child.kill(signal),
    processes,
  }
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone by itself.
  }
}

/** Living processes with a mark in their environment; Redis, which writes its title over it, is known by where it works. */
const livingProcesses = async (mark: string, data: string | undefined): Promise<Map<number, string>> => {
  const found = new Map<number, string>()
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (file: string) => readFile(join('/proc', pid, file), 'utf8').catch(() => '')
    const place = await readlink(join('/proc', pid, 'cwd')).catch(() => '')
    const ours = (data !== undefined && place.startsWith(`${data}/redis`)) || (await read('environ')).split('\0').includes(mark)
    // A process that has ended keeps its place until its parent asks for it.
    if (ours && !/^State:\s+Z/m.test(await read('status'))) found.set(Number(pid), (await read('cmdline')).replaceAll('\0', ' '))
  }
  return found
}

/** A folder that is removed when the test is over. */
export const temporaryFolder = async (name = ''): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-cli-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return join(folder, name)
}

/** Waits until `drover up` greets; its address. */
export const greeted = async (up: Command): Promise<string> => {
  await until('drover up greets', () => /Drover is up at \S+[^]*\n(No model yet|Try it)[^]*\n\n/.test(up.output()) || !up.running(), 45_000)
  const url = /Drover is up at (\S+)/.exec(up.output())?.[1]
  if (url === undefined) throw new Error(`drover up ended: ${up.output()}`)
  return url
}

/** Waits until nothing of it is left. @throws with what is left */
export const nothingLeft = async (command: Command): Promise<void> => {
  await until('no process is left', async () => (await command.processes()).size === 0, 25_000).catch(async (error: Error) => {
    throw new Error(`${error.message}: ${[...(await command.processes()).values()].join(', ')}`)
  })
}

import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { findProgram } from '../support/program.ts'

const main = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))

/** Compiled sources of earlier starts: with them a command is up in half the time. */
const compiled = fileURLToPath(new URL('../../node_modules/.cache/drover-test', import.meta.url))

export interface CommandOptions {
  env?: Record<string, string>
  /** What is piped in; nothing at all by default. */
  input?: string
}

/** A command as somebody would type it. */
export interface Running {
  output(): string
  errors(): string
  exited: Promise<number | string>
  signal(name: NodeJS.Signals): void
  /** More of what is typed or piped in. */
  type(text: string): void
  child: ChildProcess
}

const run = (program: string, args: readonly string[], { env = {}, input }: CommandOptions, open: boolean): Running => {
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), NODE_COMPILE_CACHE: compiled, ...env },
    // Not the repository: a drover.yaml lying there is somebody's own.
    cwd: '/',
    stdio: [input === undefined && !open ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  let output = ''
  let errors = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text))
  if (input !== undefined) child.stdin?.end(input)
  const exited = once(child, 'close').then(([code, signal]: (number | string | null)[]) => code ?? signal ?? 0)
  onTestFinished(() => void child.kill('SIGKILL'))
  return {
    output: () => output,
    errors: () => errors,
    exited,
    signal: (name) => void child.kill(name),
    type: (text) => void child.stdin?.write(text),
    child,
  }
}

export const command = (args: readonly string[], options: CommandOptions = {}): Running => run(process.execPath, [main, ...args], options, false)

/** Runs a command to its end. */
export const done = async (args: readonly string[], options: CommandOptions = {}): Promise<{ code: number | string; output: string; errors: string }> => {
  const running = command(args, options)
  const code = await running.exited
  return { code, output: running.output(), errors: running.errors() }
}

/** What a command prints as its one JSON document. @throws when it fails, or prints anything else */
export const json = async (args: readonly string[], options: CommandOptions = {}): Promise<unknown> => {
  const { code, output, errors } = await done([...args, '--json'], options)
  if (code !== 0) throw new Error(`exit code ${code}: ${errors}`)
  return JSON.parse(output) as unknown
}

/** Stands between us and a terminal of its own: what we write is typed, what it shows we read. Ends as the program does. */
const TERMINAL = `
import os, pty, select, sys, fcntl, termios, struct
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 100, 0, 0))
typed = [fd, 0]
while True:
    ready = select.select(typed, [], [])[0]
    if 0 in ready:
        data = os.read(0, 65536)
        if data: os.write(fd, data)
        else: typed = [fd]
    if fd in ready:
        try: data = os.read(fd, 65536)
        except OSError: break
        if not data: break
        os.write(1, data)
status = os.waitpid(pid, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status) % 256)
`

/** Python, whose standard library has pseudo-terminals, as Node's has none. */
export const python = (): string | undefined => findProgram('DROVER_PYTHON', ['python3'], '.drover/python3')

/** For `test.skipIf`: with `CI` or `DROVER_NO_SKIP` it is never true, so that such a test fails and says what is missing. */
export const skipsWithoutTerminal = (): boolean => {
  if (process.env['CI'] || process.env['DROVER_NO_SKIP']) return false
  const missing = spawnSync(python() ?? 'python3', ['-c', 'import pty; pty.openpty()'], { stdio: 'ignore' }).status !== 0
  if (missing) console.warn('no python3, or no pseudo-terminals here: what a terminal shows is not tested')
  return missing
}

/** A command on a terminal of its own, 100 columns wide; both its outputs are what it shows. */
export const onTerminal = (args: readonly string[], options: CommandOptions = {}): Running =>
  run(python() ?? 'python3', ['-c', TERMINAL, process.execPath, main, ...args], { ...options, env: { TERM: 'xterm', ...options.env } }, true)

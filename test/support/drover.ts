import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readListening } from '@drover/service'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const mainOf = (dir: string, which: 'gateway' | 'worker'): string => join(dir, 'apps', which, 'src', 'main.ts')

/** Compiled sources of earlier starts: with them a process is up in half the time. */
const compiled = fileURLToPath(new URL('../../node_modules/.cache/drover-test', import.meta.url))

/** A gateway or worker as a process of its own. */
export interface Part {
  pid: number
  /** Everything it has logged, JSON lines. */
  log(): string
  signal(name: NodeJS.Signals): void
  /** Resolves with exit code or signal name. */
  exited: Promise<number | string>
  /** SIGTERM, then waits for the end; SIGKILL after 10 s. */
  stop(): Promise<number | string>
}

export interface Gateway extends Part {
  url: string
}

export type Environment = Record<string, string>

const start = (main: string, env: Environment, args: string[], within: readonly string[], onOutput?: (text: string) => void): { part: Part; child: ChildProcess } => {
  const [program = '', ...words] = [...within, process.execPath, main, ...args]
  const child = spawn(program, words, {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', DROVER_LOG_FORMAT: 'json', NODE_COMPILE_CACHE: compiled, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // Not the repository: a drover.yaml lying there is somebody's own.
    cwd: '/',
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-1_000_000)
      onOutput?.(text)
    })
  // `close`, not `exit`: what it said last is then read.
  const exited = once(child, 'close').then(([code, signal]: (number | string | null)[]) => code ?? signal ?? 0)
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGCONT')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await exited
      clearTimeout(timer)
    }
    return exited
  }
  const part: Part = { pid: child.pid ?? 0, log: () => log, signal: (name) => void child.kill(name), exited, stop }
  return { part, child }
}

/** Longest that a worker may take to start, ms: a machine that does other things, too, starves it of time. */
const START_MS = 60_000

/** Waits until a condition holds. @throws after `ms`, with what was waited for */
export const until = async (what: string, condition: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> => {
  const end = performance.now() + ms
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}

export interface InstallationSources {
  /** The checkout whose gateway and worker run; this one by default. */
  dir?: string
  /** Hears what every part says, as it says it. `name` is the node's, or the gateway's. */
  onOutput?(name: string, text: string): void
}

/** One installation of Drover on one Redis: a prefix of its own, and any number of gateways and workers. */
export class Installation {
  readonly env: Environment
  readonly prefix = `{t${randomBytes(6).toString('hex')}}`
  #parts: Part[] = []
  #as: (role: 'gateway' | 'worker') => Environment

  #dir: string
  #onOutput: InstallationSources['onOutput']

  /** `urlFor`: how each role comes in, where Redis has users for them. */
  constructor(redisUrl: string, env: Environment = {}, urlFor?: (role: 'gateway' | 'worker') => string, { dir = ROOT, onOutput }: InstallationSources = {}) {
    this.#dir = dir
    this.#onOutput = onOutput
    this.#as = (role) => (urlFor ? { DROVER_REDIS_URL: urlFor(role) } : {})
    this.env = { DROVER_REDIS_URL: redisUrl, DROVER_PREFIX: this.prefix, ...env }
  }

  #start(which: 'gateway' | 'worker', name: string, env: Environment, args: string[], within: readonly string[] = []) {
    return start(mainOf(this.#dir, which), env, args, within, this.#onOutput && ((text) => this.#onOutput?.(name, text)))
  }

  async gateway(env: Environment = {}, args: string[] = []): Promise<Gateway> {
    const { part, child } = this.#start('gateway', env['DROVER_ID'] ?? 'gateway', { ...this.env, ...this.#as('gateway'), DROVER_PORT: '0', ...env }, args)
    this.#parts.push(part)
    const url = await new Promise<string>((resolve, reject) => {
      child.on('message', (message) => {
        const listening = readListening(message)
        if (listening !== undefined) resolve(listening)
      })
      void part.exited.then((code) => reject(new Error(`the gateway ended with ${code}: ${part.log()}`)))
    })
    return { ...part, url }
  }

  /** Starts a worker and waits until its node is in the registry of `gateway`, if one is given. `within`: what runs it, as on another host. */
  async worker(node: string, engines: (string | { url: string; slots?: number; maxLoaded?: number; kind?: string; name?: string; models?: string[] })[], { env = {}, gateway, within = [] }: { env?: Environment; gateway?: { url: string }; within?: readonly string[] } = {}): Promise<Part> {
    const { part } = this.#start('worker', node, { ...this.env, ...this.#as('worker'), DROVER_NODE: node, DROVER_LOOK: 'false', ...env }, engines.flatMap((engine) => ['--engine', typeof engine === 'string' ? engine : JSON.stringify(engine)]), within)
    this.#parts.push(part)
    let ended: number | string | undefined
    void part.exited.then((code) => (ended = code))
    await until(`worker ${node} works`, async () => {
      if (ended !== undefined) throw new Error(`worker ${node} ended with ${ended}: ${part.log()}`)
      return gateway ? (await statusOf(gateway.url)).nodes.some(({ id, engines: held }) => id === node && held.length >= engines.length) : part.log().includes('"working"')
    }, START_MS).catch((error: unknown) => {
      // Nobody has a handle on it yet; one that comes up late would be a second node of this name.
      part.signal('SIGKILL')
      throw error
    })
    return part
  }

  /** Starts a part that is not to run: resolves with its exit code (or signal) and all that it said. */
  async refused(which: 'gateway' | 'worker', env: Environment = {}, args: string[] = []): Promise<{ code: number | string; said: string }> {
    const { part } = this.#start(which, which, { ...this.env, ...this.#as(which), ...(which === 'gateway' ? { DROVER_PORT: '0' } : { DROVER_LOOK: 'false' }), ...env }, args)
    this.#parts.push(part)
    return { code: await part.exited, said: part.log().trimEnd() }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.stop()))
  }
}

export interface StatusAnswer {
  nodes: { id: string; draining: boolean; engines: { id: string; kind: string; layout?: string; models: { model: string; loaded: boolean; continues?: string; only_asked?: boolean; slots: number; busy: number }[] }[] }[]
  lanes: { model: string; class: string; engine?: string; layout?: string; waiting: number; head_age_ms: number; running: number; bytes: number; expected_wait_ms: number | null; short_of?: string; being_brought?: string }[]
  models: { model: string; nodes: string[] }[]
  distributed_inference: {
    enabled: boolean
    active: boolean
    server_count: number
    lenders: { node: string; devices: { name: string; total: number; free: number }[] }[]
    clusters: { model: string; coordinator: string; state: string; members: { node: string; layers: number }[] }[]
    short_of: { model: string; node: string; reason: string; never: boolean }[]
  }
  gateway: { id: string; open_answers: number; following: number }
  redis: { memory_used: number; memory_limit: number | null; memory_full: boolean }
}

export const statusOf = async (url: string): Promise<StatusAnswer> => (await (await fetch(`${url}/api/status`)).json()) as StatusAnswer

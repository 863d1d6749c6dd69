import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { readListening } from '@drover/service'

const mains = {
  gateway: fileURLToPath(new URL('../../apps/gateway/src/main.ts', import.meta.url)),
  worker: fileURLToPath(new URL('../../apps/worker/src/main.ts', import.meta.url)),
}

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

const start = (main: string, env: Environment, args: string[]): { part: Part; child: ChildProcess } => {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', DROVER_LOG_FORMAT: 'json', NODE_COMPILE_CACHE: compiled, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // Not the repository: a drover.yaml lying there is somebody's own.
    cwd: '/',
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-1_000_000)))
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

/** Waits until a condition holds. @throws after `ms`, with what was waited for */
export const until = async (what: string, condition: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> => {
  const end = performance.now() + ms
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}

/** One installation of Drover on one Redis: a prefix of its own, and any number of gateways and workers. */
export class Installation {
  readonly env: Environment
  readonly prefix = `{t${randomBytes(6).toString('hex')}}`
  #parts: Part[] = []
  #as: (role: 'gateway' | 'worker') => Environment

  /** `urlFor`: how each role comes in, where Redis has users for them. */
  constructor(redisUrl: string, env: Environment = {}, urlFor?: (role: 'gateway' | 'worker') => string) {
    this.#as = (role) => (urlFor ? { DROVER_REDIS_URL: urlFor(role) } : {})
    this.env = { DROVER_REDIS_URL: redisUrl, DROVER_PREFIX: this.prefix, ...env }
  }

  async gateway(env: Environment = {}, args: string[] = []): Promise<Gateway> {
    const { part, child } = start(mains.gateway, { ...this.env, ...this.#as('gateway'), DROVER_PORT: '0', ...env }, args)
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

  /** Starts a worker and waits until its node is in the registry of `gateway`, if one is given. */
  async worker(node: string, engines: (string | { url: string; slots?: number; maxLoaded?: number; kind?: string; name?: string; models?: string[] })[], { env = {}, gateway }: { env?: Environment; gateway?: { url: string } } = {}): Promise<Part> {
    const { part } = start(mains.worker, { ...this.env, ...this.#as('worker'), DROVER_NODE: node, DROVER_LOOK: 'false', ...env }, engines.flatMap((engine) => ['--engine', typeof engine === 'string' ? engine : JSON.stringify(engine)]))
    this.#parts.push(part)
    let ended: number | string | undefined
    void part.exited.then((code) => (ended = code))
    await until(`worker ${node} works`, async () => {
      if (ended !== undefined) throw new Error(`worker ${node} ended with ${ended}: ${part.log()}`)
      return gateway ? (await statusOf(gateway.url)).nodes.some(({ id, engines: held }) => id === node && held.length >= engines.length) : part.log().includes('"working"')
    })
    return part
  }

  /** Starts a part that is not to run: resolves with its exit code (or signal) and all that it said. */
  async refused(which: 'gateway' | 'worker', env: Environment = {}, args: string[] = []): Promise<{ code: number | string; said: string }> {
    const { part } = start(mains[which], { ...this.env, ...this.#as(which), ...(which === 'gateway' ? { DROVER_PORT: '0' } : { DROVER_LOOK: 'false' }), ...env }, args)
    this.#parts.push(part)
    return { code: await part.exited, said: part.log().trimEnd() }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.stop()))
  }
}

export interface StatusAnswer {
  nodes: { id: string; draining: boolean; engines: { id: string; kind: string; models: { model: string; loaded: boolean; slots: number; busy: number }[] }[] }[]
  lanes: { model: string; class: string; waiting: number; head_age_ms: number; running: number }[]
  models: { model: string; nodes: string[] }[]
  gateway: { id: string; open_answers: number; following: number }
}

export const statusOf = async (url: string): Promise<StatusAnswer> => (await (await fetch(`${url}/api/status`)).json()) as StatusAnswer

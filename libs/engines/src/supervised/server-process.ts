import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@drover/core'
import type { Engine } from '../engine.ts'
import { findProgram } from '../find-program.ts'
import { freePort } from '../free-port.ts'
import { startGuarded } from '../guarded.ts'
import { engineHttp } from '../http.ts'
import { llamaServer } from '../llama-server.ts'
import { batchOf } from './memory.ts'
import type { ModelFile } from './model-files.ts'

export interface ServerSettings {
  /** The program's path, or its name on the search path; `llama-server` when absent. */
  program?: string | undefined
  slots: number
  /** Tokens per slot. */
  ctx: number
  gpuLayers?: number | undefined
  /** How long a model may take until it answers, ms. */
  startMs: number
  /** The environment that its process is given, less what looks like a secret. */
  env: Readonly<Record<string, string>>
  /** What it is told besides. */
  args?: readonly string[]
  /** Hears each line that it says. */
  onLine?(line: string): void
}

/** A `llama-server` that has its model in memory. */
export interface RunningServer {
  pid: number
  engine: Engine
  /** Resolves when the process is gone, with what to tell those whose answers it took along. */
  exited: Promise<BrokerError>
  /** SIGTERM, and SIGKILL for one that does not go. Resolves when the process is gone. */
  stop(): Promise<void>
}

export interface StartedServer extends RunningServer {
  /** SIGKILL. Resolves when the process is gone. */
  kill(): Promise<void>
}

const PORT_TRIES = 3
const STOP_MS = 1_000
const POLL_MS = 25
/** Lines that a process' last words are looked for in. */
const LAST_LINES = 60
const REASON_LENGTH = 400

/** Where `llama-server` is, or why it cannot be run. */
export const findServer = (program?: string, searchPath?: string): { path: string } | { reason: string } =>
  findProgram({ names: ['llama-server'], named: program, searchPath, setting: 'DROVER_LLAMA_SERVER' })

/**
 * Starts a `llama-server` for one model; resolves when it answers, its own warm-up run over. It is bound to the loopback and asks for a
 * key that stands in no argument.
 * @throws BrokerError `engine_failed` with the cause, the process gone; the signal's reason when that ends it
 */
export const startServer = async (file: ModelFile, settings: ServerSettings, signal: AbortSignal): Promise<StartedServer> => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startOnce(file, settings, signal)
    } catch (error) {
      // Somebody else took the port that was free a moment ago.
      if (signal.aborted || tries === PORT_TRIES || !(error instanceof Error && /couldn't bind|address already in use/i.test(error.message))) throw error
    }
  }
}

const startOnce = async (file: ModelFile, settings: ServerSettings, signal: AbortSignal): Promise<StartedServer> => {
  const found = findServer(settings.program, settings.env['PATH'])
  if ('reason' in found) throw new BrokerError('engine_failed', `${file.model} cannot be loaded: ${found.reason}`)
  const port = await freePort()
  signal.throwIfAborted()
  const apiKey = randomBytes(24).toString('base64url')
  let ready = false
  let lines: string[] = []
  const server = startGuarded({
    path: found.path,
    args: argumentsFor(file, settings, port),
    env: settings.env,
    also: { LLAMA_API_KEY: apiKey, GGML_NO_BACKTRACE: '1' },
    onLine: (line) => {
      lines = [...lines, line].slice(-LAST_LINES)
      settings.onLine?.(line)
    },
  })
  const exited = server.ended.then((end) => new BrokerError('engine_failed', `llama-server for ${file.model} ended by itself (${end})${lastWords(lines, ready)}`))
  const address = { id: `llama-server for ${file.model}`, url: `http://127.0.0.1:${port}`, apiKey }
  const engine = llamaServer({ ...address, name: file.model })
  const giveUp = new AbortController()
  try {
    const limit = AbortSignal.timeout(settings.startMs)
    const failure = await Promise.race([exited, answers(address, AbortSignal.any([signal, limit, giveUp.signal]))])
    if (failure) throw failure
    // With its own key: whatever else might listen on that port would refuse it.
    await engine.look(signal)
  } catch (error) {
    giveUp.abort()
    server.kill()
    await Promise.all([server.ended, engine.close()])
    if (signal.aborted) throw signal.reason
    if (error instanceof BrokerError) throw error
    throw new BrokerError('engine_failed', `llama-server for ${file.model} was not ready after ${settings.startMs / 1000} s${lastWords(lines, ready)}`, { cause: error })
  }
  ready = true
  lines = []
  return {
    pid: server.pid,
    engine,
    exited,
    stop: async () => {
      await server.stop(STOP_MS)
      await engine.close()
    },
    kill: async () => {
      server.kill()
      await server.ended
      await engine.close()
    },
  }
}

const argumentsFor = ({ model, path, facts }: ModelFile, { slots, ctx, gpuLayers, args = [] }: ServerSettings, port: number): string[] => [
  '-m', path, '--alias', model, '--host', '127.0.0.1', '--port', String(port),
  // Slots that share one context die together when they fill it; with a number of its own each has its part.
  '-np', String(slots), '-c', String(slots * ctx),
  // Its cache of idle prompts would take up to 8 GB that nobody has counted.
  '--cache-ram', '0',
  ...(gpuLayers === undefined ? [] : ['-ngl', String(gpuLayers)]),
  ...(facts.embedding ? embeddingArguments(facts, ctx) : []),
  ...args,
]

/** A text is embedded in one batch. One whose model does not say how its vectors become one would get none at all. */
const embeddingArguments = (facts: ModelFile['facts'], ctx: number): string[] => {
  const batch = String(batchOf(facts, ctx))
  return [...(facts.pooling === 'rank' ? ['--reranking'] : ['--embeddings', '--pooling', facts.pooling ?? 'mean']), '-b', batch, '-ub', batch]
}

/** Resolves when it is ready. Rejects only by the signal. */
const answers = async (address: { id: string; url: string }, signal: AbortSignal): Promise<undefined> => {
  const http = engineHttp(address)
  try {
    for (;;) {
      const ready = await http.get('/health', signal, 2_000).then(({ status }) => status === 200, () => false)
      signal.throwIfAborted()
      if (ready) return undefined
      await sleep(POLL_MS, undefined, { signal })
    }
  } finally {
    await http.close()
  }
}

/**
 * The lines that say why, without the time before them. Once it has served requests only what its library says of machine and memory is
 * repeated: other lines may hold what was asked or answered.
 */
const lastWords = (lines: readonly string[], served: boolean): string => {
  const telling = served
    ? lines.filter((line) => /GGML_ASSERT|ggml_abort|out of memory|failed to allocate|CUDA error|Remote RPC server/i.test(line))
    : lines.filter((line) => /^[\d.]+ E |error|failed/i.test(line))
  const chosen = telling.length > 0 || served ? telling.slice(0, 2) : lines.slice(-2)
  const text = chosen.map((line) => line.replace(/^[\d.]+ [A-Z] +/, '').trim()).filter(Boolean).join(' | ')
  return text === '' ? '' : `: ${text.slice(0, REASON_LENGTH)}`
}

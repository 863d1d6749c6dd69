import { setTimeout as sleep } from 'node:timers/promises'
import { findProgram, freePort, startProgram } from './program.ts'

export interface LlamaServerOptions {
  /** Path of a GGUF file. */
  model: string
  /** 1 by default. */
  slots?: number
  /** Tokens per slot, 1,024 by default. */
  ctx?: number
  /** The model's name in its API; default: `tiny`. */
  alias?: string
  extraArgs?: string[]
}

export interface LlamaServer extends AsyncDisposable {
  url: string
  alias: string
  pid: number
  /** Resolves with the exit code, or the signal's name. */
  exited: Promise<number | string>
  signal(name: NodeJS.Signals): void
  /** The last of what it printed. */
  log(): string
  /** Ends it at once; resolves when the process is gone. */
  stop(): Promise<void>
}

/** Where a real llama-server is, if anywhere. */
export const llamaServerPath = (): string | undefined =>
  findProgram('DROVER_LLAMA_SERVER', ['llama-server'], '.drover/llama.cpp/bin/llama-server')

const noSkip = () => Boolean(process.env['CI'] || process.env['DROVER_NO_SKIP'])

/**
 * For `test.skipIf(...)`: true where there is no llama-server. With `CI` or `DROVER_NO_SKIP` set it is never true, so that such a
 * test fails and says what is missing.
 */
export const skipsWithoutLlamaServer = (): boolean => llamaServerPath() === undefined && !noSkip()

const START_MS = 60_000

/**
 * A real llama-server on a port of its own; resolves when its model is loaded.
 * @throws Error that names what is missing or went wrong
 */
export const startLlamaServer = async (options: LlamaServerOptions): Promise<LlamaServer> => {
  const { model, slots = 1, ctx = 1024, alias = 'tiny', extraArgs = [] } = options
  const found = llamaServerPath()
  if (!found) {
    const ways = 'set DROVER_LLAMA_SERVER, put one on PATH, or run deploy/setup/install-llama-cpp.sh .drover/llama.cpp'
    throw new Error(`no llama-server: ${ways}`)
  }
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  // Without -np it shares one context over four slots, and all requests die when together they fill it. Its threads wait for each
  // other by spinning: two of them on busy cores are a hundred times slower than one.
  const args = [
    '-m', model, '-a', alias, '--host', '127.0.0.1', '--port', String(port), '-np', String(slots), '-c', String(slots * ctx),
    '--cache-ram', '0', '--metrics', '-t', '1', '-tb', '1', ...extraArgs,
  ]
  const program = await startProgram(found, args, { GGML_NO_BACKTRACE: '1' })
  const stop = async () => {
    program.signal('SIGKILL')
    await program.exited
  }
  const limit = Date.now() + START_MS
  for (;;) {
    const healthy = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) }).then(({ ok }) => ok, () => false)
    if (healthy && program.running()) break
    if (!program.running() || Date.now() > limit) {
      await stop()
      throw new Error(`${found} does not come up: ${program.log().trim().split('\n').slice(-5).join(' | ')}`)
    }
    await sleep(20)
  }
  const { pid, exited, signal, log } = program
  return { url, alias, pid, exited, signal, log, stop, [Symbol.asyncDispose]: stop }
}

import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@drover/core'
import { findProgram } from '../find-program.ts'
import { freePort, type PortRange } from '../free-port.ts'
import { startGuarded } from '../guarded.ts'
import { rpcHello } from './hello.ts'

/** Debian has the program in none of the folders of the search path. */
const FOLDERS = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((triplet) => `/usr/libexec/${triplet}/llama/bin`)

const PORT_TRIES = 3
const POLL_MS = 20
/** Somebody else who has the port may have said hello: ours then ends within this time, ms. One that says that it was spoken to need not be waited for. */
const OWN_MS = 5_000
/** Lines that a process' last words are looked for in. */
const LAST_LINES = 60
const REASON_LENGTH = 400
/** What an rpc-server may have besides what is lent, bytes, or a part of it: a plan is an estimate, and the program needs something for itself. */
const ROOM = { least: 1024 ** 3, part: 1 / 4 }

/** Where llama.cpp's RPC server is, or why it cannot be run. */
export const findRpcServer = (program?: string, searchPath?: string): { path: string } | { reason: string } =>
  findProgram({ names: ['rpc-server', 'ggml-rpc-server'], named: program, searchPath, folders: FOLDERS, setting: 'DROVER_RPC_SERVER' })

export interface RpcServerSettings {
  /** The program's path, or its name on the search path. */
  program?: string | undefined
  /** The environment that its process is given, less what looks like a secret. `LLAMA_ARG_THREADS`: threads on a CPU; else one for each. */
  env: Readonly<Record<string, string>>
}

export interface RpcServerWish {
  /** IPv4 address of this machine that it is bound to. */
  address: string
  /** Of which its port is one; absent: any. */
  ports?: PortRange | undefined
  /** As llama.cpp calls them; absent: the cards if there are any, else the CPU. */
  devices?: readonly string[] | undefined
  /** Bytes that are lent. On a CPU the process is refused what goes far beyond: a quarter more, at least 1 GiB. Memory of cards has no such bound. */
  bytes?: number | undefined
}

/** A device as an rpc-server tells of it. */
export interface RpcDevice {
  name: string
  kind: 'cpu' | 'gpu'
  /** What it is, for people. */
  description: string
  /** Bytes. */
  total: number
  free: number
}

/** An `rpc-server` that has said hello and waits for a coordinator. It dies with this process. */
export interface RpcServer {
  pid: number
  port: number
  /** Of the protocol. */
  version: string
  devices: RpcDevice[]
  /** Resolves when the process is gone, with how, and what it said last. */
  exited: Promise<string>
  /** SIGKILL: what it serves notices that anyway. Resolves when the process is gone. */
  kill(): Promise<void>
}

/**
 * Starts an rpc-server on a free port.
 * @throws BrokerError `engine_failed` with the cause, the process gone; the signal's reason when that ends it
 */
export const startRpcServer = async (wish: RpcServerWish, settings: RpcServerSettings, signal: AbortSignal): Promise<RpcServer> => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startOnce(wish, settings, signal)
    } catch (error) {
      // Somebody else took the port that was free a moment ago.
      if (signal.aborted || tries === PORT_TRIES || !(error instanceof Error && error.message.includes(PORT_TAKEN))) throw error
    }
  }
}

/** Its last words when somebody has its port; its exit code is then 0. */
const PORT_TAKEN = 'Failed to create server socket'

const startOnce = async ({ address, ports, devices, bytes }: RpcServerWish, { program, env }: RpcServerSettings, signal: AbortSignal): Promise<RpcServer> => {
  const found = findRpcServer(program, env['PATH'])
  if ('reason' in found) throw new BrokerError('engine_failed', found.reason)
  const port = await freePort(address, ports)
  signal.throwIfAborted()
  const threads = Number(env['LLAMA_ARG_THREADS']) || availableParallelism()
  let lines: string[] = []
  const heard = Promise.withResolvers<void>()
  const server = startGuarded({
    path: found.path,
    args: ['-H', address, '-p', String(port), '-t', String(threads), ...(devices === undefined ? [] : ['-d', devices.join(',')])],
    env,
    // The numbers of cards are then those of `nvidia-smi`.
    also: { GGML_NO_BACKTRACE: '1', CUDA_DEVICE_ORDER: 'PCI_BUS_ID' },
    ...(bytes !== undefined && devices?.every((name) => kindOf(name) === 'cpu') && { memory: bytes + Math.max(ROOM.least, bytes * ROOM.part) }),
    onLine: (line) => {
      lines = [...lines, line].slice(-LAST_LINES)
      if (line.includes('Accepted client connection')) heard.resolve()
    },
  })
  const exited = server.ended.then((end) => `rpc-server ended by itself (${end})${lastWords(lines)}`)
  const starting = new AbortController()
  const over = AbortSignal.any([signal, starting.signal])
  const failure = exited.then((reason) => {
    throw new BrokerError('engine_failed', reason)
  })
  failure.catch(() => undefined)
  try {
    const version = await Promise.race([failure, answers(address, port, over)])
    // Ours, and not what somebody else has on that port.
    await Promise.race([failure, heard.promise, sleep(OWN_MS, undefined, { signal: over })])
    return {
      pid: server.pid,
      port,
      version,
      devices: lines.flatMap(deviceOf),
      exited,
      async kill() {
        server.kill()
        await server.ended
      },
    }
  } catch (error) {
    server.kill()
    await server.ended
    if (signal.aborted) throw signal.reason
    throw error instanceof BrokerError ? error : new BrokerError('engine_failed', 'rpc-server cannot be used', { cause: error })
  } finally {
    starting.abort()
  }
}

/** Until it answers. @throws the signal's reason */
const answers = async (address: string, port: number, signal: AbortSignal): Promise<string> => {
  for (;;) {
    const version = await rpcHello(address, port, signal).catch(() => undefined)
    signal.throwIfAborted()
    if (version !== undefined) return version
    await sleep(POLL_MS, undefined, { signal })
  }
}

const kindOf = (name: string): 'cpu' | 'gpu' => (name === 'CPU' ? 'cpu' : 'gpu')

const MIB = 1024 ** 2

/** `  CUDA0: NVIDIA H100 80GB HBM3 (81079 MiB, 80552 MiB free)`, as it says when it starts. */
const deviceOf = (line: string): RpcDevice[] => {
  const [, name, description = '', total, free] = /^ +([\w.-]+): (.*) \((\d+) MiB, (\d+) MiB free\)$/.exec(line) ?? []
  return name === undefined ? [] : [{ name, kind: kindOf(name), description, total: Number(total) * MIB, free: Number(free) * MIB }]
}

/** The lines that say why. It knows nothing of what is asked or answered: its clients send it numbers. */
const lastWords = (lines: readonly string[]): string => {
  const telling = lines.filter((line) => /GGML_ASSERT|ggml_abort|out of memory|failed|error/i.test(line) && !line.includes('failed to enumerate'))
  const text = telling.slice(-2).map((line) => line.trim()).join(' | ')
  return text === '' ? '' : `: ${text.slice(0, REASON_LENGTH)}`
}

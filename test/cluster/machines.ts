import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Installation, type Environment, type Part } from '../support/drover.ts'
import { llamaServerPath } from '../support/llama-server.ts'
import { bestNetwork, type Host, type Network } from '../support/network.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { rpcServerPath } from '../support/rpc-server.ts'

/** What a machine of a test has, and how its worker is told of it. */
export interface MachineWish {
  name: string
  /** Bytes that its worker may use; it lends as many. */
  memory: number
  env?: Environment
}

/** A host with a worker on it. */
export interface Machine {
  readonly name: string
  readonly host: Host
  /** A folder of its own for models. */
  readonly folder: string
  /** Where a llama-server that it coordinates with says what it does. */
  readonly engineLog: string
  worker(): Part
  /** Starts its worker, once more where there was one, with the URLs of its engines and whatever else it is told; what is absent is as last time. */
  work(engines?: readonly string[], env?: Environment): Promise<void>
  /** All that its workers have logged, one JSON object each. */
  logged(): Record<string, unknown>[]
}

/** Machines on a network of their own; Redis and gateways are on the test's own address, where the machines reach them. */
export interface Machines {
  network: Network
  redis: RedisServer
  drover: Installation
  all: Machine[]
  named(name: string): Machine
  /** Ends all that runs on them and takes them away. */
  close(): Promise<void>
}

const machineOf = ({ name, memory, env = {} }: MachineWish, host: Host, folder: string, drover: Installation): Machine => {
  const engineLog = join(folder, '..', `${name}.log`)
  const lent = { DROVER_LEND: 'true', DROVER_LEND_ADDRESS: host.address, DROVER_LEND_MEMORY: String(memory), DROVER_RPC_SERVER: rpcServerPath() ?? 'rpc-server' }
  const own = { DROVER_MODELS_DIR: folder, DROVER_LLAMA_SERVER: llamaServerPath() ?? 'llama-server', DROVER_LLAMA_MEMORY: String(memory) }
  // Threads of llama.cpp wait for each other by spinning, which on busy cores takes a hundred times as long.
  const llama = { LLAMA_ARG_THREADS: '1', LLAMA_ARG_LOG_FILE: engineLog }
  const logs: string[] = []
  let told: { engines: readonly string[]; more: Environment } = { engines: [], more: {} }
  let part: Part | undefined
  const worker = () => {
    if (!part) throw new Error(`no worker has been started on ${name}`)
    return part
  }
  return {
    name, host, folder, engineLog, worker,
    async work(engines = told.engines, more = told.more) {
      if (part) logs.push(part.log())
      told = { engines, more }
      part = await drover.worker(name, [...engines], { env: { ...own, ...lent, ...llama, ...env, ...more }, within: host.within })
    },
    logged: () => [...logs, worker().log()].join('\n').split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Record<string, unknown>] : [])),
  }
}

/** Makes machines; their workers are not yet started. */
export const openMachines = async (wishes: readonly MachineWish[]): Promise<Machines> => {
  const closers: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const end of closers.splice(0).toReversed()) await end().catch((error: unknown) => console.error(error))
  }
  try {
    const root = await mkdtemp(join(tmpdir(), 'drover-machines-'))
    closers.push(() => rm(root, { recursive: true, force: true }))
    const network = await bestNetwork(wishes.length)
    closers.push(network.close)
    const redis = await startRedis({ tcp: true, host: network.address, roles: true })
    closers.push(redis.stop)
    const drover = new Installation(redis.url, { DROVER_DRAIN_LIMIT: '500ms' }, redis.urlFor)
    closers.push(async () => {
      for (const host of network.hosts) host.mend()
      await drover.stop()
    })
    const all = await Promise.all(wishes.map(async (wish, i) => {
      const folder = join(root, wish.name)
      await mkdir(folder)
      return machineOf(wish, network.hosts[i]!, folder, drover)
    }))
    const named = (name: string) => {
      const machine = all.find((each) => each.name === name)
      if (!machine) throw new Error(`there is no machine ${name}`)
      return machine
    }
    return { network, redis, drover, all, named, close }
  } catch (error) {
    await close()
    throw error
  }
}

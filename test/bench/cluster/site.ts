import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { rpcHello } from '@drover/engines'
import { memoryNeeded } from '../../../libs/engines/src/supervised/memory.ts'
import { openMachines, type Machine, type Machines } from '../../cluster/machines.ts'
import { besides, llamaOn, type LlamaProcess } from '../../cluster/processes.ts'
import { modelFileAt } from '../../cluster/sizes.ts'
import { clustersOf, CONTEXT, LARGE, SIZES, SLOTS } from '../../cluster/stage.ts'
import { writeTinyModel } from '../../gguf/tiny-model.ts'
import { statusOf, until, type Environment, type Gateway } from '../../support/drover.ts'
import { llamaServerPath } from '../../support/llama-server.ts'
import { startProgram, type Program } from '../../support/program.ts'
import { rpcServerPath } from '../../support/rpc-server.ts'

const MIB = 2 ** 20
const LENT = 1_024 * MIB
const START_MS = 60_000
/** Long enough for the next request of a turn, and then it is over soon. */
const KEEP_ALIVE_MS = 1_500
const ENGINE: Environment = { LLAMA_ARG_THREADS: '1', LLAMA_ARG_CACHE_PROMPT: '0' }

/** Something that answers with the model, from nothing. */
export interface Way {
  url: string
  model: string
  /** Ends it; resolves when no process and no loan of it is left. */
  end(): Promise<void>
}

/** A machine that coordinates, and so many that each have an equal part of the layers. */
export interface Site {
  /** What Drover runs: begins when it is asked. */
  drover(): Promise<Way>
  /** The same processes with the same arguments, started by hand. */
  plain(): Promise<Way>
  close(): Promise<void>
}

/** How the layers lie: the last parts are the smaller ones, as the output is behind the last layer. */
export const layersOver = (lenders: readonly string[], layers: number): Record<string, [number, number]> => {
  let from = 0
  return Object.fromEntries(lenders.map((name, i) => {
    const to = from + Math.ceil((layers - from) / (lenders.length - i))
    const part: [string, [number, number]] = [name, [from, to]]
    from = to
    return part
  }))
}

const withValue = (args: readonly string[], flag: string, value: string): string[] => args.map((each, i) => (args[i - 1] === flag ? value : each))

/** The processes of a cluster as Drover has started them. */
interface Model {
  server: LlamaProcess
  lent: { machine: Machine; process: LlamaProcess }[]
}

/** Starts them once more by hand, bound to the network where they were bound to the loopback. */
const byHand = async ({ server, lent }: Model, coordinator: Machine): Promise<Way> => {
  const started: Program[] = []
  const on = async ({ host: { within } }: Machine, program: string, args: string[], env: Environment): Promise<Program> => {
    const [first = '', ...words] = [...within, program, ...args]
    const running = await startProgram(first, words, { ...ENGINE, ...env })
    started.push(running)
    return running
  }
  const end = async () => {
    for (const each of started) each.signal('SIGKILL')
    await Promise.all(started.map(({ exited }) => exited))
  }
  try {
    let port = 51_000
    const addresses: string[] = []
    for (const { machine, process: { args } } of lent) {
      port += 1
      addresses.push(`${machine.host.address}:${port}`)
      await on(machine, rpcServerPath() ?? 'rpc-server', withValue(args, '-p', String(port)), {})
    }
    for (const [i, { machine: { host } }] of lent.entries())
      await until('an rpc-server says hello', () => rpcHello(host.address, Number(addresses[i]?.split(':')[1]), AbortSignal.timeout(1_000)).then(Boolean, () => false), START_MS)
    port += 1
    const url = `http://${coordinator.host.address}:${port}`
    const args = withValue(withValue(withValue(server.args, '--rpc', addresses.join(',')), '--host', coordinator.host.address), '--port', String(port))
    const running = await on(coordinator, llamaServerPath() ?? 'llama-server', args, { LLAMA_ARG_LOG_FILE: `${coordinator.engineLog}.plain`, GGML_NO_BACKTRACE: '1' })
    const limit = performance.now() + START_MS
    while (!(await fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) }).then(({ ok }) => ok, () => false))) {
      if (!running.running() || performance.now() > limit) throw new Error(`llama-server does not come up: ${running.log().slice(-400)}`)
      await sleep(5)
    }
    return { url, model: 'any', end }
  } catch (error) {
    await end()
    throw error
  }
}

/** Whether it is only the workers that run, and all that is lent is there again. */
const isQuiet = async (url: string, { all }: Machines): Promise<boolean> => {
  if (all.some((machine) => besides(machine.host, [machine.worker().pid]).length > 0)) return false
  const { distributed_inference: { clusters, lenders } } = await statusOf(url)
  return clusters.length === 0 && lenders.every(({ devices }) => devices.every(({ free, total }) => free === total))
}

const modelOf = async (url: string, machines: Machines): Promise<Model> => {
  const [cluster] = await clustersOf(url)
  const [server] = llamaOn(machines.named('c').host)
  if (!server || cluster?.state !== 'ready') throw new Error('there is no cluster')
  const lent = cluster.members.map(({ node }) => {
    const machine = machines.named(node)
    const [process] = llamaOn(machine.host)
    if (!process) throw new Error(`${node} lends nothing`)
    return { machine, process }
  })
  return { server, lent }
}

/** A gateway, a machine that coordinates and has no layer itself, and lenders that have them all. */
export const openSite = async (members: number): Promise<Site> => {
  const lenders = Array.from({ length: members }, (_, i) => `l${i + 1}`)
  const layers = layersOver(lenders, SIZES.layers)
  const env: Environment = {
    ...ENGINE, DROVER_NUM_CTX: String(CONTEXT), DROVER_LLAMA_SLOTS: String(SLOTS), DROVER_KEEP_ALIVE: `${KEEP_ALIVE_MS}ms`,
    DROVER_CLUSTER_MODELS: JSON.stringify({ [LARGE]: { layers } }),
  }
  const machines = await openMachines([
    { name: 'c', memory: LENT, env: { ...env, DROVER_LEND: 'false' } },
    ...lenders.map((name) => ({ name, memory: LENT, env })),
  ])
  try {
    const path = join(machines.named('c').folder, 'large.gguf')
    await writeTinyModel({ path, ...SIZES })
    // It is not to fit on the machine that has its file.
    const alone = memoryNeeded(await modelFileAt(path), { slots: SLOTS, ctx: CONTEXT })
    const gateway: Gateway = await machines.drover.gateway()
    for (const machine of machines.all) await machine.work([], machine.name === 'c' ? { DROVER_LLAMA_MEMORY: String(alone - MIB) } : {})
    await until('the model is held', async () => (await statusOf(gateway.url)).nodes.some(({ engines }) => engines.some(({ layout, models }) => layout === 'cluster' && models.length > 0)))
    let model: Model | undefined
    const quiet = () => until('nothing is left', () => isQuiet(gateway.url, machines), START_MS)
    return {
      drover: async () => ({ url: gateway.url, model: LARGE, end: async () => {
        model ??= await modelOf(gateway.url, machines)
        await quiet()
      } }),
      async plain() {
        if (!model) throw new Error('what is to be started by hand is not yet known')
        return byHand(model, machines.named('c'))
      },
      close: machines.close,
    }
  } catch (error) {
    await machines.close()
    throw error
  }
}

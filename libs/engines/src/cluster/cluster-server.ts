import { BrokerError, isOwnProcessor, splitOf } from '@drover/core'
import type { ClusterMember, ClusterPlan, RunSizes } from '@drover/core'
import { isStopped } from '../stopped.ts'
import type { ModelFile } from '../supervised/model-files.ts'
import { startServer } from '../supervised/server-process.ts'
import type { RunningServer, ServerSettings } from '../supervised/server-process.ts'
import { differenceFrom, OWN, placementReader } from './placement.ts'

export interface ClusterServerOptions {
  plan: ClusterPlan
  /** `host:port` of the rpc-server that a part on another node lies on. */
  addressOf(member: ClusterMember): string
  run: Pick<RunSizes, 'kvType' | 'flashAttention'>
}

export type ClusterServerSettings = Omit<ServerSettings, 'slots' | 'ctx' | 'gpuLayers' | 'args' | 'onLine'>

/** How often it is looked whether the process is stopped, ms. */
const LOOK_MS = 1_000

/** A `llama-server` that has its layers on several devices. */
export interface ClusterServer extends RunningServer {
  /** It cannot go on, whatever it says of itself: it is ended at once, and `exited` tells why. */
  fail(reason: string): void
}

/**
 * Starts a `llama-server` whose layers lie as planned, on rpc-servers that wait for it. What it tells of where it has put them is compared
 * with the plan before anybody may use it.
 * @throws BrokerError `engine_failed` with the cause, also where they lie otherwise, the process gone; the signal's reason when that ends it
 */
export const startClusterServer = async (file: ModelFile, options: ClusterServerOptions, settings: ClusterServerSettings, signal: AbortSignal): Promise<ClusterServer> => {
  const { plan } = options
  const { placement, read } = placementReader()
  let reading = true
  const server = await startServer(
    file,
    { ...settings, slots: plan.slots, ctx: plan.context, args: argumentsFor(options), onLine: (line) => reading && read(line) },
    signal,
  )
  reading = false
  const planned = plan.members.map((member) => ({ device: isOwnProcessor(plan.coordinator, member) ? OWN : deviceOf(options, member), member }))
  const difference = differenceFrom(planned, file.facts.shape, placement)
  if (difference !== undefined) {
    await server.kill()
    throw new BrokerError('engine_failed', `${file.model} does not lie as planned: ${difference}`)
  }
  let failure: BrokerError | undefined
  const fail = (reason: string): void => {
    failure ??= new BrokerError('engine_failed', `${file.model} cannot go on: ${reason}`)
    void server.kill()
  }
  // No connection tells that it is stopped.
  const timer = setInterval(() => void isStopped(server.pid).then((is) => is && fail('its llama-server was stopped')), LOOK_MS)
  return {
    ...server,
    fail,
    exited: server.exited.then((error) => {
      clearInterval(timer)
      return failure ?? error
    }),
  }
}

/** As `Placement` calls it. */
const deviceOf = ({ plan, addressOf }: ClusterServerOptions, member: ClusterMember): string =>
  member.node === plan.coordinator ? member.device : addressOf(member)

const argumentsFor = (options: ClusterServerOptions): string[] => {
  const { plan, addressOf, run: { kvType = 'f16', flashAttention = true } } = options
  const { gpuLayers, tensorSplit } = splitOf(plan)
  const moved = plan.members.filter((member) => !isOwnProcessor(plan.coordinator, member))
  const remote = moved.filter(({ node }) => node !== plan.coordinator)
  // It numbers its rpc-servers in the order in which they are named.
  const names = moved.map((member) => (member.node === plan.coordinator ? member.device : `RPC${remote.indexOf(member)}`))
  return [
    ...(remote.length > 0 ? ['--rpc', remote.map(addressOf).join(',')] : []),
    '--device', names.length > 0 ? names.join(',') : 'none',
    ...(names.length > 0 ? ['--tensor-split', tensorSplit.join(',')] : []),
    '--n-gpu-layers', String(gpuLayers),
    '--flash-attn', flashAttention ? 'on' : 'off',
    '--cache-type-k', kvType, '--cache-type-v', kvType,
    // It would move layers by what it thinks is free.
    '--fit', 'off',
    // From this on it tells where it has put what.
    '-lv', '4',
  ]
}

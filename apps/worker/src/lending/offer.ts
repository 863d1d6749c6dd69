import { inGigabytes, type LentDevice, type NodeRecord } from '@drover/core'
import { startRpcServer, usableOf, type RpcDevice, type RpcServerSettings } from '@drover/engines'
import { ExitError, ownAddresses, type Log } from '@drover/service'
import type { WorkerConfig } from '../config.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import { checkLendAddress } from './address.ts'

/** A first start of a card's driver takes seconds, ms. */
const LISTING_MS = 60_000

/** What a node lends: where its rpc-servers listen, and of which devices. */
export interface Offer {
  address: string
  ports?: WorkerConfig['lendPorts']
  devices: Omit<LentDevice, 'free'>[]
  /** Most bytes of all of them together. */
  most: number
}

/**
 * What this node lends by its settings; the devices are those that an rpc-server itself tells of.
 * @returns `undefined` where it lends nothing
 * @throws ExitError when what is set cannot be done
 */
export const offerOf = async (config: WorkerConfig, rpc: RpcServerSettings, budget: MemoryBudget, log: Log): Promise<Offer | undefined> => {
  if (!config.lend) return undefined
  checkLendAddress(config.lendAddress, ownAddresses())
  const named = config.lendDevice.length > 0 ? config.lendDevice : undefined
  const server = await startRpcServer({ address: '127.0.0.1', devices: named }, rpc, AbortSignal.timeout(LISTING_MS)).catch((error: unknown) => {
    throw new ExitError(`memory cannot be lent: ${error instanceof Error ? error.message : String(error)}`, undefined, { cause: error })
  })
  await server.kill()
  if (server.devices.length === 0) throw new ExitError('memory cannot be lent: rpc-server does not say which devices it has')
  const most = Math.min(config.lendMemory ?? Infinity, budget.total)
  const devices = server.devices.map((device) => ({ name: device.name, kind: device.kind, total: Math.min(most, totalOf(device, config.llamaMemory)) }))
  log.info(
    { address: config.lendAddress, memory: inGigabytes(most), devices: server.devices.map(({ name, description }) => `${name}: ${description}`), protocol: server.version },
    'lends memory',
  )
  return { address: config.lendAddress, ports: config.lendPorts, devices, most }
}

/** What may be used of a device when nobody uses any. What a card of somebody else's make has free is only known at the start. */
const totalOf = ({ name, kind, total, free }: RpcDevice, llamaMemory: number | undefined): number => {
  if (kind === 'cpu') return llamaMemory ?? usableOf('cpu', process.availableMemory())
  return usableOf('gpu', cardOf(name) === undefined ? free : total)
}

/** The place of a device among the cards that `nvidia-smi` lists, where that is known. */
const cardOf = (device: string, visible = process.env['CUDA_VISIBLE_DEVICES']): number | undefined => {
  const [, index] = /^CUDA(\d+)$/.exec(device) ?? []
  if (index === undefined) return undefined
  if (visible === undefined) return Number(index)
  const place = visible.split(',')[Number(index)]?.trim() ?? ''
  return /^\d+$/.test(place) ? Number(place) : undefined
}

/** What there really is free is told in steps: not each page that somebody else takes is news. */
const STEP = 16 * 1024 ** 2
const inSteps = (bytes: number): number => Math.floor(bytes / STEP) * STEP

/**
 * Bytes that can be lent of a device now: what is not lent of it to the byte, so that a model which just fits does; never more than there
 * really is.
 * @param lent bytes of it that are lent
 * @param left bytes that may be lent of all devices together
 */
export const freeOf = ({ name, kind, total }: Offer['devices'][number], lent: number, left: number, cards: NodeRecord['gpus']): number => {
  const card = cardOf(name)
  const there = kind === 'cpu' ? process.availableMemory() : card === undefined ? Infinity : usableOf('gpu', cards[card]?.free ?? 0)
  return Math.max(0, Math.min(total - lent, left, inSteps(there)))
}

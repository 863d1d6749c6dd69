import { isIPv4 } from 'node:net'
import { ollamaFolders, type Engine } from '@drover/engines'
import { ownAddresses } from '@drover/service'
import type { WorkerConfig } from '../config.ts'
import { checkPrivateAddress } from '../lending/address.ts'
import { Copies, type CopiesOptions } from './copies.ts'

type Given = Omit<CopiesOptions, 'isLocal' | 'stores' | 'folder' | 'address' | 'port' | 'rate' | 'hub'>

/** Whether an engine runs on this machine: its files are here. */
const isLocal = ({ url }: Engine, own: readonly { address: string }[]): boolean => {
  const { hostname, protocol } = new URL(url)
  if (protocol === 'file:') return true
  return hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && (hostname.startsWith('127.') || own.some(({ address }) => address === hostname)))
}

/** The copies that a node's settings allow; `undefined`: none. @throws ExitError for an address that is none of this machine's */
export const copiesOf = (config: WorkerConfig, given: Given): Copies | undefined => {
  if (!config.copyModels) return undefined
  const address = addressOf(config, given.log)
  return new Copies({
    ...given,
    isLocal: (engine) => isLocal(engine, ownAddresses()),
    stores: ollamaFolders(config.ollamaModels),
    folder: config.modelsDir,
    address,
    port: config.copyPort,
    rate: config.copyRate,
    hub: { endpoint: config.hubUrl, token: config.hubToken },
  })
}

const RISK = 'model files go over the network as they are'

/** An address that was meant for copies must be right; that of what is lent is only made use of where it is. @throws ExitError */
const addressOf = ({ copyAddress, lendAddress }: WorkerConfig, log: CopiesOptions['log']): string => {
  if (copyAddress !== undefined) {
    checkPrivateAddress('copy-address', copyAddress, ownAddresses(), RISK)
    return copyAddress
  }
  try {
    checkPrivateAddress('lend-address', lendAddress, ownAddresses(), RISK)
    return lendAddress
  } catch (error) {
    log.info({ reason: error instanceof Error ? error.message : undefined }, 'model files are handed out on this machine only')
    return '127.0.0.1'
  }
}

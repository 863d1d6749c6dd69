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
  const address = config.copyAddress ?? config.lendAddress
  checkPrivateAddress('copy-address', address, ownAddresses(), 'model files go over the network as they are')
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

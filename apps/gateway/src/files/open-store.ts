import type { GatewayConnection } from '@drover/broker'
import type { Log } from '@drover/service'
import type { ContentStore, StoreOptions } from './content-store.ts'
import { folderStore } from './folder-store.ts'
import type { S3Location } from './s3-location.ts'

/** Longest that gateways that start at once are apart, ms. */
const AGREED_MS = 60_000

export interface StoreConfig {
  filesDir: string
  filesS3: S3Location | undefined
  filesS3Endpoint: string | undefined
  filesS3Region: string | undefined
  filesS3PathStyle: boolean | undefined
}

/**
 * The store of files that is configured. `undefined`: its folder cannot be used, and the gateway does what it can without. A bucket is there
 * because somebody wants it. @throws ExitError when it cannot be used
 */
export const openStore = async ({ filesDir, filesS3, filesS3Endpoint: endpoint, filesS3Region: region, filesS3PathStyle }: StoreConfig, broker: Pick<GatewayConnection, 'files' | 'claims'>, log: Log): Promise<ContentStore | undefined> => {
  const options: StoreOptions = {
    names: broker.files,
    agree: (about, mine) => broker.claims.claim({ name: about, fingerprint: 'store', id: mine, keepMs: AGREED_MS }),
    onDown: (err) => log.warn({ err }, 'the store of files cannot be used: uploads are refused, and batches wait'),
    onUp: () => log.info('the store of files can be used again'),
  }
  if (filesS3) {
    // Only who has a bucket loads what speaks to it.
    const { s3Store } = await import('./s3-store.ts')
    return s3Store({ ...filesS3, endpoint, region, pathStyle: filesS3PathStyle ?? endpoint !== undefined }, options)
  }
  return folderStore(filesDir, options).catch((error: unknown) => {
    log.warn({ folder: filesDir, err: error }, 'the folder for files cannot be used: no files and no batches here')
    return undefined
  })
}

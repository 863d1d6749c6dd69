import { totalmem } from 'node:os'
import type { NodeRecord } from '@drover/core'
import { clusterFiles, findServer, ollamaFolders } from '@drover/engines'
import { childEnvironment } from '@drover/service'
import type { WorkerConfig } from '../config.ts'
import { CTX, KEEP_ALIVE_MS, keepAliveMs } from '../own-models.ts'
import { Coordinator, type CoordinatorOptions } from './coordinator.ts'

type Given = Pick<CoordinatorOptions, 'node' | 'connection' | 'lending' | 'log' | 'onLent' | 'onChange' | 'onError'> & {
  /** Bytes that models of the models folder may take. */
  memory: number
  cards(): NodeRecord['gpus']
}

/** The coordinator that a node's settings ask for; `undefined`: none, or it could run nothing. */
export const coordinatorOf = (config: WorkerConfig, { memory, cards, ...given }: Given): Coordinator | undefined => {
  const env = childEnvironment({})
  if (!config.coordinate || 'reason' in findServer(config.llamaServer, env['PATH'])) return undefined
  const { log } = given
  return new Coordinator({
    ...given,
    files: clusterFiles({
      folder: config.modelsDir,
      stores: ollamaFolders(config.ollamaModels),
      onLeftOut: (model, reason) => log.info({ model, reason }, 'model not to be spread'),
    }),
    wishes: config.clusterModels,
    slots: config.llamaSlots,
    context: config.numCtx ?? CTX,
    // An engine that is found here has the machine's memory, whatever of it is in use now.
    memory: { own: memory, found: () => config.llamaMemory ?? totalmem() + cards().reduce((sum, card) => sum + card.memory, 0) },
    server: { program: config.llamaServer, startMs: config.firstToken + config.loadTime, env },
    keepAliveMs: config.keepAlive === undefined ? KEEP_ALIVE_MS : (keepAliveMs(config.keepAlive) ?? KEEP_ALIVE_MS),
    turnMs: config.starveAfter,
  })
}

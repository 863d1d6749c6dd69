import { inGigabytes } from '@drover/core'
import { goDuration } from '@drover/dialects'
import { supervisedLlama, type Engine, type MemoryShare, type SupervisedEvent } from '@drover/engines'
import { childEnvironment, type Log } from '@drover/service'
import type { WorkerConfig } from './config.ts'

/** Tokens per slot that a model is loaded with when nobody says otherwise. */
export const CTX = 4_096
export const KEEP_ALIVE_MS = 5 * 60_000
/** What a timer can wait for. */
const LONGEST_MS = 2 ** 31 - 1

/** `5m`, `1h30m`, seconds as a number alone, or anything negative for ever: as Ollama reads it. `undefined` for what is none of these. */
export const keepAliveMs = (text: string): number | undefined => {
  const nanoseconds = /^-?\d+$/.test(text) ? Number(text) * 1e9 : goDuration(text)
  if (typeof nanoseconds === 'string') return undefined
  const ms = nanoseconds / 1e6
  return ms < 0 || ms > LONGEST_MS ? Infinity : ms
}

/**
 * The engine for the models that this worker runs by itself: those of the models folder, and the spare one while `alone` says that
 * no other engine of the node has a model. `onTurn` is called when a model comes into memory or leaves it: other jobs may then be taken
 * than before. `undefined` where neither is set.
 */
export const ownModels = (config: WorkerConfig, memory: MemoryShare, log: Log, alone: () => boolean, onTurn: () => void): Engine | undefined => {
  const { modelsDir, spareModel, llamaServer } = config
  if (modelsDir === undefined && spareModel === undefined) return undefined
  const env = childEnvironment({})
  log.info({ folder: modelsDir, memory: inGigabytes(memory.most) }, 'models folder')
  return supervisedLlama({
    folder: modelsDir,
    spare: spareModel === undefined ? undefined : { file: spareModel, wanted: alone },
    program: llamaServer,
    slots: config.llamaSlots,
    ctx: config.numCtx ?? CTX,
    gpuLayers: config.llamaGpuLayers,
    startMs: config.firstToken + config.loadTime,
    env,
    memory,
    keepAliveMs: config.keepAlive === undefined ? KEEP_ALIVE_MS : (keepAliveMs(config.keepAlive) ?? KEEP_ALIVE_MS),
    turnMs: config.starveAfter,
    onEvent: (event) => {
      tell(log, event)
      onTurn()
    },
  })
}

const tell = (log: Log, event: SupervisedEvent): void => {
  switch (event.kind) {
    case 'started':
      return log.info({ model: event.model, pid: event.pid, ms: event.ms }, 'model started')
    case 'stopped':
      return log.info({ model: event.model, why: event.why }, 'model stopped')
    case 'failed':
      return log.warn({ model: event.model, reason: event.error.message }, 'model failed')
    case 'left-out':
      return log.warn({ file: event.file, reason: event.reason }, 'model file left out')
    case 'no-program':
      return log.warn({ reason: event.reason }, 'models of the models folder cannot be run')
    default:
      return event satisfies never
  }
}

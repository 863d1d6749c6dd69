import { BrokerError, inGigabytes } from '@drover/core'
import type { MemoryShare } from './memory-share.ts'
import type { ModelFile } from './model-files.ts'

/** What decides which models may be in memory together. */
export interface Room {
  /** Why a model could not be in memory even alone; `undefined`: it could. */
  refusal(file: ModelFile): BrokerError | undefined
  /** Whether a model has room now beside these. */
  fits(file: ModelFile, beside: readonly ModelFile[]): boolean
  /** These are in memory, or are about to be. */
  holds(files: readonly ModelFile[]): void
  /** A model waits for memory that somebody else has. */
  short(file: ModelFile): void
}

/** A share of one machine's memory. @param needOf bytes that a model takes */
export const sharedRoom = (memory: MemoryShare, needOf: (file: ModelFile) => number): Room => {
  const sum = (files: readonly ModelFile[]): number => files.reduce((total, file) => total + needOf(file), 0)
  return {
    refusal(file) {
      const need = needOf(file)
      if (need <= memory.most) return undefined
      return new BrokerError('engine_failed', `${file.model} needs ${inGigabytes(need)} of memory, ${inGigabytes(memory.most)} may be used`)
    },
    fits: (file, beside) => sum([...beside, file]) <= memory.now(),
    holds: (files) => memory.use(sum(files)),
    short: () => memory.short?.(),
  }
}

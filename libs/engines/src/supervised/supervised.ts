import type { ModelName } from '@drover/core'
import type { Engine } from '../engine.ts'
import { fileEngine } from './file-engine.ts'
import { memoryNeeded } from './memory.ts'
import type { MemoryShare } from './memory-share.ts'
import { ggufFilesIn, modelFiles } from './model-files.ts'
import type { ModelFile } from './model-files.ts'
import type { ResidencyEvent } from './residency.ts'
import { sharedRoom } from './room.ts'
import { findServer, startServer } from './server-process.ts'
import type { ServerSettings } from './server-process.ts'

export interface SupervisedOptions extends ServerSettings {
  /** Folder whose GGUF files are the models. */
  folder?: string | undefined
  /** A GGUF file that is a model only while `wanted` says so and the folder holds none. */
  spare?: { file: string; wanted(): boolean } | undefined
  /** What all models in memory may take together. */
  memory: MemoryShare
  /** How long a model stays in memory without use, ms; `Infinity`: for ever. */
  keepAliveMs: number
  /** How long a model in memory goes on taking calls while another waits for its memory, ms. */
  turnMs: number
  onEvent(event: SupervisedEvent): void
}

export type SupervisedEvent =
  | ResidencyEvent
  | { kind: 'left-out'; file: string; reason: string }
  /** There are models, but no program to run them with. */
  | { kind: 'no-program'; reason: string }

/** The models of a folder, run on this machine. */
export const supervisedLlama = (options: SupervisedOptions): Engine => {
  const { folder, spare, slots, memory, keepAliveMs, turnMs, onEvent } = options
  const onLeftOut = (file: string, reason: string) => onEvent({ kind: 'left-out', file, reason })
  const inFolder = folder === undefined ? async () => [] : modelFiles(() => ggufFilesIn(folder), onLeftOut)
  const spareModels = spare && modelFiles(async () => [spare.file], onLeftOut)
  /** Tokens per slot of models that have a number of their own. */
  const contexts = new Map<ModelName, number>()
  const ctxOf = ({ model, facts }: ModelFile): number => {
    const ctx = contexts.get(model) ?? options.ctx
    return Math.min(ctx, facts.contextLength ?? ctx)
  }
  const bytesOf = (file: ModelFile): number => memoryNeeded(file, { slots, ctx: ctxOf(file) })
  let checked = false

  return fileEngine({
    id: 'llama.cpp',
    url: `file://${folder ?? spare?.file ?? ''}`,
    async files() {
      const found = await inFolder()
      const files = found.length === 0 && spareModels && spare?.wanted() ? await spareModels() : found
      if (files.length > 0 && !checked) {
        checked = true
        const program = findServer(options.program, options.env['PATH'])
        if ('reason' in program) onEvent({ kind: 'no-program', reason: program.reason })
      }
      return files
    },
    bytesOf,
    slots,
    ctxOf,
    setContext({ model }, tokens) {
      const had = contexts.get(model)
      if (tokens === undefined) contexts.delete(model)
      else contexts.set(model, tokens)
      return had
    },
    room: sharedRoom(memory, bytesOf),
    start: (file, signal) => startServer(file, { ...options, ctx: ctxOf(file) }, signal),
    keepAliveMs,
    turnMs,
    onEvent,
  })
}

import { BrokerError } from '@drover/core'
import type { HeldModel, Layout, ModelDescription, ModelName } from '@drover/core'
import type { Engine, EngineView, JsonAnswer } from '../engine.ts'
import { orAborted } from '../or-aborted.ts'
import { descriptionOf, heldModel } from './held-file.ts'
import type { ModelFile } from './model-files.ts'
import { residency } from './residency.ts'
import type { ResidencyOptions } from './residency.ts'
import type { RunningServer } from './server-process.ts'
import { betterReason, SupervisedCall } from './supervised-call.ts'

export interface FileEngineOptions extends ResidencyOptions {
  id: string
  layout?: Layout
  url: string
  /** The files that there are now; those whose model is not to be held are among them while it is in memory. */
  files(signal: AbortSignal): Promise<ModelFile[]>
  /** How a model is held, or that it is not just now. */
  holds?(held: HeldModel, file: ModelFile): HeldModel | undefined
  /** Bytes that a model takes in memory. */
  bytesOf(file: ModelFile): number
  /** Concurrent generations of each model, and of those that have a number of their own. */
  slots: number
  slotsOf?(file: ModelFile): number
  /** Tokens per slot. */
  ctxOf(file: ModelFile): number
  /** Gives a model a context of its own, from its next start on (`undefined`: none), and says which one it had. Absent: none can have one. */
  setContext?(file: ModelFile, tokens: number | undefined): number | undefined
}

export interface FileEngine extends Engine {
  admits(model: ModelName): boolean
  /** Somebody else wants the memory of a model, or no longer: see `residency`. */
  wanted(model: ModelName, is: boolean): void
}

const missing = (model = '') => new BrokerError('engine_failed', `${model} is no longer among the model files`)

/**
 * Models that lie as files, each run by a `llama-server` of its own that is started when somebody asks for it and ended when nobody does.
 * Its calls wait while a model is brought into memory, and tell so.
 */
export const fileEngine = ({ id, layout, url, files: list, holds = (held) => held, bytesOf, slots, slotsOf, ctxOf, setContext, start, ...options }: FileEngineOptions): FileEngine => {
  let files: ModelFile[] = []
  let version: string | undefined
  const memory = residency({
    ...options,
    start: async (file, signal) => {
      const server = await start(file, signal)
      version = (await server.engine.look(signal).catch(() => undefined))?.version ?? version
      return server
    },
  })
  const fileOf = (name: string): ModelFile | undefined => files.find(({ model }) => model === name)
  const fileNamed = (name = ''): ModelFile => {
    const file = fileOf(name)
    if (!file) throw missing(name)
    return file
  }
  /** Waits for a model to be in memory, where it is kept until `use` is over. */
  const using = async <T>(file: ModelFile, signal: AbortSignal, use: (server: RunningServer) => Promise<T>): Promise<T> => {
    signal.throwIfAborted()
    const entered = Promise.withResolvers<RunningServer>()
    const leave = memory.ask(file, entered.resolve, entered.reject)
    try {
      return await use(await orAborted(entered.promise, signal))
    } finally {
      leave()
    }
  }

  return {
    id,
    url,
    ...(layout && { layout }),
    kind: 'llama-server',
    speaks: ['openai.chat', 'openai.completions', 'openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize', 'anthropic.messages', 'anthropic.count_tokens'],
    async look(signal): Promise<EngineView> {
      files = await orAborted(list(signal), signal)
      memory.refresh(files)
      return {
        ...(version === undefined ? {} : { version }),
        held: files.flatMap((file) => holds(heldModel(file), file) ?? []),
        loaded: memory.residents().map(({ file, expiresAt }) => ({
          model: file.model,
          size: bytesOf(file),
          // How much of it is on cards llama.cpp decides.
          sizeVram: 0,
          ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() }),
          contextLength: ctxOf(file),
        })),
        slotsPerModel: slots,
        ...(slotsOf && { slotsByModel: Object.fromEntries(files.map((file) => [file.model, slotsOf(file)])) }),
        // What fits together is told by `admits`, call by call.
        maxLoaded: Math.max(1, files.length),
      }
    },
    async describe({ model }): Promise<ModelDescription | undefined> {
      const file = fileOf(model)
      return file && descriptionOf(file, ctxOf(file))
    },
    admits: memory.admits,
    wanted: memory.wanted,
    post({ model, path, body }, sink) {
      const file = fileOf(model ?? '')
      return new SupervisedCall(sink, (call, fail) => {
        if (file) return memory.ask(file, (server) => call.begin(server, { path, body }, () => memory.worked(file.model)), fail)
        queueMicrotask(() => fail(missing(model)))
        return () => {}
      })
    },
    async ask({ model, path, body }, signal): Promise<JsonAnswer> {
      return using(fileNamed(model), signal, (server) =>
        server.engine.ask({ path, body }, signal).catch(async (error: unknown) => {
          throw signal.aborted ? error : await betterReason(server, error)
        }),
      )
    },
    async load({ model }, { keepAliveMs, numCtx }, signal) {
      const file = fileNamed(model)
      const before = ctxOf(file)
      const had = setContext?.(file, numCtx)
      const kept = memory.keep(file.model, keepAliveMs)
      try {
        const refusal = options.room.refusal(file)
        if (refusal) throw refusal
        if (ctxOf(file) !== before) await memory.release(file.model, signal)
        await using(file, signal, async () => undefined)
      } catch (error) {
        // What comes next is to find it as it was.
        setContext?.(file, had)
        memory.keep(file.model, kept)
        throw error
      }
    },
    async unload({ model }, signal) {
      const kept = memory.keep(model, undefined)
      try {
        await memory.release(model, signal)
      } catch (error) {
        memory.keep(model, kept)
        throw error
      }
      const file = fileOf(model)
      if (file) setContext?.(file, undefined)
    },
    close: memory.close,
  }
}

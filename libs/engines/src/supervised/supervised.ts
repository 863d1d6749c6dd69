import { BrokerError } from '@drover/core'
import type { HeldModel, ModelDescription } from '@drover/core'
import type { AnswerSink, Engine, EngineCall, EngineView, JsonAnswer } from '../engine.ts'
import { derivedDigest, parameterSize } from '../model-file.ts'
import { parameterLines } from '../parameter-lines.ts'
import { memoryNeeded } from './memory.ts'
import { ggufFilesIn, modelFiles } from './model-files.ts'
import type { ModelFile } from './model-files.ts'
import { residency } from './residency.ts'
import type { ResidencyEvent } from './residency.ts'
import { findServer, startServer } from './server-process.ts'
import type { RunningServer, ServerSettings } from './server-process.ts'

export interface SupervisedOptions extends ServerSettings {
  /** Folder whose GGUF files are the models. */
  folder?: string | undefined
  /** A GGUF file that is a model only while `wanted` says so and the folder holds none. */
  spare?: { file: string; wanted(): boolean } | undefined
  /** Bytes that all models in memory may take together. */
  memory: number
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

/**
 * The models of a folder, each run by a `llama-server` of its own that is started when somebody asks for it and ended when nobody does.
 * Its calls wait while a model is brought into memory, and tell so.
 */
export const supervisedLlama = (options: SupervisedOptions): Engine => {
  const { folder, spare, slots, memory, keepAliveMs, turnMs, onEvent } = options
  const onLeftOut = (file: string, reason: string) => onEvent({ kind: 'left-out', file, reason })
  const inFolder = folder === undefined ? async () => [] : modelFiles(() => ggufFilesIn(folder), onLeftOut)
  const spareModels = spare && modelFiles(async () => [spare.file], onLeftOut)
  const ctxOf = ({ facts }: ModelFile): number => Math.min(options.ctx, facts.contextLength ?? options.ctx)
  let files: ModelFile[] = []
  let version: string | undefined
  let checked = false

  const memoryOf = residency({
    limit: memory,
    needOf: (file) => memoryNeeded(file, { slots, ctx: ctxOf(file) }),
    start: async (file, signal) => {
      const server = await startServer(file, { ...options, ctx: ctxOf(file) }, signal)
      version = (await server.engine.look(signal).catch(() => undefined))?.version ?? version
      return server
    },
    keepAliveMs,
    turnMs,
    onEvent,
  })

  const fileOf = (name: string): ModelFile | undefined => files.find(({ model }) => model === name)

  return {
    id: 'llama.cpp',
    url: `file://${folder ?? spare?.file ?? ''}`,
    kind: 'llama-server',
    speaks: ['openai.chat', 'openai.completions', 'openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize', 'anthropic.messages', 'anthropic.count_tokens'],
    async look(signal): Promise<EngineView> {
      const found = await orAborted(inFolder(), signal)
      files = found.length === 0 && spareModels && spare?.wanted() ? await orAborted(spareModels(), signal) : found
      memoryOf.refresh(files)
      if (files.length > 0 && !checked) {
        checked = true
        const program = findServer(options.program, options.env['PATH'])
        if ('reason' in program) onEvent({ kind: 'no-program', reason: program.reason })
      }
      const residents = memoryOf.residents()
      return {
        ...(version === undefined ? {} : { version }),
        held: files.map(heldModel),
        loaded: residents.map(({ model, need, expiresAt }) => {
          const file = fileOf(model)
          return {
            model,
            size: need,
            // How much of it is on cards llama.cpp decides.
            sizeVram: 0,
            ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() }),
            ...(file ? { contextLength: ctxOf(file) } : {}),
          }
        }),
        slotsPerModel: slots,
        // What fits together is told by `admits`, call by call.
        maxLoaded: Math.max(1, files.length),
      }
    },
    async describe({ model }): Promise<ModelDescription | undefined> {
      const file = fileOf(model)
      return file && descriptionOf(file, ctxOf(file))
    },
    admits: memoryOf.admits,
    post({ model, path, body }, sink) {
      const file = fileOf(model ?? '')
      return new SupervisedCall(sink, (call, fail) => {
        if (file) return memoryOf.ask(file, (server) => call.begin(server, { path, body }, () => memoryOf.worked(file.model)), fail)
        queueMicrotask(() => fail(new BrokerError('engine_failed', `${model} is no longer among the model files`)))
        return () => {}
      })
    },
    async ask({ model, path, body }, signal): Promise<JsonAnswer> {
      const file = fileOf(model ?? '')
      if (!file) throw new BrokerError('engine_failed', `${model} is no longer among the model files`)
      signal.throwIfAborted()
      const entered = Promise.withResolvers<RunningServer>()
      const leave = memoryOf.ask(file, entered.resolve, entered.reject)
      try {
        const server = await orAborted(entered.promise, signal)
        return await server.engine.ask({ path, body }, signal).catch(async (error: unknown) => {
          throw signal.aborted ? error : await betterReason(server, error)
        })
      } finally {
        leave()
      }
    },
    close: memoryOf.close,
  }
}

/** In Ollama's words, and `no-template` for a model that was not made for conversations. */
const capabilitiesOf = ({ embedding, pooling, template }: ModelFile['facts']): string[] =>
  embedding
    ? [pooling === 'rank' ? 'rerank' : 'embedding']
    : ['completion', ...(template ? [] : ['no-template']), ...(template?.tools ? ['tools'] : []), ...(template?.thinking ? ['thinking'] : [])]

const descriptionOf = ({ facts }: ModelFile, ctx: number): ModelDescription => ({
  capabilities: capabilitiesOf(facts),
  modelInfo: { ...facts.metadata, 'general.parameter_count': facts.parameters },
  parameters: parameterLines({ num_ctx: ctx }),
  ...(facts.template && { template: facts.template.text }),
})

/** The digest is over what the header tells, so that the same file on two nodes has the same one. */
const heldModel = ({ model, size, modifiedAt, facts }: ModelFile): HeldModel => {
  const { architecture, parameters, quantization, contextLength, embeddingLength, layers, vocabulary } = facts
  return {
    model,
    engineName: model,
    digest: derivedDigest('gguf', model, size, architecture, parameters, quantization, contextLength, embeddingLength, layers, vocabulary),
    size,
    modifiedAt,
    format: 'gguf',
    family: architecture,
    parameterSize: parameterSize(parameters),
    ...(quantization === undefined ? {} : { quantization }),
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(embeddingLength === undefined ? {} : { embeddingLength }),
    capabilities: capabilitiesOf(facts),
  }
}

/** The work goes on for whoever asks next. @throws the signal's reason */
const orAborted = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const leave = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', leave, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

/** How long the end of a process may come after the end of its connections, ms. */
const END_MS = 500

/** A process that dies takes its connections along a moment before we hear of it, and its end is the better reason. */
const betterReason = async ({ exited }: RunningServer, error: unknown): Promise<unknown> => {
  if (!(error instanceof BrokerError) || error.code !== 'engine_failed') return error
  const moment = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => moment.resolve(undefined), END_MS)
  const reason = await Promise.race([exited, moment.promise])
  clearTimeout(timer)
  return reason ?? error
}

/** A call whose server may still have to be started. */
class SupervisedCall implements EngineCall {
  readonly #sink: AnswerSink
  readonly #leave: () => void
  #inner: EngineCall | undefined
  #paused = false
  #done = false

  constructor(sink: AnswerSink, ask: (call: SupervisedCall, fail: (error: unknown) => void) => () => void) {
    this.#sink = sink
    queueMicrotask(() => this.#inner === undefined && !this.#done && sink.loading?.())
    this.#leave = ask(this, (error) => this.#fail(error))
  }

  /** Its model is in memory. `onAnswer` is called when it has begun to answer. */
  begin(server: RunningServer, request: { path: string; body: string }, onAnswer: () => void): void {
    if (this.#done) return
    const sink = this.#sink
    sink.loaded?.()
    this.#inner = server.engine.post(request, {
      head: (status, contentType) => {
        if (this.#done) return
        if (status === 200) onAnswer()
        sink.head(status, contentType)
      },
      text: (chunk) => this.#done || sink.text(chunk),
      end: () => {
        if (this.#done) return
        try {
          sink.end()
        } catch (error) {
          return this.#fail(error)
        }
        this.#over()
      },
      fail: (error) => void this.#explain(server, error),
    })
    if (this.#paused) this.#inner.pause()
  }

  pause(): void {
    this.#paused = true
    this.#inner?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#inner?.resume()
  }

  abort(reason: unknown): void {
    if (this.#done) return
    this.#fail(reason)
    this.#inner?.abort(reason)
  }

  async #explain(server: RunningServer, error: unknown): Promise<void> {
    if (!this.#done) this.#fail(await betterReason(server, error))
  }

  #fail(error: unknown): void {
    if (this.#done) return
    this.#over()
    this.#sink.fail(error)
  }

  #over(): void {
    this.#done = true
    this.#leave()
  }
}

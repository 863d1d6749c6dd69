import { createHash } from 'node:crypto'
import type { LibraryModel } from './library.ts'
import type { Script } from './script.ts'

export interface ModelOptions {
  /** Anything; Ollama's look-up rules apply (case does not count, `:latest` may be left out). */
  name: string
  /** Concurrent runs; default: the engine's. */
  slots?: number
  loadMs?: number
  /** Bytes. */
  size?: number
  /** 64 hex digits; default: made from the name. */
  digest?: string
  contextLength?: number
  family?: string
  parameterSize?: string
  quantization?: string
  capabilities?: string[]
  /** Whether a trailing assistant message is continued (default), or a new turn is begun after it. */
  continues?: boolean
}

export interface ScriptedEngineOptions {
  kind?: 'ollama' | 'llama-server'
  /** 0 (default): any free port. */
  port?: number
  /** Default: one model, `scripted:latest`. A `llama-server` serves the first only. */
  models?: (string | ModelOptions)[]
  /** Concurrent runs per model, 1 by default. */
  slots?: number
  /** Time a model takes to load: at its first use (`ollama`), at the start (`llama-server`). */
  loadMs?: number
  /** Time that throwing another model out adds to a load. */
  swapMs?: number
  /** Models in memory at once, 3 by default. `ollama` only. */
  maxLoaded?: number
  /** Requests that may wait for a load, 512 by default. `ollama` only. */
  maxQueue?: number
  version?: string
  /**
   * Closes the connection behind every streamed answer, as a real llama-server (0.7.0) does although its header promises to keep
   * it: whoever sends the next request over it at once is reset. False by default.
   */
  closesStreams?: boolean
  /** Whether it tells the prompt that it would make of a request (default); an Ollama that does not answers the request instead. */
  renders?: boolean
  /** Models that it can pull; none by default. `ollama` only. */
  library?: LibraryModel[]
  /** The folder where it keeps its models as an Ollama does: what is in there it holds, too. None by default. `ollama` only. */
  store?: string
  /** What every request meets unless told otherwise. */
  script?: Script
  /** A file to which the beginning and the end of every run goes, one JSON line each, and under which name. None by default. */
  history?: { path: string; name: string } | undefined
}

export interface Model extends Required<ModelOptions> {
  modifiedAt: string
}

export interface Settings extends Required<Omit<ScriptedEngineOptions, 'models' | 'history'>> {
  models: Model[]
  history: ScriptedEngineOptions['history']
}

export const toModel = (model: string | ModelOptions, { slots, loadMs }: { slots: number; loadMs: number }): Model => {
  const given = typeof model === 'string' ? { name: model } : model
  return {
    slots,
    loadMs,
    size: 4_000_000_000,
    digest: createHash('sha256').update(given.name).digest('hex'),
    contextLength: 8192,
    family: 'llama',
    parameterSize: '8.0B',
    quantization: 'Q4_K_M',
    capabilities: ['completion'],
    continues: true,
    modifiedAt: '2026-01-02T03:04:05.678901234Z',
    ...given,
  }
}

export const toSettings = (options: ScriptedEngineOptions): Settings => {
  const { models = ['scripted:latest'], slots = 1, loadMs = 0 } = options
  return {
    kind: 'ollama',
    port: 0,
    swapMs: 0,
    maxLoaded: 3,
    maxQueue: 512,
    version: '0.33.0',
    closesStreams: false,
    renders: true,
    library: [],
    store: '',
    script: {},
    history: undefined,
    ...options,
    slots,
    loadMs,
    models: models.map((model) => toModel(model, { slots, loadMs })),
  }
}

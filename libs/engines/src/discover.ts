import { BrokerError } from '@drover/core'
import type { EngineKind } from '@drover/core'
import { z } from 'zod'
import { engineId } from './engine-config.ts'
import type { EngineConfig } from './engine-config.ts'
import type { Engine } from './engine.ts'
import { GatewayLoop } from './failure.ts'
import { engineHttp } from './http.ts'
import type { JsonAnswer } from './engine.ts'
import { isLoading, llamaServer, type LlamaServerOptions } from './llama-server.ts'
import { parseOllamaHost } from './ollama-host.ts'
import { ollama, type OllamaOptions } from './ollama.ts'
import { onlyModels } from './only-models.ts'

/** Where several Ollama servers of one machine usually are, one per GPU. */
export const OLLAMA_PORTS: readonly number[] = [11434, 11435, 11436, 11437, 11438, 11439, 11440, 11441]

export interface EngineSearch {
  /** Engines that the operator named. */
  engines: readonly EngineConfig[]
  /** Ports of this machine at which to look for Ollama; empty for none. `OLLAMA_PORTS` when absent. */
  ports?: readonly number[]
  /** The value of `OLLAMA_HOST`. */
  ollamaHost?: string | undefined
  /** Settings of an Ollama found by looking. */
  found?: Pick<EngineConfig, 'slots' | 'maxLoaded'>
  /** Ids of engines at hand: those addresses are left in peace, so that a search can be repeated. */
  known?: ReadonlySet<string>
}

export interface EngineSearchResult {
  engines: Engine[]
  /** Named engines that were not taken, and why. Ask again later: an engine may just not have been started yet. */
  problems: { url: string; reason: string }[]
}

const PROBE_MS = 1_500

/**
 * The engines of this node: those that were named, and Ollama where it usually is. All addresses are asked at once, each for at
 * most 1.5 s. A named engine of a stated kind that does not answer is taken all the same: looking at it will tell when it is up.
 * Of the addresses that are only tried, those without an Ollama are passed over in silence. A Drover gateway is never taken.
 */
export const findEngines = async (search: EngineSearch, signal: AbortSignal): Promise<EngineSearchResult> => {
  const { engines: named, ports = OLLAMA_PORTS, ollamaHost, found, known } = search
  const host = ollamaHost === undefined ? undefined : parseOllamaHost(ollamaHost)
  const tried = [...(host === undefined ? [] : [host]), ...ports.map((port) => `http://127.0.0.1:${port}`)]
  const candidates = new Map<string, { config: EngineConfig; named: boolean }>()
  for (const url of tried) candidates.set(engineId(url), { config: { url, ...found }, named: false })
  for (const config of named) candidates.set(engineId(config.url), { config, named: true })
  for (const id of known ?? []) candidates.delete(id)

  const answers = await Promise.all(
    [...candidates].map(async ([id, { config, named }]) => {
      const answered = await recognise(id, config, signal)
      return { id, config, named, kind: settle(id, config, answered) }
    }),
  )
  const result: EngineSearchResult = { engines: [], problems: [] }
  for (const { id, config, named, kind } of answers) {
    if (kind instanceof BrokerError) {
      if (named) result.problems.push({ url: config.url, reason: kind.message })
    } else if (named || kind === 'ollama') result.engines.push(makeEngine(id, config, kind))
  }
  return result
}

/** What the operator said against what the address answers. */
const settle = (id: string, { kind: stated }: EngineConfig, answered: EngineKind | BrokerError): EngineKind | BrokerError => {
  if (!stated || answered === stated || answered instanceof GatewayLoop) return answered
  return typeof answered === 'string' ? new BrokerError('engine_failed', `engine ${id} is ${answered}, not ${stated}`) : stated
}

const makeEngine = (id: string, { models, ...config }: EngineConfig, kind: EngineKind): Engine => {
  const engine = adapter(kind, { ...config, id })
  return models === undefined ? engine : onlyModels(engine, models)
}

const adapter = (kind: EngineKind, options: OllamaOptions & LlamaServerOptions): Engine => {
  switch (kind) {
    case 'ollama':
      return ollama(options)
    case 'llama-server':
      return llamaServer(options)
    default:
      return kind satisfies never
  }
}

const Version = z.object({ version: z.string() })
const Ready = z.object({ status: z.literal('ok') })
const Props = z.union([z.object({ build_info: z.string() }), z.object({ default_generation_settings: z.unknown() })])

/** What answers at an address, or why nothing usable does. */
const recognise = async (id: string, { url, apiKey }: EngineConfig, signal: AbortSignal): Promise<EngineKind | BrokerError> => {
  const http = engineHttp({ id, url, apiKey })
  try {
    const [version, health, props] = await Promise.all(
      ['/api/version', '/health', '/props'].map((path) =>
        http.get(path, signal, PROBE_MS).catch((error: unknown) => {
          if (signal.aborted) throw error
          return error as BrokerError
        }),
      ),
    )
    const loop = [version, health, props].find((answer) => answer instanceof GatewayLoop)
    if (loop) return loop
    if (says(version, 200, Version)) return 'ollama'
    if (health && !(health instanceof BrokerError) && isLoading(health)) return 'llama-server'
    // `/health` needs no key; with a wrong one, looking at the engine says so.
    if (says(health, 200, Ready) && (says(props, 200, Props) || says(props, 401, z.unknown()))) return 'llama-server'
    if (version instanceof BrokerError) return version
    return new BrokerError('engine_failed', `engine ${id} answers neither as Ollama nor as llama-server`)
  } finally {
    await http.close()
  }
}

const says = (answer: JsonAnswer | BrokerError | undefined, status: number, schema: z.ZodType): boolean =>
  answer !== undefined && !(answer instanceof BrokerError) && answer.status === status && schema.safeParse(answer.json).success

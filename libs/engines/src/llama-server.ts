import { BrokerError, canonicalName } from '@drover/core'
import type { HeldModel, LoadedModel, ModelDescription, ModelName } from '@drover/core'
import { z } from 'zod'
import type { Engine, EngineView, JsonAnswer } from './engine.ts'
import { engineHttp } from './http.ts'
import type { EngineAddress } from './http.ts'
import { llamaAbilities } from './llama-abilities.ts'
import { parameterLines } from './parameter-lines.ts'
import { derivedDigest, nameOfFile, parameterSize, quantizationTag } from './model-file.ts'

export interface LlamaServerOptions extends EngineAddress {
  /** What its model is called here; else the server's alias, else the file's name. A router's models have names of their own. */
  name?: string | undefined
  /** Use fewer slots than the server has. */
  slots?: number | undefined
  /** Let a router have fewer models in memory than it would. */
  maxLoaded?: number | undefined
}

const Meta = z.object({
  n_ctx: z.number().optional(),
  n_ctx_train: z.number().optional(),
  n_params: z.number().optional(),
  size: z.number().optional(),
  n_embd: z.number().optional(),
  n_vocab: z.number().optional(),
  ftype: z.string().optional(),
})
type Meta = z.infer<typeof Meta>

/** `/props` of a server with one model, and of a router, which has a role, a number of instances and no slots. */
const Props = z.object({
  total_slots: z.int().optional(),
  model_alias: z.string().optional(),
  model_path: z.string().optional(),
  modalities: z.object({ vision: z.boolean().optional(), audio: z.boolean().optional() }).optional(),
  chat_template_caps: z.object({ supports_tools: z.boolean().optional() }).optional(),
  chat_template: z.string().optional(),
  default_generation_settings: z.object({ n_ctx: z.number().optional() }).optional(),
  build_info: z.string().optional(),
  /** Another one in each process. */
  media_marker: z.string().optional(),
  is_sleeping: z.boolean().optional(),
  role: z.string().optional(),
  max_instances: z.int().optional(),
})
type Props = z.infer<typeof Props>

/** An entry of `/v1/models`. `status` and `context_length` are a router's; a router has `meta` only of models in memory. */
const Entry = z.object({
  id: z.string(),
  meta: Meta.nullish(),
  status: z.object({ value: z.string(), args: z.array(z.string()).optional() }).optional(),
  context_length: z.number().optional(),
  architecture: z.object({ input_modalities: z.array(z.string()).optional() }).optional(),
})
type Entry = z.infer<typeof Entry>
const Models = z.object({ data: z.array(Entry) })

const Loading = z.object({ error: z.object({ type: z.literal('unavailable_error') }) })

/** While a llama-server loads its model, every path of it answers so. */
export const isLoading = ({ status, json }: JsonAnswer): boolean => status === 503 && Loading.safeParse(json).success

/** Slots of a llama-server that was not told how many. */
const DEFAULT_SLOTS = 4

/**
 * A `llama-server`: one model, or several behind its router. While it loads its model it holds none; that is no failure.
 *
 * It tells no digest, so one is derived: sha256 over the model's name and what the server knows of the weights (their size, the
 * number of parameters, the file type, vocabulary, widths). Two servers that run the same file under the same name agree. A
 * router knows nothing of the weights until it has loaded them, and a digest must not change by that, so there it covers the name
 * and the trained context alone.
 */
export const llamaServer = ({ name, slots, maxLoaded, ...address }: LlamaServerOptions): Engine => {
  const { id, url } = address
  const http = engineHttp({ ...address, closesStreams: true })
  const configured = name === undefined ? undefined : canonicalName(name)
  if (name !== undefined && configured === undefined) throw new TypeError(`engine ${id}: its name cannot be a model's name`)
  /** It tells no date; the first sight of a model serves as one. */
  const firstSeen = new Map<string, string>()
  /** A router forgets what it knew of a model when it unloads it; the size on disk stays true. */
  const lastMeta = new Map<string, Meta>()
  /** What the process was started for beside text, and which process was asked. */
  let abilities: string[] = []
  let asked: string | undefined
  const closing = new AbortController()

  /** Nobody waits for it: the next look tells what came of it. */
  const learnAbilities = async ({ media_marker: marker, model_path: path, build_info: build }: Props, signal: AbortSignal): Promise<void> => {
    const process = [marker, path, build].join(' ')
    if (process === asked) return
    asked = process
    abilities = []
    const found = await llamaAbilities(http, signal).catch(() => undefined)
    if (found) abilities = found
    else asked = undefined
  }

  /** `undefined` while the server loads: then every path answers 503. */
  const ask = async <T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T | undefined> => {
    const { status, json } = await http.get(path, signal)
    if (isLoading({ status, json })) return undefined
    if (status === 401) throw new BrokerError('engine_failed', `engine ${id} refused its API key`)
    if (status !== 200) throw new BrokerError('engine_failed', `engine ${id} answered GET ${path} with status ${status}`)
    const parsed = schema.safeParse(json)
    if (!parsed.success) throw new BrokerError('engine_failed', `engine ${id} does not answer GET ${path} as llama-server does`)
    return parsed.data
  }

  const held = (model: ModelName, entry: Entry, identity: readonly unknown[], capabilities: string[]): HeldModel => {
    const meta = entry.meta ?? lastMeta.get(entry.id) ?? {}
    lastMeta.set(entry.id, meta)
    const digest = derivedDigest('llama-server', model, ...identity)
    const modifiedAt = firstSeen.get(digest) ?? new Date().toISOString()
    firstSeen.set(digest, modifiedAt)
    const contextLength = meta.n_ctx_train ?? entry.context_length
    return {
      model,
      engineName: entry.id,
      digest,
      size: meta.size ?? 0,
      modifiedAt,
      format: 'gguf',
      ...(meta.n_params === undefined ? {} : { parameterSize: parameterSize(meta.n_params) }),
      ...(meta.ftype === undefined ? {} : { quantization: quantizationTag(meta.ftype) }),
      ...(contextLength === undefined ? {} : { contextLength }),
      ...(meta.n_embd === undefined ? {} : { embeddingLength: meta.n_embd }),
      capabilities,
    }
  }

  const viewOfOne = (props: Props, entry: Entry): EngineView => {
    const model = configured ?? nameOf(props, entry)
    const { size, n_params, ftype, n_vocab, n_embd, n_ctx_train } = entry.meta ?? {}
    const total = props.total_slots ?? 1
    return {
      held: [held(model, entry, [size, n_params, ftype, n_vocab, n_embd, n_ctx_train], [...capabilitiesOf(props), ...abilities])],
      loaded: props.is_sleeping ? [] : [loadedModel(model, entry)],
      slotsPerModel: Math.min(slots ?? total, total),
      maxLoaded: 1,
    }
  }

  const viewOfRouter = (props: Props, entries: readonly Entry[]): EngineView => {
    const named = new Map(entries.map((entry) => [canonicalName(entry.id) ?? nameOfFile(entry.id), entry]))
    const all = [...named]
    const slotsOf = ({ status }: Entry): number => {
      const own = parallel(status?.args ?? [])
      return Math.min(slots ?? own, own)
    }
    const instances = props.max_instances ?? entries.length
    return {
      held: all.map(([model, entry]) => held(model, entry, [entry.context_length], inputsOf(entry))),
      loaded: all.filter(([, { status }]) => status?.value === 'loaded').map(([model, entry]) => loadedModel(model, entry)),
      slotsPerModel: Math.min(...entries.map(slotsOf), slots ?? DEFAULT_SLOTS),
      slotsByModel: Object.fromEntries(all.map(([model, entry]) => [model, slotsOf(entry)])),
      maxLoaded: Math.min(maxLoaded ?? instances, instances),
    }
  }

  return {
    id,
    url,
    kind: 'llama-server',
    // It has `/v1/responses`, too, but not well enough: docs/decisions/2026-11-21-responses-through-chat.md.
    speaks: ['openai.chat', 'openai.completions', 'openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize', 'anthropic.messages', 'anthropic.count_tokens'],
    async look(signal): Promise<EngineView> {
      // Never `/props?model=`: a router loads a model that it is asked about.
      const [props, models] = await Promise.all([ask('/props', Props, signal), ask('/v1/models', Models, signal)])
      if (!props || !models) return { held: [], loaded: [], slotsPerModel: slots ?? 1, maxLoaded: 1 }
      const version = props.build_info === undefined ? {} : { version: props.build_info }
      if (props.role === 'router') return { ...version, ...viewOfRouter(props, models.data) }
      const [entry] = models.data
      if (!entry) throw new BrokerError('engine_failed', `engine ${id} lists no model`)
      void learnAbilities(props, closing.signal)
      return { ...version, ...viewOfOne(props, entry) }
    },
    async describe(model, signal): Promise<ModelDescription | undefined> {
      // Of a router's models only what it lists is known without loading them.
      const props = await ask('/props', Props, signal)
      if (!props) return undefined
      return descriptionOf(model, lastMeta.get(model.engineName) ?? {}, props.role === 'router' ? {} : props)
    },
    post: http.post,
    ask: (call, signal) => http.ask(call, signal),
    close: () => {
      closing.abort()
      return http.close()
    },
  }
}

/** Without `--alias` the server takes the whole path of the file as its alias, which may look like a name. */
const nameOf = ({ model_alias: alias, model_path: path }: Props, { id }: Entry): ModelName => {
  const chosen = alias ?? id
  return (chosen === path ? undefined : canonicalName(chosen)) ?? nameOfFile(chosen)
}

const loadedModel = (model: ModelName, { meta }: Entry): LoadedModel => ({
  model,
  size: meta?.size ?? 0,
  // How much of it is on GPUs is not told.
  sizeVram: 0,
  ...(meta?.n_ctx === undefined ? {} : { contextLength: meta.n_ctx }),
})

/** It does not tell a model's architecture. */
const UNKNOWN = 'unknown'

const descriptionOf = (
  { model, capabilities, contextLength, embeddingLength }: HeldModel,
  { n_params, n_vocab }: Meta,
  { chat_template: template, default_generation_settings: settings }: Pick<Props, 'chat_template' | 'default_generation_settings'>,
): ModelDescription => ({
  ...(capabilities && { capabilities }),
  modelInfo: {
    'general.architecture': UNKNOWN,
    'general.basename': model.replace(/:latest$/, ''),
    ...(n_params === undefined ? {} : { 'general.parameter_count': n_params }),
    ...(contextLength === undefined ? {} : { [`${UNKNOWN}.context_length`]: contextLength }),
    ...(embeddingLength === undefined ? {} : { [`${UNKNOWN}.embedding_length`]: embeddingLength }),
    ...(n_vocab === undefined ? {} : { [`${UNKNOWN}.vocab_size`]: n_vocab }),
  },
  ...(settings?.n_ctx === undefined ? {} : { parameters: parameterLines({ num_ctx: settings.n_ctx }) }),
  ...(template === undefined ? {} : { template }),
})

/** In Ollama's words. Whether it can think is not told. */
const capabilitiesOf = ({ modalities, chat_template_caps: template }: Props): string[] => [
  'completion',
  ...(template?.supports_tools ? ['tools'] : []),
  ...(modalities?.vision ? ['vision'] : []),
  ...(modalities?.audio ? ['audio'] : []),
]

const inputsOf = ({ architecture }: Entry): string[] => {
  const inputs = architecture?.input_modalities ?? []
  return ['completion', ...(inputs.includes('image') ? ['vision'] : []), ...(inputs.includes('audio') ? ['audio'] : [])]
}

/** The slots that a router starts a model with, from that model's arguments. */
const parallel = (args: readonly string[]): number => {
  const at = args.findIndex((arg) => arg === '--parallel' || arg === '-np')
  const count = at < 0 ? Number.NaN : Number(args[at + 1])
  return Number.isInteger(count) && count > 0 ? count : DEFAULT_SLOTS
}

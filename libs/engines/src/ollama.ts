import { BrokerError, canonicalName } from '@drover/core'
import type { DialectId, HeldModel, LoadedModel, ModelDescription, ModelName } from '@drover/core'
import { z } from 'zod'
import type { Engine, EngineView } from './engine.ts'
import { engineHttp, PROMPT_MS } from './http.ts'
import type { EngineAddress } from './http.ts'
import { derivedDigest } from './model-file.ts'

export interface OllamaOptions extends EngineAddress {
  /** `OLLAMA_NUM_PARALLEL` of that server: its API does not tell. 1 is its default. */
  slots?: number | undefined
  /** `OLLAMA_MAX_LOADED_MODELS` of that server. 3 is its default on a CPU and on one GPU. */
  maxLoaded?: number | undefined
}

const Version = z.object({ version: z.string() })

/** An entry of `/api/tags`. Older servers lack `capabilities` and the two lengths. */
const Tag = z.object({
  name: z.string(),
  modified_at: z.string().nullish(),
  size: z.number().nullish(),
  digest: z.string().nullish(),
  details: z
    .object({
      format: z.string().nullish(),
      family: z.string().nullish(),
      parameter_size: z.string().nullish(),
      quantization_level: z.string().nullish(),
      context_length: z.number().nullish(),
      embedding_length: z.number().nullish(),
    })
    .nullish(),
  capabilities: z.array(z.string()).nullish(),
  remote_model: z.string().nullish(),
  remote_host: z.string().nullish(),
})
type Tag = z.infer<typeof Tag>
const Tags = z.object({ models: z.array(Tag).nullish() })

/** An entry of `/api/ps`. */
const Running = z.object({
  name: z.string(),
  size: z.number().nullish(),
  size_vram: z.number().nullish(),
  expires_at: z.string().nullish(),
  context_length: z.number().nullish(),
})
type Running = z.infer<typeof Running>
const Refusal = z.object({ error: z.string() })
const Ps = z.object({ models: z.array(Running).nullish() })

/** The answer of `/api/show`. Older servers lack `capabilities` and `tensors`. */
const Shown = z.object({
  license: z.string().nullish(),
  modelfile: z.string().nullish(),
  parameters: z.string().nullish(),
  template: z.string().nullish(),
  system: z.string().nullish(),
  renderer: z.string().nullish(),
  parser: z.string().nullish(),
  requires: z.string().nullish(),
  messages: z.array(z.unknown()).nullish(),
  model_info: z.record(z.string(), z.unknown()).nullish(),
  projector_info: z.record(z.string(), z.unknown()).nullish(),
  tensors: z.array(z.unknown()).nullish(),
  capabilities: z.array(z.string()).nullish(),
})
type Shown = z.infer<typeof Shown>

/**
 * Dialects that any Ollama speaks, and one of 0.14 or later. Its `/v1/responses` is not good enough to pass untouched:
 * docs/decisions/2026-11-21-responses-through-chat.md.
 */
const SPEAKS: readonly DialectId[] = ['ollama.chat', 'ollama.generate', 'ollama.embed', 'ollama.embeddings', 'openai.chat', 'openai.completions', 'openai.embeddings']
const WITH_MESSAGES: readonly DialectId[] = [...SPEAKS, 'anthropic.messages']

/** Whether a version is one that has `/v1/messages`; one that was built by hand may call itself 0.0.0. */
const isSince014 = (version: string): boolean => {
  const [, major, minor] = /^v?(\d+)\.(\d+)\./.exec(version) ?? []
  return Number(major) > 0 || Number(minor) >= 14
}

/** Families that Ollama runs one at a time whatever `OLLAMA_NUM_PARALLEL` says (its scheduler, v0.33). */
const oneAtATime = /^(mllama|qwen3vl(moe)?|qwen35(moe)?|qwen3next|lfm2(moe)?|nemotron_h.*)$/

/** "Keep for ever" is an expiry centuries ahead. */
const FOR_EVER_MS = 50 * 365 * 86_400_000

/**
 * An Ollama server. Models that it only forwards to its maker's cloud are left out: their weights are not on this node, and
 * a prompt would leave it.
 */
export const ollama = ({ slots = 1, maxLoaded = 3, ...address }: OllamaOptions): Engine => {
  const { id, url } = address
  const http = engineHttp(address)
  let hasMessages = false

  const ask = async <T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> => {
    const { status, json } = await http.get(path, signal)
    if (status !== 200) throw new BrokerError('engine_failed', `engine ${id} answered GET ${path} with status ${status}`)
    const parsed = schema.safeParse(json)
    if (!parsed.success) throw new BrokerError('engine_failed', `engine ${id} does not answer GET ${path} as Ollama does`)
    return parsed.data
  }

  /** Has it change what it has in memory, which takes as long as it takes. */
  const change = async (path: string, body: object, signal: AbortSignal): Promise<void> => {
    const { status, json } = await http.ask({ path, body: JSON.stringify(body) }, signal)
    if (status === 200) return
    const said = Refusal.safeParse(json).data?.error
    if (said === undefined || status >= 502) throw new BrokerError('engine_failed', `engine ${id} answered POST ${path} with status ${status}${said === undefined ? '' : `: ${said}`}`)
    throw new BrokerError('engine_refused', said, { status })
  }

  return {
    id,
    url,
    kind: 'ollama',
    get speaks() {
      return hasMessages ? WITH_MESSAGES : SPEAKS
    },
    async look(signal): Promise<EngineView> {
      const [{ version }, tags, ps] = await Promise.all([
        ask('/api/version', Version, signal),
        ask('/api/tags', Tags, signal),
        ask('/api/ps', Ps, signal),
      ])
      hasMessages = isSince014(version)
      const held = onePerName((tags.models ?? []).filter((tag) => !tag.remote_model && !tag.remote_host).map(heldModel))
      const known = new Set(held.map(({ model }) => model))
      const loaded = onePerName((ps.models ?? []).map(loadedModel)).filter(({ model }) => known.has(model))
      const single = slots > 1 ? held.filter(runsOneAtATime) : []
      return {
        version,
        held,
        loaded,
        slotsPerModel: slots,
        ...(single.length > 0 ? { slotsByModel: Object.fromEntries(single.map(({ model }) => [model, 1])) } : {}),
        maxLoaded,
      }
    },
    async describe({ engineName }, signal): Promise<ModelDescription | undefined> {
      const { status, json } = await http.ask({ path: '/api/show', body: JSON.stringify({ model: engineName }) }, signal, PROMPT_MS)
      // Removed since it was listed.
      if (status === 404) return undefined
      if (status !== 200) throw new BrokerError('engine_failed', `engine ${id} answered POST /api/show with status ${status}`)
      const parsed = Shown.safeParse(json)
      if (!parsed.success) throw new BrokerError('engine_failed', `engine ${id} does not answer POST /api/show as Ollama does`)
      return descriptionOf(parsed.data)
    },
    post: http.post,
    async load({ engineName, capabilities }, { keepAliveMs, numCtx }, signal) {
      const wish = {
        model: engineName,
        ...(keepAliveMs !== undefined && { keep_alive: keepAliveMs === Infinity ? -1 : keepAliveMs / 1_000 }),
        ...(numCtx !== undefined && { options: { num_ctx: numCtx } }),
      }
      // What only makes vectors is refused by `generate`, and loaded by a request without a text.
      if (capabilities?.includes('embedding') === true && !capabilities.includes('completion')) return change('/api/embed', { ...wish, input: '' }, signal)
      return change('/api/generate', { ...wish, stream: false }, signal)
    },
    unload: ({ engineName }, signal) => change('/api/generate', { model: engineName, keep_alive: 0, stream: false }, signal),
    ask: (call, signal) => http.ask(call, signal),
    close: http.close,
  }
}

const descriptionOf = ({ model_info: modelInfo, projector_info: projectorInfo, ...shown }: Shown): ModelDescription => ({
  modelInfo: modelInfo ?? {},
  ...present('projectorInfo', projectorInfo),
  ...present('capabilities', shown.capabilities),
  ...present('parameters', shown.parameters),
  ...present('template', shown.template),
  ...present('system', shown.system),
  ...present('license', shown.license),
  ...present('modelfile', shown.modelfile),
  ...present('renderer', shown.renderer),
  ...present('parser', shown.parser),
  ...present('requires', shown.requires),
  ...present('messages', shown.messages),
  ...present('tensors', shown.tensors),
})

const heldModel = (tag: Tag): HeldModel | undefined => {
  const model = canonicalName(tag.name)
  if (model === undefined) return undefined
  const size = tag.size ?? 0
  const digest = tag.digest?.replace(/^sha256:/, '') ?? ''
  const { details } = tag
  return {
    model,
    engineName: tag.name,
    digest: /^[0-9a-f]{64}$/.test(digest) ? digest : derivedDigest('ollama', model, size),
    size,
    modifiedAt: tag.modified_at ?? new Date(0).toISOString(),
    ...present('format', details?.format),
    ...present('family', details?.family),
    ...present('parameterSize', details?.parameter_size),
    ...present('quantization', details?.quantization_level),
    ...present('contextLength', details?.context_length),
    ...present('embeddingLength', details?.embedding_length),
    ...present('capabilities', tag.capabilities),
  }
}

const loadedModel = (running: Running): LoadedModel | undefined => {
  const model = canonicalName(running.name)
  if (model === undefined) return undefined
  const { expires_at: expiresAt } = running
  const stays = !expiresAt || !(Date.parse(expiresAt) - Date.now() < FOR_EVER_MS)
  return {
    model,
    size: running.size ?? 0,
    sizeVram: running.size_vram ?? 0,
    ...(stays ? {} : { expiresAt }),
    ...present('contextLength', running.context_length),
  }
}

const runsOneAtATime = ({ capabilities, family }: HeldModel): boolean =>
  (capabilities?.includes('embedding') && !capabilities.includes('completion')) || oneAtATime.test(family ?? '')

/** Look-up is case-insensitive, so two spellings of a name are one model: the first one listed. */
const onePerName = <T extends { model: ModelName }>(entries: readonly (T | undefined)[]): T[] => {
  const byName = new Map<ModelName, T>()
  for (const entry of entries) if (entry && !byName.has(entry.model)) byName.set(entry.model, entry)
  return [...byName.values()]
}

/** A field where the engine tells it; Ollama writes `""`, 0 or `null` for what it does not know. */
const present = <K extends string, V>(key: K, value: V | null | undefined): Partial<Record<K, V>> =>
  value ? ({ [key]: value } as Record<K, V>) : {}

import { EXIT, ExitError } from '@drover/service'
import { z } from 'zod'

/** What an engine's model takes of its memory now. */
const InMemory = z.object({ size: z.number(), size_vram: z.number(), expires_at: z.string().optional(), context_length: z.number().optional() })

const ModelStatus = z.object({
  model: z.string(),
  loaded: z.boolean(),
  slots: z.number(),
  busy: z.number(),
  capabilities: z.array(z.string()).optional(),
  /** How a half answer goes on there: `prefill`, `rendered` or `none`; absent: not known yet. */
  continues: z.string().optional(),
  /** Bytes on disk. */
  size: z.number().optional(),
  /** 64 hex digits. */
  digest: z.string().optional(),
  quantization: z.string().optional(),
  context_length: z.number().optional(),
  memory: InMemory.optional(),
})
const EngineStatus = z.object({
  id: z.string(),
  kind: z.string(),
  /** `cluster`: its models run over several nodes. */
  layout: z.string().optional(),
  version: z.string().optional(),
  models: z.array(ModelStatus),
})
const NodeStatus = z.object({
  id: z.string(),
  version: z.string().optional(),
  draining: z.boolean(),
  /** Somebody wants it drained. */
  drained: z.boolean().optional(),
  preference: z.number().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  /** Absent where the engines are on another machine. */
  memory: z.object({ total: z.number(), free: z.number() }).optional(),
  gpus: z.array(z.object({ name: z.string(), free: z.number(), memory: z.number().optional() })),
  engines: z.array(EngineStatus),
  /** ms since its last sign of life, by Redis' clock. */
  last_seen_ms: z.number().optional(),
})
const LaneStatus = z.object({ model: z.string(), class: z.string(), waiting: z.number(), head_age_ms: z.number(), running: z.number(), layout: z.string().optional(), short_of: z.string().optional(), being_brought: z.string().optional() })
export type ModelStatus = z.infer<typeof ModelStatus>
export type EngineStatus = z.infer<typeof EngineStatus>
export type NodeStatus = z.infer<typeof NodeStatus>
export type LaneStatus = z.infer<typeof LaneStatus>

const ClusterStatus = z.object({ model: z.string(), coordinator: z.string(), members: z.array(z.object({ node: z.string() })) })

/** The part of `GET /api/status` that the commands read. */
const Status = z.object({ nodes: z.array(NodeStatus), lanes: z.array(LaneStatus).optional(), distributed_inference: z.object({ clusters: z.array(ClusterStatus) }).optional() })
export type Status = z.infer<typeof Status>

const Details = z.object({
  format: z.string().optional(),
  family: z.string().optional(),
  parameter_size: z.string().optional(),
  quantization_level: z.string().optional(),
  context_length: z.number().optional(),
})
const Tags = z.object({
  models: z.array(
    z.object({
      name: z.string(),
      modified_at: z.string(),
      size: z.number(),
      digest: z.string(),
      details: Details,
      capabilities: z.array(z.string()).optional(),
    }),
  ),
})
export type Tag = z.infer<typeof Tags>['models'][number]

const Ps = z.object({
  models: z.array(z.object({ name: z.string(), size: z.number(), size_vram: z.number(), expires_at: z.string(), context_length: z.number().optional() })),
})
export type Running = z.infer<typeof Ps>['models'][number]

const Refusal = z.object({ error: z.string() })

/** What a command named is not there. */
class NotFound extends ExitError {}

/** The gateway wants a key, or another one. */
export class KeyWanted extends ExitError {}

const Wish = z.union([NodeStatus, z.object({ id: z.string(), drained: z.boolean() })])

export interface Gateway {
  url: string
  apiKey: string | undefined
}

const TIMEOUT_MS = 10_000

export const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  return cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : String(cause)
}

interface Asked {
  signal: AbortSignal
  body?: string | FormData | Blob | undefined
  /** By default POST where there is a body, else GET. */
  method?: 'DELETE' | 'PATCH' | 'PUT' | 'HEAD' | undefined
  /** Further ones. */
  headers?: Record<string, string>
}

/** One request with the key. @throws ExitError when nobody answers, or the key is refused; what ends the signal, when that does */
export const ask = async ({ url, apiKey }: Gateway, path: string, { signal, body, method, headers = {} }: Asked): Promise<Response> => {
  const key = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
  const post = { ...(body !== undefined && { method: 'POST', body }), ...(method !== undefined && { method }) }
  let response: Response
  try {
    response = await fetch(new URL(path, url), { ...post, headers: { ...headers, ...key, ...(typeof body === 'string' && { 'content-type': 'application/json' }) }, signal })
  } catch (error) {
    if (signal.aborted && signal.reason !== error) throw signal.reason
    throw unreachable(url, error)
  }
  if (response.status === 401 || response.status === 403) {
    const said = Refusal.safeParse(jsonOf(await response.text().catch(() => '')))
    // Who comes with a key that may do other things is told what it lacks.
    if (response.status === 403 && said.success) throw new KeyWanted(`the gateway at ${url} refuses that: ${said.data.error}`, EXIT.failed)
    const step = apiKey === undefined ? 'set DROVER_API_KEY' : 'the one given is refused: correct DROVER_API_KEY'
    throw new KeyWanted(`the gateway at ${url} wants a key (${response.status}): ${step}`, EXIT.failed)
  }
  return response
}

const unreachable = (url: string, error: unknown): ExitError =>
  new ExitError(`no gateway answers at ${url} (${reasonOf(error)}): start one with "drover up", or name it with --url`, EXIT.failed)

/**
 * A JSON document of the gateway, as text and parsed; with a body, of a POST or what `method` says. Throws an `ExitError` that names the next step, or has
 * the gateway's own words for what was wrong or not found.
 */
export const readJson = async <T>(gateway: Gateway, path: string, schema: z.ZodType<T>, body?: string, method?: 'DELETE' | 'PATCH' | 'PUT'): Promise<{ text: string; value: T }> => {
  const { url } = gateway
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  let text: string
  let response: Response
  try {
    response = await ask(gateway, path, { signal, body, method })
    text = await response.text()
  } catch (error) {
    throw error instanceof ExitError ? error : unreachable(url, error)
  }
  if (response.status >= 400) {
    const refused = Refusal.safeParse(jsonOf(text))
    if (refused.success) throw new (response.status === 404 ? NotFound : ExitError)(refused.data.error, EXIT.failed)
  }
  if (!response.ok) throw new ExitError(`the gateway at ${url} answers ${response.status} to ${path}`, EXIT.failed)
  const parsed = schema.safeParse(jsonOf(text))
  if (!parsed.success) throw new ExitError(`what answers at ${url} is no Drover gateway of this version`, EXIT.failed)
  return { text, value: parsed.data }
}

/** What the gateway says about itself, as JSON text and parsed. Throws an `ExitError` that names the next step. */
export const readStatus = async (gateway: Gateway): Promise<{ text: string; status: Status }> => {
  const { text, value } = await readJson(gateway, '/api/status', Status)
  return { text, status: value }
}

/** The models of all nodes, newest first. Throws as `readStatus` does. */
export const readTags = async (gateway: Gateway): Promise<Tag[]> => (await readJson(gateway, '/api/tags', Tags)).value.models

/** The models in memory anywhere, each once. Throws as `readStatus` does. */
export const readRunning = async (gateway: Gateway): Promise<Running[]> => (await readJson(gateway, '/api/ps', Ps)).value.models

const nodePath = (id: string): string => `/api/nodes/${encodeURIComponent(id)}`

/** One node; `undefined`: it is not there (any more). Throws as `readStatus` does. */
export const readNode = async (gateway: Gateway, id: string): Promise<NodeStatus | undefined> => {
  try {
    return (await readJson(gateway, nodePath(id), NodeStatus)).value
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

/** Lets a node take no more jobs, or take them again; `undefined`: it is not there now, and finds the wish later. Throws as `readStatus` does, and when there is no such node. */
export const setDrained = async (gateway: Gateway, id: string, drained: boolean): Promise<NodeStatus | undefined> => {
  const { value } = await readJson(gateway, `${nodePath(id)}/${drained ? 'drain' : 'undrain'}`, Wish, '')
  return 'engines' in value ? value : undefined
}

export const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `undefined` when the gateway can do work, else what keeps it. */
export const whyNotReady = async (url: string): Promise<string | undefined> => {
  try {
    const response = await fetch(new URL('/readyz', url), { signal: AbortSignal.timeout(2_000) })
    const text = (await response.text()).trim()
    return response.status === 200 ? undefined : `${response.status} ${text}`.slice(0, 300)
  } catch (error) {
    return reasonOf(error)
  }
}

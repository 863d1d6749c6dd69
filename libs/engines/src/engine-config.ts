import { canonicalName, EngineKind } from '@drover/core'
import { z } from 'zod'

const EngineUrl = z.string().transform((text, context) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) {
    context.addIssue({ code: 'custom', message: 'must be a URL that begins with http:// or https://' })
    return z.NEVER
  }
  // A URL is shown in logs, status pages and errors.
  if (url.username || url.password) {
    context.addIssue({ code: 'custom', message: 'must not carry a user name or password: give a key as apiKey' })
    return z.NEVER
  }
  return url.origin + url.pathname.replace(/\/+$/, '')
})

const ModelNameText = z.string().transform((name, context) => {
  const model = canonicalName(name)
  if (model !== undefined) return model
  context.addIssue({ code: 'custom', message: `"${name}" is not a model name such as llama3.2:3b` })
  return z.NEVER
})

const EngineSettings = z.strictObject({
  url: EngineUrl,
  /** Found by asking when absent. */
  kind: EngineKind.optional(),
  /** llama-server: what its model is called here. */
  name: z
    .string()
    .refine((name) => canonicalName(name) !== undefined, 'must be a model name such as llama3.2:3b')
    .optional(),
  /** Ollama: its `OLLAMA_NUM_PARALLEL`, 1 by default. llama-server: at most this many of its slots. */
  slots: z.int().min(1).max(1024).optional(),
  /** Ollama: its `OLLAMA_MAX_LOADED_MODELS`, 3 by default. llama-server: at most this many models of a router. */
  maxLoaded: z.int().min(1).max(1024).optional(),
  /** Only these are used of what it holds. */
  models: z.array(ModelNameText).optional(),
  /** Sent as `authorization: Bearer`. */
  apiKey: z.string().regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces').optional(),
})

/** One engine as an operator names it, in a configuration file or a flag: a URL, or an object with more to say. */
export const EngineConfig = z
  .union([z.string(), z.looseObject({})], 'must be a URL, or an object with a url')
  .transform((value) => (typeof value === 'string' ? { url: value } : value))
  .pipe(EngineSettings)
export type EngineConfig = z.infer<typeof EngineConfig>

/**
 * What a worker calls an engine: its address without the scheme, the names of this machine made one, so that `localhost` and
 * `127.0.0.1` are not counted as two engines.
 */
export const engineId = (url: string): string => {
  const { protocol, hostname, port, pathname } = new URL(url)
  const host = /^(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])$/.test(hostname) ? '127.0.0.1' : hostname
  return `${host}:${port || (protocol === 'https:' ? 443 : 80)}${pathname.replace(/\/+$/, '')}`
}

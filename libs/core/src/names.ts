import { ModelName } from './job.ts'

/** The parts of `[host/][namespace/]model[:tag]` (reference: Ollama's name rules, v0.33). */
const PART = {
  host: /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}$/,
  namespace: /^[A-Za-z0-9_][A-Za-z0-9_-]{0,79}$/,
  model: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$/,
  tag: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$/,
}

const HOST = 'registry.ollama.ai'
const NAMESPACE = 'library'

/**
 * The canonical spelling of a model's name: Ollama's default host and namespace dropped, a tag always there, lower case
 * (look-up is case-insensitive). The suffix `:local`, which Ollama's clients add so that a model is not run in its maker's cloud, is no
 * part of it, and `hf:` stands for the hub's host as llama.cpp's users write it. `undefined` for a text that cannot be a name.
 */
export const canonicalName = (text: string): ModelName | undefined => {
  const parts = split(text)
  if (!parts) return undefined
  const { host, namespace, name, tag } = parts
  const official = host.toLowerCase() === HOST
  const prefix = official ? (namespace.toLowerCase() === NAMESPACE ? '' : `${namespace}/`) : `${host}/${namespace}/`
  return `${prefix}${name}:${tag}`.toLowerCase() as ModelName
}

export interface NameParts {
  host: string
  namespace: string
  name: string
  tag: string
}

/** All parts of a name, also those that its canonical spelling leaves out. */
export const nameParts = (model: ModelName): NameParts => {
  const parts = split(model)
  if (!parts) throw new TypeError(`${model} is no name of a model`)
  return parts
}

const split = (text: string): NameParts | undefined => {
  const parts = text.trim().replace(/^https?:\/\//, '').replace(/^hf:(?=[^/]+\/)/i, 'hf.co/').replace(/:local$/i, '').split('/')
  if (parts.length > 3) return undefined
  const last = parts.pop() ?? ''
  const colon = last.lastIndexOf(':')
  const name = colon < 0 ? last : last.slice(0, colon)
  const tag = colon < 0 ? 'latest' : last.slice(colon + 1)
  const namespace = parts.pop() ?? NAMESPACE
  const host = parts.pop() ?? HOST
  const isName = PART.model.test(name) && PART.tag.test(tag) && PART.namespace.test(namespace) && PART.host.test(host)
  return isName ? { host, namespace, name, tag } : undefined
}

/** Whether a text is already canonical, so that it need not be looked up twice. */
export const isCanonical = (text: string): text is ModelName => canonicalName(text) === text

/** Hosts in names of models that are Hugging Face's hub, as Ollama has them. */
const HUB = new Set(['hf.co', 'huggingface.co'])

/** Whether a model is named by its repository on the hub: `hf.co/OWNER/REPOSITORY:QUANTIZATION`. */
export const isOnHub = (model: ModelName): boolean => HUB.has(nameParts(model).host.toLowerCase())

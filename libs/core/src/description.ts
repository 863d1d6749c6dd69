import { z } from 'zod'
import { ModelShape } from './cluster/shape.ts'

/**
 * What an engine says of one model when asked (`POST /api/show`, v0.33), beyond what a node tells of it all the time. What an engine does
 * not tell is absent.
 */
export const ModelDescription = z.object({
  capabilities: z.array(z.string()).optional(),
  /** GGUF metadata: `general.architecture`, `<architecture>.context_length` and so on; arrays of more than five items are empty. */
  modelInfo: z.record(z.string(), z.unknown()),
  projectorInfo: z.record(z.string(), z.unknown()).optional(),
  /** Lines of a name, spaces and a value. */
  parameters: z.string().optional(),
  template: z.string().optional(),
  system: z.string().optional(),
  license: z.string().optional(),
  modelfile: z.string().optional(),
  renderer: z.string().optional(),
  parser: z.string().optional(),
  requires: z.string().optional(),
  messages: z.array(z.unknown()).optional(),
  tensors: z.array(z.unknown()).optional(),
  /** Drover's own: where its bytes lie; for models whose file the worker has read. Not shown to clients of `/api/show`. */
  shape: ModelShape.optional(),
})
export type ModelDescription = z.infer<typeof ModelDescription>

/** Most characters of a description as JSON: they lie in Redis, one for each digest that a living node holds. */
export const DESCRIPTION_CHARS = 128 * 1024

/** What goes first where a description is too long: what clients read least. */
const LEAST_READ = ['tensors', 'license', 'modelfile', 'messages', 'projectorInfo', 'template', 'system', 'parameters'] as const

/** Longest value of `modelInfo` in a description that is too long without it. */
const INFO_CHARS = 512
const INFO_FIELDS = 100
/** Room for that of a model with as many layers as llama.cpp takes. */
const SHAPE_CHARS = 32 * 1024

/** A description as JSON text of at most `DESCRIPTION_CHARS`: whole fields are left out until it is. */
export const descriptionText = (description: ModelDescription): string => {
  let kept = description
  for (const field of LEAST_READ) {
    const text = JSON.stringify(kept)
    if (text.length <= DESCRIPTION_CHARS) return text
    const { [field]: _left, ...rest } = kept
    kept = rest
  }
  const short = Object.entries(kept.modelInfo).filter(([name, value]) => name.length + JSON.stringify(value).length <= INFO_CHARS)
  const { capabilities, shape } = kept
  const modelInfo = Object.fromEntries(short.slice(0, INFO_FIELDS))
  return JSON.stringify({ capabilities: capabilities?.slice(0, 16), modelInfo, ...(JSON.stringify(shape ?? {}).length <= SHAPE_CHARS && { shape }) })
}

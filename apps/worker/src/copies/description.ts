import { z } from 'zod'

/** Most bytes of a description: a manifest of Ollama is a few hundred. */
export const DESCRIPTION_BYTES = 256 * 1024

/** What one node tells another of a model that it could copy. */
export const CopyDescription = z.object({
  model: z.string(),
  /** As an Ollama keeps it, or as files of a models folder. */
  kind: z.enum(['ollama', 'gguf']),
  /** Of an Ollama, as it is written there. */
  manifest: z.string().optional(),
  files: z
    .array(
      z.object({
        /** SHA-256. */
        digest: z.string().regex(/^[0-9a-f]{64}$/),
        /** Bytes. */
        size: z.int().min(0),
        /** Of a file in a models folder. */
        name: z.string().optional(),
      }),
    )
    .min(1)
    .max(1_000),
})
export type CopyDescription = z.infer<typeof CopyDescription>

import { z } from 'zod'

/** Unguessable, and starts with a shard tag (constant today) by which keys can be spread later. No colon: BullMQ refuses it. */
export const JobId = z.string().regex(/^0-[A-Za-z0-9_-]{22}$/).brand<'JobId'>()
export type JobId = z.infer<typeof JobId>

/** An API format. Each has one file in `libs/dialects`. */
export const DialectId = z.enum([
  'ollama.chat',
  'ollama.generate',
  'ollama.embed',
  'ollama.embeddings',
  'openai.chat',
  'openai.completions',
  'openai.embeddings',
  'openai.responses',
  'anthropic.messages',
  'anthropic.count_tokens',
  'llama.rerank',
  'llama.tokenize',
  'llama.detokenize',
])
export type DialectId = z.infer<typeof DialectId>

/** A model's canonical name, as lanes and the registry spell it: lower case, always with a tag (`llama3.2:latest`). See `names.ts`. */
export const ModelName = z.string().min(1).max(600).brand<'ModelName'>()
export type ModelName = z.infer<typeof ModelName>

export const JobClass = z.enum(['interactive', 'batch'])
export type JobClass = z.infer<typeof JobClass>

/** Version of what crosses Redis. Readers accept this one and the one before, so that gateways and workers upgrade one by one. */
export const WIRE_VERSION = 1

/** What crosses Redis for one request. The body stays in the client's own dialect: nobody re-writes it. */
export const Job = z.object({
  v: z.int().min(WIRE_VERSION - 1).max(WIRE_VERSION),
  id: JobId,
  dialect: DialectId,
  model: ModelName,
  /** The model's name exactly as the client wrote it; replies echo it. */
  asked: z.string(),
  class: JobClass,
  /** Whether the client reads the answer while it grows; else only its end is published. */
  stream: z.boolean(),
  /** Free slots that the request takes at once on one engine (`n` of the OpenAI API). */
  slots: z.int().min(1).max(16),
  /** The client's request after the dialect's allow-list, as JSON text; a large one lies beside the job, under the job's body key. */
  body: z.union([z.object({ inline: z.string() }), z.object({ beside: z.literal(true) })]),
  /** `false`: what has been read of an answer is not continued by another attempt. */
  resume: z.boolean().optional(),
})
export type Job = z.infer<typeof Job>

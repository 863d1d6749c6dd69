import { z } from 'zod'
import type { Owner } from './caller.ts'

const name = z.string().min(1).max(600)

/** Work on what a node holds, as a job of that node's lane carries it. Names are as the client wrote them, and checked. */
export const ModelWork = z.discriminatedUnion('call', [
  z.object({ call: z.literal('pull'), model: name, insecure: z.boolean() }),
  z.object({ call: z.literal('push'), model: name, insecure: z.boolean() }),
  /** From another node's copy, and from nowhere else. */
  z.object({ call: z.literal('transfer'), model: name, from: z.string().optional() }),
  z.object({ call: z.literal('delete'), model: name }),
  z.object({ call: z.literal('copy'), source: name, destination: name }),
  /** `body`: the further fields of Ollama's request. */
  z.object({ call: z.literal('create'), model: name, body: z.record(z.string(), z.unknown()) }),
  /** `keepAlive`: seconds or a duration as Ollama writes it, negative for good; `numCtx`: tokens per slot. What is absent the node decides. */
  z.object({ call: z.literal('load'), model: name, keepAlive: z.string().optional(), numCtx: z.int().min(1).optional() }),
  z.object({ call: z.literal('unload'), model: name }),
])
export type ModelWork = z.infer<typeof ModelWork>
export type ModelCall = ModelWork['call']

/** The model that some work is about; of a copy, the source. */
export const subjectOf = (work: ModelWork): string => (work.call === 'copy' ? work.source : work.model)

/** Whose such jobs are: several callers may share one, so it is none of theirs. */
export const MODEL_WORK_OWNER = 'models' as Owner

import { canonicalName, KV_TYPES, type KvType, type ModelName, type PlanWish } from '@drover/core'
import type { ModelFile } from '@drover/engines'
import { z } from 'zod'
import { fromJson } from '../from-json.ts'

/** How one model is to be spread; what is absent is decided as for all others. */
const ClusterWish = z.strictObject({
  nodes: z.array(z.string().min(1)).min(1).optional(),
  layers: z.record(z.string(), z.tuple([z.int().min(0), z.int().min(0)])).optional(),
  context: z.int().min(1).optional(),
  slots: z.int().min(1).max(256).optional(),
  flash_attention: z.boolean().optional(),
  kv_type: z.enum(Object.keys(KV_TYPES) as [KvType, ...KvType[]]).optional(),
  headroom: z.number().min(0).max(0.9).optional(),
})
type ClusterWish = z.infer<typeof ClusterWish>

/** `{"llama-70b:q4_k_m": {"nodes": ["a", "b"], "context": 8192}}`, or its JSON text. */
export const ClusterWishes = z.preprocess(fromJson, z.record(z.string(), ClusterWish)).transform((wishes, context) => {
  const named = new Map<ModelName, ClusterWish>()
  for (const [name, wish] of Object.entries(wishes)) {
    const model = canonicalName(name)
    if (model) named.set(model, wish)
    else context.addIssue({ code: 'custom', message: `"${name}" is no name of a model` })
  }
  return named
})
export type ClusterWishes = z.infer<typeof ClusterWishes>

/** How a model is to be run over several nodes. */
export const wishFor = ({ model, facts }: ModelFile, wishes: ClusterWishes, usual: { slots: number; context: number }): PlanWish => {
  const { context, slots, flash_attention: flashAttention, kv_type: kvType, ...where } = wishes.get(model) ?? {}
  const wanted = context ?? usual.context
  return { ...where, flashAttention, kvType, slots: slots ?? usual.slots, context: Math.min(wanted, facts.contextLength ?? wanted) }
}

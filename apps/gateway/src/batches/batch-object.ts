import type { Batch, BatchState } from '@drover/core'
import { z } from 'zod'

const HOUR_S = 3_600

/** What OpenAI's clients send to make a batch. */
export const CreateBatch = z.object({
  input_file_id: z.string().max(100),
  endpoint: z.string().max(100),
  completion_window: z.literal('24h', "can only be '24h'"),
  metadata: z
    .record(z.string().max(64), z.string().max(512))
    .refine((pairs) => Object.keys(pairs).length <= 16, 'has more than 16 pairs')
    .nullish(),
  output_expires_after: z.object({ anchor: z.literal('created_at'), seconds: z.int().min(HOUR_S).max(30 * 24 * HOUR_S) }).nullish(),
})
export type CreateBatch = z.infer<typeof CreateBatch>

export const BatchesQuery = z.object({ after: z.string().max(100).optional(), limit: z.coerce.number().int().min(1).max(100).default(20) })

const seconds = (ms: number | undefined): number | null => (ms === undefined ? null : Math.floor(ms / 1000))

/** A batch as OpenAI's API shows it; `cancelled` and `expired` requests are counted beside its own counts. */
export const batchObject = ({ id, spec, state, createdAt, deadline, since, counts, plan, errors, outputFile, errorFile }: Batch) => {
  const at = (name: BatchState) => seconds(since[name])
  return {
    id,
    object: 'batch' as const,
    endpoint: spec.endpoint,
    ...(plan && { model: plan.models[0] }),
    errors: errors ? { object: 'list' as const, data: errors } : null,
    input_file_id: spec.input,
    completion_window: spec.window,
    status: state,
    output_file_id: outputFile ?? null,
    error_file_id: errorFile ?? null,
    created_at: seconds(createdAt),
    in_progress_at: at('in_progress'),
    expires_at: seconds(deadline),
    finalizing_at: at('finalizing'),
    completed_at: at('completed'),
    failed_at: at('failed'),
    expired_at: at('expired'),
    cancelling_at: at('cancelling'),
    cancelled_at: at('cancelled'),
    request_counts: counts,
    metadata: spec.metadata,
  }
}

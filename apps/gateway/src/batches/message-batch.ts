import { isOver, type Batch } from '@drover/core'

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())

/** A batch as Anthropic's API shows it; `base` is where this gateway is reached. */
export const messageBatch = ({ id, spec, state, createdAt, deadline, since, counts }: Batch, base: string) => {
  const { completed, expired } = counts
  const over = isOver(state)
  /** What has no result when a batch has ended never will have one. */
  const rest = (spec.count ?? counts.total) - completed - counts.failed - counts.cancelled - expired
  const failed = counts.failed + (over && state !== 'cancelled' ? rest : 0)
  const cancelled = counts.cancelled + (state === 'cancelled' ? rest : 0)
  return {
    id,
    type: 'message_batch' as const,
    processing_status: over ? ('ended' as const) : state === 'cancelling' ? ('canceling' as const) : ('in_progress' as const),
    request_counts: { processing: over ? 0 : rest, succeeded: completed, errored: failed, canceled: cancelled, expired },
    created_at: time(createdAt),
    expires_at: time(deadline),
    ended_at: over ? time(since[state]) : null,
    cancel_initiated_at: time(since.cancelling),
    archived_at: null,
    results_url: over ? `${base}/v1/messages/batches/${id}/results` : null,
  }
}

interface Stored {
  custom_id: string
  response: { status_code: number; body: unknown } | null
  error: { code: string } | null
}

const resultOf = ({ response, error }: Stored) => {
  if (!response) return { type: error?.code === 'batch_expired' ? 'expired' : 'canceled' }
  return response.status_code === 200 ? { type: 'succeeded', message: response.body } : { type: 'errored', error: response.body }
}

/** A line of our results as one of Anthropic's. */
export const messageResult = (line: string): string => {
  const stored = JSON.parse(line) as Stored
  return `${JSON.stringify({ custom_id: stored.custom_id, result: resultOf(stored) })}\n`
}

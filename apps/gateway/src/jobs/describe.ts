import { readLane, type JobState, type KeptJob } from '@drover/broker'
import type { ErrorInfo } from '@drover/core'
import type { Admission } from '../admission.ts'
import type { OnDemand } from '../models/on-demand.ts'
import type { RegistryView } from '../registry-view.ts'
import { shortfall } from '../clusters/shortfall.ts'

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())
/** What the engine itself said is for who reads the result. */
const told = ({ code, message, status }: ErrorInfo) => ({ code, message, status })

/** A job as `GET /api/jobs` and `GET /api/jobs/:id` show it; times by Redis' clock. */
export interface JobDescription {
  id: string
  state: JobState
  owner: string
  dialect: string
  model: string
  class: string
  stream: boolean
  background: boolean
  priority: number | null
  /** Jobs that come before it in its lane, and when it is likely to begin; `null` once it has begun, and where nobody can say. */
  position: number | null
  expected_start_at: string | null
  /** The memory without which it cannot begin, while that is what it waits for. */
  short_of: string | null
  /** Where its model is being brought, and how far that is, while that is what it waits for. */
  being_brought: string | null
  node: string | null
  attempts: number
  created_at: string | null
  started_at: string | null
  first_token_at: string | null
  ended_at: string | null
  deadline_at: string | null
  expires_at: string | null
  usage: { prompt_tokens: number; completion_tokens: number } | null
  error: { code: string; message: string; status: number } | null
}

export interface DescribeDeps {
  admission: Pick<Admission, 'expectedWaitMs'>
  view: Pick<RegistryView, 'holders' | 'short'>
  onDemand?: Pick<OnDemand, 'progress'> | undefined
}

export const describeJob = (job: KeptJob, { admission, view, onDemand }: DescribeDeps): JobDescription => {
  const { record, ahead } = job
  const short = ahead && shortfall(view, readLane(job.lane))
  const brought = ahead && onDemand?.progress(readLane(job.lane).model)
  const waitMs = ahead && short === undefined && brought === undefined ? admission.expectedWaitMs(job.lane, ahead) : undefined
  const error = record?.error ?? job.failure
  return {
    id: job.id,
    state: job.state,
    owner: job.owner,
    dialect: job.dialect,
    model: job.model,
    class: job.class,
    stream: job.stream,
    background: job.background,
    priority: job.priority ?? null,
    position: ahead?.waiting ?? null,
    expected_start_at: time(waitMs === undefined ? undefined : job.seenAt + waitMs),
    short_of: short ?? null,
    being_brought: brought ?? null,
    node: job.node ?? record?.node ?? null,
    attempts: job.attempts,
    created_at: time(job.createdAt),
    started_at: time(job.startedAt),
    first_token_at: time(job.firstTextAt),
    ended_at: time(job.endedAt),
    deadline_at: time(job.deadlineAt),
    expires_at: time(job.expiresAt),
    usage: record?.usage ? { prompt_tokens: record.usage.promptTokens, completion_tokens: record.usage.completionTokens } : null,
    error: error ? told(error) : null,
  }
}

import { BrokerError, type KeyLimits } from '@drover/core'

/** What a key has used of its limits: of the minute's and of the day's; what has no limit is 0. */
export interface Standing {
  requests: number
  tokens: number
  tokensOfDay: number
  /** Until the day ends, ms. */
  dayLeftMs: number
}

/** As `lua/limit.lua` answers it. */
export type ToldStanding = [requests: number, tokens: number, tokensOfDay: number, dayLeftMs: number]
export const readStanding = ([requests, tokens, tokensOfDay, dayLeftMs]: ToldStanding): Standing => ({ requests, tokens, tokensOfDay, dayLeftMs })

export type LimitName = 'requests' | 'tokens' | 'day' | 'open' | 'new'

const WORDS: Record<LimitName, (limits: KeyLimits) => string> = {
  requests: ({ requests_per_minute: most }) => `rate limit reached for this API key: ${most} requests per minute`,
  tokens: ({ tokens_per_minute: most }) => `rate limit reached for this API key: ${most} tokens per minute`,
  day: ({ tokens_per_day: most }) => `this API key has used up its tokens of the day: ${most}`,
  open: ({ concurrent: most }) => `rate limit reached for this API key: ${most} jobs at once`,
  new: ({ queued: most }) => `rate limit reached for this API key: ${most} waiting jobs`,
}

/** A key has used up what it may use. */
export class LimitReached extends BrokerError {
  /** When there may be room again, ms. */
  readonly retryMs: number
  constructor({ which, limits, retryMs }: { which: LimitName; limits: KeyLimits; retryMs: number }) {
    super(which === 'day' ? 'quota_exceeded' : 'rate_limited', WORDS[which](limits))
    this.retryMs = retryMs
  }
}

/** What a job is charged to. */
export interface Charged {
  limits: KeyLimits
  /** Called with how the key stands, when the job is taken or refused, before anything comes of it. */
  tell?(standing: Standing): void
  /** Whether it counts as a request and as a job; not so for the further parts of one that has been counted, and for lines of batches. */
  counts: boolean
}

/** The same for `lua/limit.lua`, or `''` where nothing limits the job. */
export const chargeText = (charged: Charged | undefined, use: string, tokens: number): string => {
  if (!charged) return ''
  const { requests_per_minute: rpm, tokens_per_minute: tpm, tokens_per_day: tpd, concurrent: open, queued } = charged.limits
  return JSON.stringify({ use, rpm, tpm, tpd, open, new: queued, tokens, jobs: charged.counts ? 1 : 0 })
}

import type { Standing } from '@drover/broker'
import type { KeyLimits } from '@drover/core'

/** What is counted as of a minute may stay so for a second more. */
const WINDOW_S = 61
const DAY_S = 86_400

/** How a key stands, as OpenAI says it and as the draft of `RateLimit` does (draft-ietf-httpapi-ratelimit-headers-10). */
export const limitHeaders = ({ requests_per_minute: rpm, tokens_per_minute: tpm, tokens_per_day: tpd }: KeyLimits, standing: Standing): Record<string, string> => {
  const dayLeftS = Math.ceil(standing.dayLeftMs / 1_000)
  const rows = [
    { name: 'requests', most: rpm, used: standing.requests, windowS: 60, leftS: WINDOW_S },
    { name: 'tokens', most: tpm, used: standing.tokens, windowS: 60, leftS: WINDOW_S },
    { name: 'day', most: tpd, used: standing.tokensOfDay, windowS: DAY_S, leftS: dayLeftS },
  ].flatMap(({ most, used, leftS, ...row }) => (most === undefined ? [] : [{ ...row, most, left: Math.max(0, most - used), resetS: used > 0 ? leftS : 0 }]))
  if (rows.length === 0) return {}
  return {
    'ratelimit-policy': rows.map(({ name, most, windowS }) => `"${name}";q=${most};w=${windowS}`).join(', '),
    ratelimit: rows.map(({ name, left, resetS }) => `"${name}";r=${left};t=${resetS}`).join(', '),
    ...Object.assign(
      {},
      ...rows
        .filter(({ name }) => name !== 'day')
        .map(({ name, most, left, resetS }) => ({
          [`x-ratelimit-limit-${name}`]: String(most),
          [`x-ratelimit-remaining-${name}`]: String(left),
          [`x-ratelimit-reset-${name}`]: `${resetS}s`,
        })),
    ),
  }
}

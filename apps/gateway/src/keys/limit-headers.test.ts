import { expect, test } from 'vitest'
import { limitHeaders } from './limit-headers.ts'

const standing = { requests: 3, tokens: 1_200, tokensOfDay: 9_000, dayLeftMs: 3_599_001 }

test('each limit says what it is, what is left of it and when all of it is there again', () => {
  expect(limitHeaders({ requests_per_minute: 60, tokens_per_minute: 1_000, tokens_per_day: 10_000, concurrent: 2 }, standing)).toEqual({
    'ratelimit-policy': '"requests";q=60;w=60, "tokens";q=1000;w=60, "day";q=10000;w=86400',
    ratelimit: '"requests";r=57;t=61, "tokens";r=0;t=61, "day";r=1000;t=3600',
    'x-ratelimit-limit-requests': '60',
    'x-ratelimit-remaining-requests': '57',
    'x-ratelimit-reset-requests': '61s',
    'x-ratelimit-limit-tokens': '1000',
    'x-ratelimit-remaining-tokens': '0',
    'x-ratelimit-reset-tokens': '61s',
  })
})

test('what is not limited is not told, and nothing used is nothing to wait for', () => {
  expect(limitHeaders({ concurrent: 2, queued: 1 }, standing)).toEqual({})
  expect(limitHeaders({ requests_per_minute: 60 }, { ...standing, requests: 0 })).toMatchObject({ ratelimit: '"requests";r=60;t=0', 'x-ratelimit-reset-requests': '0s' })
})

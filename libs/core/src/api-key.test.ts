import { expect, test } from 'vitest'
import { ApiKey, changedKey, keyCaller, KeyChange, KeyWish, modelMatcher, shownKey } from './api-key.ts'
import { almighty, OPERATOR } from './caller.ts'

const HASH = 'a'.repeat(64)
const key = (more: object = {}) => ApiKey.parse({ id: 'k1', name: 'one', hash: HASH, created_at: '2026-01-01T00:00:00.000Z', ...more })

test('a key of which only the name is said may infer and make batches, has no limits, and asks for nothing above the usual priority', () => {
  expect(KeyWish.parse({ name: 'one' })).toEqual({ name: 'one', scopes: ['infer', 'batch'], priority_ceiling: 5, batch_share: 1 })
  const { owner, scopes, priorityCeiling, batchShare, ...rest } = keyCaller(key())
  expect([owner, [...scopes], priorityCeiling, batchShare, rest]).toEqual(['k1', ['infer', 'batch'], 5, 1, {}])
  expect(almighty(OPERATOR)).toMatchObject({ priorityCeiling: 10, batchShare: 1 })
})

test.each([
  [{}, 'name'],
  [{ name: 'a\nb' }, 'name'],
  [{ name: 'a', scopes: ['all'] }, 'scopes'],
  [{ name: 'a', scopes: [] }, 'scopes'],
  [{ name: 'a', models: [] }, 'models'],
  [{ name: 'a', models: ['a b'] }, 'models'],
  [{ name: 'a', limits: { requests_per_minute: 0 } }, 'limits'],
  [{ name: 'a', limits: { requests_per_hour: 1 } }, 'limits'],
  [{ name: 'a', priority_ceiling: 11 }, 'priority_ceiling'],
  [{ name: 'a', batch_share: 0 }, 'batch_share'],
  [{ name: 'a', expires_at: 'tomorrow' }, 'expires_at'],
])('a wish of %j is refused for its %s', (wish, field) => {
  expect(KeyWish.safeParse(wish).error?.issues.map(({ path }) => path[0])).toEqual([field])
})

test.each([
  ['llama3.2', ['llama3.2:latest'], ['llama3.2:1b', 'llama3.2-vision:latest', 'llama3x2:latest']],
  ['LLAMA3.2:1B', ['llama3.2:1b'], ['llama3.2:latest']],
  ['library/llama3.2', ['llama3.2:latest'], ['library/llama3.2:latest']],
  ['qwen3:*', ['qwen3:8b', 'qwen3:latest'], ['qwen3-coder:8b', 'team/qwen3:8b']],
  ['qwen*', ['qwen3:8b', 'qwen2.5-coder:latest'], ['llama:8b', 'team/qwen3:8b']],
  ['team/*', ['team/a:latest', 'team/b:1b'], ['a:latest', 'ateam/a:latest']],
  ['*coder', ['qwen-coder:latest'], ['qwen-coder:7b']],
  ['*', ['anything:at-all'], []],
])('the pattern %s means %j and not %j', (pattern, yes, no) => {
  const allows = modelMatcher([pattern])
  expect([yes.filter((each) => !allows(each)), no.filter(allows)]).toEqual([[], []])
})

const AT = '2026-02-01T00:00:00.000Z'
const whole = key({ name: 'one', scopes: ['infer'], models: ['a'], limits: { concurrent: 2, queued: 1 }, priority_ceiling: 7, batch_share: 0.5, expires_at: '2030-01-01T00:00:00Z', previous: { hash: 'b'.repeat(64), until: 0 } })
test.each<[string, KeyChange, object]>([
  ['nothing', {}, {}],
  ['its name', { name: 'two' }, { name: 'two' }],
  ['one limit, and another stays', { limits: { queued: 3 } }, { limits: { concurrent: 2, queued: 3 } }],
  ['a limit more', { limits: { tokens_per_day: 9 } }, { limits: { concurrent: 2, queued: 1, tokens_per_day: 9 } }],
  ['one limit less', { limits: { queued: null } }, { limits: { concurrent: 2 } }],
  ['each limit away', { limits: { queued: null, concurrent: null, tokens_per_minute: null } }, { limits: undefined }],
  ['all limits away', { limits: null }, { limits: undefined }],
  ['what else was said away', { scopes: null, models: null, priority_ceiling: null, batch_share: null, expires_at: null }, { scopes: ['infer', 'batch'], models: undefined, priority_ceiling: 5, batch_share: 1, expires_at: undefined }],
  ['scopes and models', { scopes: ['admin', 'admin'], models: ['b', 'c*'] }, { scopes: ['admin'], models: ['b', 'c*'] }],
])('a change of %s: the rest stays, with both secrets', (_what, change, differs) => {
  expect(changedKey(whole, KeyChange.parse(change), AT)).toEqual({ ...whole, changed_at: AT, ...differs })
})

test.each([
  [{ name: null }, 'name'],
  [{ scopes: [] }, 'scopes'],
  [{ limits: { queued: 0 } }, 'limits'],
  [{ limits: { requests_per_hour: null } }, 'limits'],
  [{ batch_share: 2 }, 'batch_share'],
])('a change of %j is refused for its %s', (change, field) => {
  expect(KeyChange.safeParse(change).error?.issues.map(({ path }) => path[0])).toEqual([field])
})

test('what is shown of a key has no hash in it, and says until when the secret before still opens', () => {
  const shown = shownKey(key({ previous: { hash: 'b'.repeat(64), until: 0 } }))
  expect(JSON.stringify(shown)).not.toMatch(/[ab]{64}/)
  expect(shown).toMatchObject({ id: 'k1', name: 'one', previous_until: '1970-01-01T00:00:00.000Z' })
})

import { z } from 'zod'
import { Owner, Scope, type Caller } from './caller.ts'
import { canonicalName } from './names.ts'

const limits = {
  requests_per_minute: z.int().min(1).max(10_000_000),
  /** Tokens of prompts and answers together. */
  tokens_per_minute: z.int().min(1).max(10_000_000_000),
  /** Tokens of one day, which ends at midnight UTC; lines of batches count, too. */
  tokens_per_day: z.int().min(1).max(10_000_000_000_000),
  /** Jobs that wait or run at once. */
  concurrent: z.int().min(1).max(1_000_000),
  /** Of these, jobs that no node has begun yet. */
  queued: z.int().min(1).max(1_000_000),
}

/** What a key may use up over all gateways; what is absent has no bound. */
export const KeyLimits = z.strictObject(limits).partial()
export type KeyLimits = z.infer<typeof KeyLimits>

/** A model's name, `*` as wildcard: `llama3.2`, `qwen3:*`, `*`. A name without a tag means `:latest`, unless it ends with `*`. */
const ModelPattern = z.string().regex(/^[A-Za-z0-9_*][A-Za-z0-9_.:/*-]{0,599}$/, 'must be the name of a model, * as wildcard')

const fields = {
  /** For people; shown in lists. */
  name: z.string().min(1).max(100).regex(/^[^\p{C}]*$/u, 'must be one line of text'),
  scopes: z.array(Scope).min(1).max(Scope.options.length).transform((scopes) => [...new Set(scopes)]),
  /** Models that it may use; absent: all. */
  models: z.array(ModelPattern).min(1).max(1_000),
  /** The highest priority that its requests may ask for. */
  priority_ceiling: z.int().min(1).max(10),
  /** The largest part of a model's slots that its batches may keep busy at once. */
  batch_share: z.number().gt(0).max(1),
  /** When it ends by itself. */
  expires_at: z.iso.datetime({ offset: true }),
}

/** What a key is to be: what `POST /api/keys` takes. */
export const KeyWish = z.strictObject({
  name: fields.name,
  scopes: fields.scopes.default(['infer', 'batch']),
  models: fields.models.optional(),
  limits: KeyLimits.optional(),
  priority_ceiling: fields.priority_ceiling.default(5),
  batch_share: fields.batch_share.default(1),
  expires_at: fields.expires_at.optional(),
})
export type KeyWish = z.infer<typeof KeyWish>

/** What is to be otherwise with a key: what `PATCH /api/keys/ID` takes. What is absent stays; `null` is as if it had never been said. */
export const KeyChange = z
  .strictObject({
    name: fields.name,
    scopes: fields.scopes.nullable(),
    models: fields.models.nullable(),
    limits: z
      .strictObject({
        requests_per_minute: limits.requests_per_minute.nullable(),
        tokens_per_minute: limits.tokens_per_minute.nullable(),
        tokens_per_day: limits.tokens_per_day.nullable(),
        concurrent: limits.concurrent.nullable(),
        queued: limits.queued.nullable(),
      })
      .partial()
      .nullable(),
    priority_ceiling: fields.priority_ceiling.nullable(),
    batch_share: fields.batch_share.nullable(),
    expires_at: fields.expires_at.nullable(),
  })
  .partial()
export type KeyChange = z.infer<typeof KeyChange>

const Hash = z.string().regex(/^[0-9a-f]{64}$/)

/** A key as it lies in Redis. Its secret is nowhere: only the SHA-256 of the whole key, in hex. */
export const ApiKey = KeyWish.extend({
  id: Owner,
  hash: Hash,
  /** The hash of the secret before, and until when (epoch ms by Redis' clock) it still opens. */
  previous: z.object({ hash: Hash, until: z.number() }).optional(),
  created_at: z.string(),
  changed_at: z.string().optional(),
  rotated_at: z.string().optional(),
})
export type ApiKey = z.infer<typeof ApiKey>

const said = (fields: object) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))

/** A key as it is when it has been changed. @param at when that is, RFC 3339 */
export const changedKey = (key: ApiKey, { limits: wanted, ...change }: KeyChange, at: string): ApiKey => {
  const limits = wanted === null ? {} : said({ ...key.limits, ...wanted })
  return ApiKey.parse(said({ ...key, ...change, limits: Object.keys(limits).length > 0 ? limits : null, changed_at: at }))
}

/** A key as it is shown: nothing of it opens anything. */
export const shownKey = ({ hash: _hash, previous, ...key }: ApiKey) => ({
  ...key,
  ...(previous && { previous_until: new Date(previous.until).toISOString() }),
})
export type ShownKey = ReturnType<typeof shownKey>

const expressionOf = (pattern: string): RegExp => {
  const whole = pattern.includes(':') || pattern.endsWith('*') ? pattern : `${pattern}:latest`
  return new RegExp(`^${whole.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`, 'i')
}

/** Whether a model's canonical name is one of those that the patterns mean. A pattern may be any spelling of a name. */
export const modelMatcher = (patterns: readonly string[]): ((model: string) => boolean) => {
  const expressions = patterns.map((pattern) => expressionOf(canonicalName(pattern) ?? pattern))
  return (model) => expressions.some((expression) => expression.test(model))
}

/** Who comes with this key. */
export const keyCaller = ({ id, scopes, models, limits, priority_ceiling, batch_share }: ApiKey): Caller => ({
  owner: id,
  scopes: new Set(scopes),
  priorityCeiling: priority_ceiling,
  batchShare: batch_share,
  ...(models && { allowsModel: modelMatcher(models) }),
  ...(limits && Object.keys(limits).length > 0 && { limits }),
})

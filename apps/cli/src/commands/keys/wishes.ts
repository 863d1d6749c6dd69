import { type SettingValues, duration, setting } from '@drover/service'
import { z } from 'zod'

const SAID = {
  scope: 'what it may do: infer, batch, models, metrics, admin; again for each',
  model: 'a model that it may use, * as wildcard; again for each',
  requestsPerMinute: 'most requests in a minute',
  tokensPerMinute: 'most tokens in a minute, of prompts and answers',
  tokensPerDay: 'most tokens in a day (UTC)',
  concurrent: 'most jobs that wait or run at once',
  queued: 'most jobs that wait at once',
  priorityCeiling: 'highest priority that its requests may ask for, 1 to 10',
  batchShare: "largest part of a model's slots for its batches, up to 1",
  expiresIn: 'it ends by itself after so long, as 90d',
}

const COUNT = z.int().min(1)
const PRIORITY = z.int().min(1).max(10)
const SHARE = z.number().gt(0).max(1)
const LIFE = duration({ min: 1_000 })
const list = (describe: string) => setting({ schema: z.array(z.string()).default([]), describe })
const wish = <T extends z.ZodType>(schema: T, describe: string) => setting({ schema: schema.optional(), describe })

/** What `create` takes of a key. */
export const wishSettings = {
  scope: list(`${SAID.scope}; by default infer and batch`),
  model: list(`${SAID.model}; by default all`),
  requestsPerMinute: wish(COUNT, SAID.requestsPerMinute),
  tokensPerMinute: wish(COUNT, SAID.tokensPerMinute),
  tokensPerDay: wish(COUNT, SAID.tokensPerDay),
  concurrent: wish(COUNT, SAID.concurrent),
  queued: wish(COUNT, SAID.queued),
  priorityCeiling: wish(PRIORITY, `${SAID.priorityCeiling}; by default 5`),
  batchShare: wish(SHARE, SAID.batchShare),
  expiresIn: wish(LIFE, SAID.expiresIn),
}

const orNone = <T extends z.ZodType>(schema: T, expected: string, describe: string) =>
  setting({ schema: z.union([schema, z.literal('none')], { error: `expected ${expected}, or none` }).optional(), describe: `${describe}; or none` })
const countOrNone = (describe: string) => orNone(COUNT, 'a whole number from 1 on', describe)

/** What `set` takes: what is not said stays as it is, `none` is as if it had never been said. */
export const changeSettings = {
  name: wish(z.string(), 'another name'),
  scope: list(`${SAID.scope}, in place of those that it has`),
  model: list(`${SAID.model}, in place of those that it has; '*': all`),
  requestsPerMinute: countOrNone(SAID.requestsPerMinute),
  tokensPerMinute: countOrNone(SAID.tokensPerMinute),
  tokensPerDay: countOrNone(SAID.tokensPerDay),
  concurrent: countOrNone(SAID.concurrent),
  queued: countOrNone(SAID.queued),
  priorityCeiling: orNone(PRIORITY, '1 to 10', SAID.priorityCeiling),
  batchShare: orNone(SHARE, 'a number up to 1', SAID.batchShare),
  expiresIn: orNone(LIFE, 'a time like 90d', `${SAID.expiresIn}, from now on`),
}

const none = <T>(value: T): T | null => (value === 'none' ? null : value)

/** As `/api/keys` takes it: what is not said is absent, `none` is `null`. */
export const fieldsOf = (values: SettingValues<typeof wishSettings> | SettingValues<typeof changeSettings>) => {
  const limits = {
    requests_per_minute: none(values.requestsPerMinute),
    tokens_per_minute: none(values.tokensPerMinute),
    tokens_per_day: none(values.tokensPerDay),
    concurrent: none(values.concurrent),
    queued: none(values.queued),
  }
  const { expiresIn } = values
  return {
    ...(values.scope.length > 0 && { scopes: values.scope }),
    ...(values.model.length > 0 && { models: values.model }),
    ...(Object.values(limits).some((limit) => limit !== undefined) && { limits }),
    ...(values.priorityCeiling !== undefined && { priority_ceiling: none(values.priorityCeiling) }),
    ...(values.batchShare !== undefined && { batch_share: none(values.batchShare) }),
    ...(expiresIn !== undefined && { expires_at: expiresIn === 'none' ? null : new Date(Date.now() + expiresIn).toISOString() }),
  }
}

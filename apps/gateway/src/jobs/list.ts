import type { KeptJob, ListPlace } from '@drover/broker'
import { canonicalName, may, Owner } from '@drover/core'
import type { Context } from 'hono'
import { z } from 'zod'
import type { GatewayEnv } from '../app.ts'
import { checked } from '../checked.ts'
import { describeJob } from './describe.ts'
import { refuseHere } from '../refuse-here.ts'
import type { JobDeps } from './one-job.ts'

const MOST = 100

/** A time as ISO 8601 says it, or seconds since 1970; ms. */
const Time = z.string().transform((text, context) => {
  const ms = /^\d{1,11}$/.test(text) ? Number(text) * 1_000 : /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN
  if (!Number.isNaN(ms)) return ms
  context.addIssue({ code: 'custom', message: 'expected a time like 2026-11-28T12:00:00Z, or seconds since 1970' })
  return z.NEVER
})

const Cursor = z.string().transform((text, context): ListPlace => {
  const [, at, id] = /^(\d{1,15}) (0-[\w-]{22})$/.exec(Buffer.from(text, 'base64url').toString()) ?? []
  if (at !== undefined && id !== undefined) return { at: Number(at), id }
  context.addIssue({ code: 'custom', message: 'this is no cursor of this list' })
  return z.NEVER
})
const toCursor = ({ at, id }: ListPlace): string => Buffer.from(`${at} ${id}`).toString('base64url')

const Query = z.strictObject({
  state: z.enum(['queued', 'running', 'completed', 'failed', 'cancelled', 'expired']).optional(),
  model: z.string().optional(),
  after: Time.optional(),
  before: Time.optional(),
  owner: Owner.optional(),
  cursor: Cursor.optional(),
  limit: z.coerce.number().int().min(1).max(MOST).default(20),
})

/** `GET /api/jobs`: the caller's own jobs that outlive their connections, the newest first; who may do everything sees all. */
export const listJobs =
  (deps: JobDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      const { state, model, after, before, owner, cursor, limit } = checked(Query, c.req.query(), 'the query')
      const caller = c.get('caller')
      const name = model === undefined ? undefined : (canonicalName(model) ?? model)
      // What somebody else may see is not there for this caller, whoever's is asked for.
      const all = may(caller, 'admin')
      if (!all && owner !== undefined && owner !== caller.owner) return c.json({ jobs: [], next_cursor: null })
      const { jobs, last } = await deps.broker.kept.list({
        owner: all ? owner : caller.owner,
        behind: cursor,
        from: after,
        before,
        most: limit,
        wanted: (job: KeptJob) => (state === undefined || job.state === state) && (name === undefined || job.model === name),
      })
      return c.json({ jobs: jobs.map((job) => describeJob(job, deps)), next_cursor: last ? toCursor(last) : null })
    } catch (thrown) {
      return refuseHere(c, thrown, deps)
    }
  }

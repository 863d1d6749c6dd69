import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context, Hono } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { onceOf } from '../idempotency.ts'
import { intake } from '../intake.ts'
import { readBody } from '../read-body.ts'
import { sendAccepted } from './accepted.ts'
import { describeJob } from './describe.ts'
import { listJobs } from './list.ts'
import { refuseHere } from '../refuse-here.ts'
import { ofJob, type JobDeps } from './one-job.ts'
import { readOrder } from './order.ts'
import { jobResult } from './result.ts'
import { jobStream } from './stream.ts'

/** Jobs that outlive the connection on which they came. */
export const jobRoutes = (app: Hono<GatewayEnv>, deps: JobDeps): void => {
  app.post('/api/jobs', handIn(deps))
  app.get('/api/jobs', listJobs(deps))
  app.get('/api/jobs/:id', ofJob(deps, (job, c) => c.json(describeJob(job, deps))))
  app.delete('/api/jobs/:id', deleteJob(deps))
  app.get('/api/jobs/:id/result', jobResult(deps))
  app.get('/api/jobs/:id/stream', jobStream(deps))
}

/** `POST /api/jobs`: what a request to an inference route with `Prefer: respond-async` does, by the name of its format or its path. */
const handIn =
  (deps: JobDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const { incoming, outgoing } = c.env
    try {
      deps.admission.checkMemory()
      const { dialect, text } = readOrder(await readBody(incoming, { limit: deps.settings.bodyLimit }))
      const request = dialect.parse(text)
      const caller = c.get('caller')
      const once = onceOf({ headers: incoming.headers, owner: caller.owner, route: dialect.id, body: text })
      const into = await intake(deps, { dialect, request, once, caller, class: 'interactive', headers: incoming.headers, answer: c.get('headers') })
      const handed = await into.handIn({ body: JSON.stringify(request.body), timeoutMs: deps.settings.timeoutMs })
      deps.metrics.accepted(dialect.id)
      await sendAccepted(outgoing, handed, { broker: deps.broker, caller, headers: { ...c.get('headers'), 'x-drover-model': into.model } })
      return RESPONSE_ALREADY_SENT
    } catch (thrown) {
      return refuseHere(c, thrown, deps)
    }
  }

/** `DELETE /api/jobs/:id`: ends a job, or forgets what is kept of one that has ended. */
const deleteJob = (deps: JobDeps) =>
  ofJob(deps, async (job, c) => {
    const { jobs, kept } = deps.broker
    if (job.record) {
      await kept.drop(job)
      return c.body(null, 204)
    }
    await jobs.cancel(job.id)
    const now = await kept.inspect(job.id, c.get('caller'))
    return now ? c.json(describeJob(now, deps)) : c.body(null, 204)
  })

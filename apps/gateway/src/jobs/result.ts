import type { KeptJob } from '@drover/broker'
import { BrokerError } from '@drover/core'
import { dialects } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { errorOf, Reply, sendRefusal } from '../reply.ts'
import { Early } from './early.ts'
import { ofJob, unknownJob, type JobDeps } from './one-job.ts'

/** Who asks for a result that is not there yet may come again after this, s. */
const AGAIN_S = 1

/**
 * `GET /api/jobs/:id/result`: what the client of an ended job would have got, as often as it is asked for while it is kept: the body, or the
 * whole stream; of a job that did not complete the error of its format, with its status.
 */
export const jobResult = (deps: JobDeps) =>
  ofJob(deps, async (job, c) => {
    const { record } = job
    if (!record) return c.json({ error: `job '${job.id}' has not ended: it is ${job.state}` }, 409, { 'retry-after': String(AGAIN_S) })
    const { outgoing } = c.env
    const dialect = dialects[job.dialect]
    const headers = { ...c.get('headers'), 'x-drover-job': job.id, 'x-drover-model': job.model }
    if (record.outcome === 'completed') return collected(job, { c, headers, deps })
    sendRefusal(outgoing, dialect, errorOf(record), { ...headers, 'x-drover-attempts': String(record.attempt), ...(record.node !== undefined && { 'x-drover-node': record.node }) })
    return RESPONSE_ALREADY_SENT
  })

interface Collecting {
  c: Context<GatewayEnv>
  headers: Record<string, string>
  deps: JobDeps
}

const collected = async (job: KeptJob, { c, headers, deps }: Collecting): Promise<Response> => {
  if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
  const early = new Early()
  const found = await deps.broker.jobs.follow(job.id, c.get('caller'), 1, early)
  if (!found) return unknownJob(c)
  const reply: Reply = new Reply({
    outgoing: c.env.outgoing,
    dialect: dialects[job.dialect],
    stream: job.stream,
    asked: '',
    headers,
    onOver: () => void deps.replies.delete(reply),
  })
  deps.replies.add(reply)
  reply.attach(found.follow)
  early.pass(reply)
  found.follow.resume()
  return RESPONSE_ALREADY_SENT
}

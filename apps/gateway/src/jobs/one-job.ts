import type { KeptJob } from '@drover/broker'
import { JobId } from '@drover/core'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import type { InferenceDeps } from '../inference.ts'
import { refuseHere } from '../refuse-here.ts'

export type JobDeps = Pick<InferenceDeps, 'broker' | 'view' | 'admission' | 'onDemand' | 'metrics' | 'replies' | 'settings' | 'onError'>

/** The id that the path names; `undefined`: this is none. */
export const jobIdOf = (c: Context<GatewayEnv>): JobId | undefined => JobId.safeParse(c.req.param('id')).data

/** Another's job is answered like one that is not there. */
export const unknownJob = (c: Context<GatewayEnv>): Response =>
  c.json({ error: `job '${(c.req.param('id') ?? '').slice(0, 100)}' not found: it may have ended too long ago` }, 404)

/** A route of one job that the caller may see. */
export const ofJob =
  (deps: JobDeps, answer: (job: KeptJob, c: Context<GatewayEnv>) => Response | Promise<Response>) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const id = jobIdOf(c)
    if (id === undefined) return unknownJob(c)
    try {
      const job = await deps.broker.kept.inspect(id, c.get('caller'))
      return job ? await answer(job, c) : unknownJob(c)
    } catch (thrown) {
      return refuseHere(c, thrown, deps)
    }
  }

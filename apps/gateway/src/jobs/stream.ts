import { BrokerError, toBrokerError } from '@drover/core'
import { dialects } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import type { InferenceDeps } from '../inference.ts'
import { Early } from './early.ts'
import { JobEvents, readPlace, type Place } from './job-events.ts'
import { Reply, sendRefusal } from '../reply.ts'
import { jobIdOf, unknownJob } from './one-job.ts'

type Deps = Pick<InferenceDeps, 'broker' | 'replies' | 'settings' | 'onError'>

/**
 * `GET /api/jobs/:id/stream`: what a job's client reads, as server-sent events, on any gateway, from the start or from behind the event
 * that the reader has had last. 204 for one that has had them all.
 */
export const jobStream =
  (deps: Deps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const { incoming, outgoing } = c.env
    const headers = c.get('headers')
    const id = jobIdOf(c)
    if (id === undefined) return unknownJob(c)
    // A page's own reader repeats the address that it began with, and says in the header how far it has come since.
    const last = [incoming.headers['last-event-id'] ?? c.req.query('after') ?? '0'].flat()[0] || '0'
    const from = readPlace(last)
    if (!from) return c.json({ error: 'invalid Last-Event-ID: it is the id of an event of this stream, as 12 or 12-345' }, 400)
    try {
      if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
      const early = new Early()
      const found = await deps.broker.jobs.follow(id, c.get('caller'), from.frame, early)
      if (!found) return unknownJob(c)
      const { follow, stream, next, ended } = found
      if (ended && from.frame >= next) {
        await follow.leave()
        return c.body(null, 204)
      }
      if (!stream && isWithin(from)) {
        await follow.leave()
        return c.json({ error: 'this answer is one event: it cannot be read from within' }, 400)
      }
      headers['x-drover-job'] = id
      headers['x-drover-model'] = found.model
      const events = new JobEvents({ dialect: dialects[found.dialect], stream, from })
      const reply: Reply = new Reply({ outgoing, dialect: events.form, stream: true, asked: '', headers, onOver: () => void deps.replies.delete(reply) })
      events.to(reply)
      deps.replies.add(reply)
      // Of an ended job there may be nothing to send: that is a status of its own.
      if (!ended) reply.open()
      reply.attach(follow)
      early.pass(events)
      follow.resume()
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.code === 'internal') deps.onError(thrown)
      sendRefusal(outgoing, dialects['ollama.chat'], error, headers)
    }
    return RESPONSE_ALREADY_SENT
  }

const isWithin = ({ frame, chars }: Place): boolean => frame > 1 || chars > 0

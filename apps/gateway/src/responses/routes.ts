import type { KeptResponse } from '@drover/broker'
import { BrokerError, toBrokerError } from '@drover/core'
import { dialects, jobOfResponse } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context, Hono } from 'hono'
import type { GatewayEnv } from '../app.ts'
import type { InferenceDeps } from '../inference.ts'
import { Reply, sendRefusal } from '../reply.ts'
import { responseNow, seal } from './ended.ts'
import { badQuery, noEvents, notInBackground, responseNotFound } from './errors.ts'
import { pageOf, readPage } from './input-items.ts'
import { ResponseEvents } from './response-events.ts'

type Deps = InferenceDeps
type Handler = (deps: Deps, found: KeptResponse, c: Context<GatewayEnv>) => Promise<Response>

const { 'openai.responses': dialect } = dialects

/** What is asked of one kept response of the caller's; another's is not there. */
const ofResponse =
  (deps: Deps, answer: Handler, options?: { withInput: boolean }) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      const named = c.req.param('id') ?? ''
      const id = jobOfResponse(named)
      const found = id && (await deps.broker.responses.find(id, c.get('caller'), options))
      if (!found) throw responseNotFound(named)
      return await answer(deps, found, c)
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.code === 'internal') deps.onError(thrown)
      sendRefusal(c.env.outgoing, dialect, error, c.get('headers'), deps.admission.retryAfterMs(error))
      return RESPONSE_ALREADY_SENT
    }
  }

const json = async (deps: Deps, found: KeptResponse, c: Context<GatewayEnv>): Promise<Response> => {
  const response = await responseNow(deps, found)
  if (response === undefined) throw responseNotFound(c.req.param('id') ?? '')
  return c.body(response, 200, { 'content-type': dialect.bodyType })
}

const retrieve: Handler = async (deps, found, c) => {
  if (c.req.query('stream') !== 'true') return json(deps, found, c)
  const after = c.req.query('starting_after')
  if (after !== undefined && !/^\d{1,9}$/.test(after)) throw badQuery('starting_after', 'is the number of an event')
  if (!found.background || !found.streamed) throw noEvents('only those that were created with background and stream can be')
  if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
  const events = new ResponseEvents({ queued: JSON.parse(found.queued) as Record<string, unknown>, after: after === undefined ? -1 : Number(after), ended: () => seal(deps, found.id) })
  const job = await deps.broker.jobs.follow(found.id, c.get('caller'), 1, events)
  if (!job) throw noEvents('its events are not there any more')
  const headers = c.get('headers')
  headers['x-drover-job'] = found.id
  headers['x-drover-model'] = job.model
  const reply: Reply = new Reply({
    outgoing: c.env.outgoing,
    dialect: events.form,
    stream: true,
    asked: '',
    headers,
    onOver: () => void deps.replies.delete(reply),
  })
  deps.replies.add(reply)
  events.to(reply)
  events.begin()
  reply.attach(job.follow)
  job.follow.resume()
  return RESPONSE_ALREADY_SENT
}

const cancel: Handler = async (deps, found, c) => {
  if (!found.background) throw notInBackground()
  if (found.state === 'queued' || found.state === 'in_progress') await deps.broker.jobs.cancel(found.id)
  return json(deps, (await deps.broker.responses.find(found.id, c.get('caller'))) ?? found, c)
}

const remove: Handler = async (deps, found, c) => {
  if (found.background && (found.state === 'queued' || found.state === 'in_progress')) await deps.broker.jobs.cancel(found.id)
  // First what it has said: should the rest fail, the response is still there to be deleted again.
  await deps.broker.kept.drop(found)
  await deps.broker.responses.drop(found)
  return c.json({ id: c.req.param('id'), object: 'response', deleted: true })
}

const inputs: Handler = async (_deps, found, c) => c.json(pageOf(JSON.parse(found.input) as { id: string }[], readPage((name) => c.req.query(name))))

/** Responses that are kept, OpenAI's way. */
export const storedResponses = (app: Hono<GatewayEnv>, deps: Deps): void => {
  app.get('/v1/responses/:id', ofResponse(deps, retrieve))
  app.post('/v1/responses/:id/cancel', ofResponse(deps, cancel))
  app.delete('/v1/responses/:id', ofResponse(deps, remove))
  app.get('/v1/responses/:id/input_items', ofResponse(deps, inputs, { withInput: true }))
}

import type { FrameSink } from '@drover/broker'
import type { Dialect, ParsedRequest } from '@drover/dialects'
import type { ServerResponse } from 'node:http'
import type { InferenceDeps } from '../inference.ts'
import type { Intake } from '../intake.ts'
import { Reply } from '../reply.ts'
import { seal } from './ended.ts'
import type { Keeping } from './keeping.ts'
import { ResponseEvents } from './response-events.ts'

export interface Background {
  outgoing: ServerResponse
  dialect: Dialect
  request: ParsedRequest
  into: Intake
  keeping: Keeping
  headers: Record<string, string>
}

/**
 * Puts the job of a background response on its lane, and answers: with the response as it waits, or with its events as long as the client
 * reads them. The job goes on without anybody.
 */
export const answerInBackground = async (deps: InferenceDeps, background: Background): Promise<void> => {
  const { request, into, keeping } = background
  const submit = (sink: FrameSink) =>
    into.submit({ body: JSON.stringify(request.body), timeoutMs: deps.settings.timeoutMs, ...keeping.job }, sink, (id) => (background.headers['x-drover-job'] = id))
  try {
    const queued = await keeping.keep()
    await (request.stream ? streamed : waiting)(deps, { ...background, queued }, submit)
  } catch (error) {
    keeping.undo(error)
    throw error
  }
}

/** The response as it waits. */
type Kept = Background & { queued: Record<string, unknown> }
type Submit = (sink: FrameSink) => ReturnType<Intake['submit']>

/** Nobody reads it here; its end is kept by whoever is still there. */
const waiting = async (deps: InferenceDeps, { outgoing, dialect, into, keeping, queued, headers }: Kept, submit: Submit): Promise<void> => {
  const begunAt = performance.now()
  const follow = await submit({
    frame({ end }) {
      if (!end) return
      deps.metrics.answered(dialect.id, into.model, { record: end, firstTextMs: undefined, totalMs: performance.now() - begunAt, clientLeft: false, resumed: [] })
      void seal(deps, keeping.id)
    },
    lost: () => undefined,
  })
  if (follow.repeated) headers['idempotent-replayed'] = 'true'
  // A repetition gets it as it is by now.
  const body = (follow.repeated && (await seal(deps, keeping.id))) || JSON.stringify(queued)
  outgoing.writeHead(200, { ...headers, 'content-type': dialect.bodyType, 'content-length': Buffer.byteLength(body) })
  outgoing.end(body)
}

const streamed = async (deps: InferenceDeps, { outgoing, dialect, request, into, keeping, queued, headers }: Kept, submit: Submit): Promise<void> => {
  const events = new ResponseEvents({ queued, after: -1, ended: () => seal(deps, keeping.id) })
  const reply: Reply = new Reply({
    outgoing,
    dialect: events.form,
    stream: true,
    asked: request.model,
    headers,
    onOver: (facts) => {
      if (deps.replies.delete(reply)) deps.metrics.answered(dialect.id, into.model, facts)
    },
  })
  events.to(reply)
  deps.replies.add(reply)
  try {
    const follow = await submit(events)
    if (follow.repeated) headers['idempotent-replayed'] = 'true'
    events.begin()
    // When the client leaves, the job is followed on: what it becomes is kept, and counted, at its end.
    reply.attach({ pause: () => follow.pause(), resume: () => follow.resume(), leave: async () => follow.resume() })
  } catch (error) {
    deps.replies.delete(reply)
    throw error
  }
}

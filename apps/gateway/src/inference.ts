import type { FrameSink, GatewayConnection, HandedIn, Lane, Once } from '@drover/broker'
import { BrokerError, toBrokerError, type Caller } from '@drover/core'
import type { Dialect, ParsedRequest } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { Admission } from './admission.ts'
import type { GatewayEnv } from './app.ts'
import { onceOf } from './idempotency.ts'
import { intake, type Intake } from './intake.ts'
import { sendAccepted } from './jobs/accepted.ts'
import type { GatewayMetrics } from './metrics.ts'
import type { OnDemand } from './models/on-demand.ts'
import { cutInputs, Pieces } from './pieces.ts'
import { readBody } from './read-body.ts'
import type { RegistryView } from './registry-view.ts'
import { Reply, sendRefusal, type OpenAnswer } from './reply.ts'
import { answerInBackground } from './responses/background.ts'
import { seal } from './responses/ended.ts'
import { keeping, type Keeping } from './responses/keeping.ts'

export interface InferenceDeps {
  broker: GatewayConnection
  view: RegistryView
  metrics: GatewayMetrics
  admission: Admission
  /** Absent: a model that nobody holds is refused. */
  onDemand?: OnDemand | undefined
  /** Answers that are under way. */
  replies: Set<OpenAnswer>
  settings: {
    bodyLimit: number
    timeoutMs: number
    maxOpen: number
    /** Answers go on elsewhere when their node dies. */
    resume: boolean
    /** How long an answer that its client may leave can be read after its end, ms. */
    keepMs: number
    /** How long a kept response can be asked for after its end, ms, and most bytes of those of one owner. */
    keepResponsesMs: number
    responseBytes: number
    /** Responses are kept whose request does not say. */
    storeResponses: boolean
    /** The same of one that was handed in, or may be asked for again under its key, ms. */
    keepResultsMs: number
    /** Longest that a client may ask for, ms. */
    keepLimitMs: number
    /** Most jobs that are kept for one owner. */
    mostKept: number
  }
  onError(error: unknown): void
}

/** One handler serves every inference dialect; the dialect says what is different. */
export const inference =
  (dialect: Dialect, deps: InferenceDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const { incoming, outgoing } = c.env
    const headers = c.get('headers')
    let lane: Lane | undefined
    try {
      deps.admission.checkMemory()
      if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
      const text = await readBody(incoming, { limit: deps.settings.bodyLimit, zstd: dialect.path.startsWith('/v1/') })
      const parsed = dialect.parse(text)
      const caller = c.get('caller')
      const repeatable = onceOf({ headers: incoming.headers, owner: caller.owner, route: dialect.id, body: text })
      const { request, keeping: kept } = await asKept(deps, parsed, { caller, once: repeatable })
      if (request.ignored.length > 0) headers['x-drover-ignored'] = headerText(request.ignored.join(', '))
      const into = await intake(deps, { dialect, request, once: repeatable, caller, class: 'interactive', headers: incoming.headers, answer: headers })
      const { model, slots, goesOn } = into
      headers['x-drover-model'] = model
      lane = into.lane
      if (into.later) {
        headers['preference-applied'] = 'respond-async'
        const handed = await handedIn(deps, { into, request, kept })
        deps.metrics.accepted(dialect.id)
        await sendAccepted(outgoing, handed, { broker: deps.broker, caller, headers })
        return RESPONSE_ALREADY_SENT
      }
      if (kept?.background) {
        await answerInBackground(deps, { outgoing, dialect, request, into, keeping: kept, headers })
        return RESPONSE_ALREADY_SENT
      }
      const reply = new Reply({
        outgoing,
        dialect,
        stream: request.stream,
        asked: request.model,
        headers,
        retryAfterMs: (error) => deps.admission.retryAfterMs(error, into.lane),
        onOver: (facts) => {
          // One whose job was not accepted is refused instead.
          if (!deps.replies.delete(reply)) return
          deps.metrics.answered(dialect.id, model, facts)
          if (kept && facts.record) void seal(deps, kept.id)
        },
      })
      deps.replies.add(reply)
      const submit = (body: string, timeoutMs: number, sink: FrameSink) =>
        into.submit({ body, timeoutMs, ...kept?.job }, sink, (id) => (headers['x-drover-job'] = repeatable ? id : (headers['x-drover-job'] ?? id)))
      try {
        await kept?.keep()
        const { timeoutMs } = deps.settings
        // Nobody would join the pieces when the client has gone, and who comes again is to find one job.
        const cuts = request.inputs && !goesOn && !repeatable ? cutInputs(request.inputs.weights, slots) : []
        if (request.inputs && cuts.length > 1) {
          headers['x-drover-pieces'] = String(cuts.length)
          const pieces = new Pieces({ inputs: request.inputs, cuts, slots, timeoutMs, submit, sink: reply })
          reply.attach(pieces)
          await pieces.start()
        } else {
          const follow = await submit(JSON.stringify(request.body), timeoutMs, reply)
          if (follow.repeated) headers['idempotent-replayed'] = 'true'
          reply.attach(follow)
        }
      } catch (error) {
        deps.replies.delete(reply)
        kept?.undo(error)
        throw error
      }
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.code === 'internal') deps.onError(thrown)
      deps.metrics.refused(dialect.id, error)
      sendRefusal(outgoing, dialect, error, headers, deps.admission.retryAfterMs(error, lane))
    }
    return RESPONSE_ALREADY_SENT
  }

/** Puts a job on its lane that nobody waits for. */
const handedIn = async (deps: InferenceDeps, { into, request, kept }: { into: Intake; request: ParsedRequest; kept: Keeping | undefined }): Promise<HandedIn> => {
  try {
    await kept?.keep()
    return await into.handIn({ body: JSON.stringify(request.body), timeoutMs: deps.settings.timeoutMs, ...kept?.job })
  } catch (error) {
    kept?.undo(error)
    throw error
  }
}

/** What of a request is to be kept, where its API has such a thing. */
const asKept = async (deps: InferenceDeps, parsed: ParsedRequest, by: { caller: Caller; once: Once | undefined }): Promise<Awaited<ReturnType<typeof keeping>>> => {
  const { stored } = parsed
  return stored ? keeping(deps, { ...parsed, stored }, by) : { request: parsed, keeping: undefined }
}

/** What may stand in a header: names of unknown fields are the client's own text. */
const headerText = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 1000)

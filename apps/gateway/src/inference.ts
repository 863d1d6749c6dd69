import type { IncomingHttpHeaders } from 'node:http'
import { laneOf, type FrameSink, type GatewayConnection, type Lane } from '@drover/broker'
import { BrokerError, slotsFor, toBrokerError, type EngineKind, type ModelName } from '@drover/core'
import type { Dialect, ParsedRequest } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { Admission } from './admission.ts'
import type { GatewayEnv } from './app.ts'
import type { GatewayMetrics } from './metrics.ts'
import { cutInputs, Pieces } from './pieces.ts'
import { readBody } from './read-body.ts'
import type { Holder, RegistryView } from './registry-view.ts'
import { Reply, sendRefusal } from './reply.ts'

export interface InferenceDeps {
  broker: GatewayConnection
  view: RegistryView
  metrics: GatewayMetrics
  admission: Admission
  /** Answers that are under way. */
  replies: Set<Reply>
  settings: {
    bodyLimit: number
    timeoutMs: number
    maxOpen: number
    /** Answers go on elsewhere when their node dies. */
    resume: boolean
    /** How long an answer that its client may leave can be read after its end, ms. */
    keepMs: number
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
      const request = dialect.parse(await readBody(incoming, { limit: deps.settings.bodyLimit, zstd: dialect.path.startsWith('/v1/') }))
      if (request.ignored.length > 0) headers['x-drover-ignored'] = headerText(request.ignored.join(', '))
      const model = await deps.view.resolve(request.model)
      if (!model) throw new BrokerError('model_not_found', dialect.notFound?.(request.model) ?? `model '${request.model}' not found`)
      headers['x-drover-model'] = model
      const goesOn = chosen(incoming.headers, 'x-drover-on-disconnect', ['continue', 'cancel']) === 'continue'
      const resumes = chosen(incoming.headers, 'x-drover-resume', ['never']) !== 'never' && deps.settings.resume
      const engine = request.engine ?? dialect.engine
      const holders = holdersOf(deps.view, model, engine)
      if (engine && holders.length === 0) throw nobodyCan(dialect, request, engine)
      const its = (lane = laneOf(model, 'interactive', engine))
      const slots = holders.reduce((sum, held) => sum + (held.node.draining ? 0 : slotsFor(held.engine, model)), 0)

      const reply = new Reply({
        outgoing,
        dialect,
        stream: request.stream,
        asked: request.model,
        headers,
        retryAfterMs: (error) => deps.admission.retryAfterMs(error, its),
        onOver: (facts) => {
          // One whose job was not accepted is refused instead.
          if (deps.replies.delete(reply)) deps.metrics.answered(dialect.id, model, facts)
        },
      })
      deps.replies.add(reply)
      const submit = async (body: string, timeoutMs: number, sink: FrameSink) => {
        const follow = await deps.broker.jobs.submit(
          {
            dialect: dialect.id,
            model,
            asked: request.model,
            class: 'interactive',
            engine,
            stream: request.stream,
            slots: request.slots,
            body,
            timeoutMs,
            mostAhead: deps.admission.mostAhead(its, slots, timeoutMs),
            ...(!resumes && { resume: false }),
            ...(goesOn && { background: true, keepMs: deps.settings.keepMs }),
          },
          sink,
          (id) => (headers['x-drover-job'] ??= id),
        )
        if (follow.ahead) deps.admission.added(its, follow.ahead)
        return follow
      }
      try {
        const { timeoutMs } = deps.settings
        // Nobody would join the pieces when the client has gone.
        const cuts = request.inputs && !goesOn ? cutInputs(request.inputs.weights, slots) : []
        if (request.inputs && cuts.length > 1) {
          headers['x-drover-pieces'] = String(cuts.length)
          const pieces = new Pieces({ inputs: request.inputs, cuts, slots, timeoutMs, submit, sink: reply })
          reply.attach(pieces)
          await pieces.start()
        } else reply.attach(await submit(JSON.stringify(request.body), timeoutMs, reply))
      } catch (error) {
        deps.replies.delete(reply)
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

const holdersOf = (view: RegistryView, model: ModelName, kind: EngineKind | undefined): readonly Holder[] => {
  const holders = view.holders.get(model) ?? []
  return kind === undefined ? holders : holders.filter(({ engine }) => engine.kind === kind)
}

/** What a client says in a header of ours, of the words that it knows. @throws BrokerError `bad_request` for another */
const chosen = (headers: IncomingHttpHeaders, name: string, words: readonly string[]): string | undefined => {
  const given = headers[name]
  if (given === undefined || (typeof given === 'string' && words.includes(given))) return given
  throw new BrokerError('bad_request', `invalid ${name} header: it can be ${words.join(' or ')}`)
}

/** What only one kind of engine can do would wait until its deadline where no such engine has the model. */
const nobodyCan = (dialect: Dialect, { model, engine }: ParsedRequest, kind: EngineKind): BrokerError => {
  const only = engine === undefined ? `only a ${kind} answers ${dialect.path}` : `invalid input type: only a ${kind} takes tokens in place of text`
  return new BrokerError('bad_request', `${only}, and no node has one with the model "${model}"; start one there`)
}

/** What may stand in a header: names of unknown fields are the client's own text. */
const headerText = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 1000)

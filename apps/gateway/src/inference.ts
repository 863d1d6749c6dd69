import type { FrameSink, GatewayConnection } from '@drover/broker'
import { BrokerError, slotsFor, toBrokerError, type EngineKind, type ModelName } from '@drover/core'
import type { Dialect, ParsedRequest } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
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
  /** Answers that are under way. */
  replies: Set<Reply>
  settings: { bodyLimit: number; timeoutMs: number; maxOpen: number }
  draining(): boolean
  onError(error: unknown): void
}

/** One handler serves every inference dialect; the dialect says what is different. */
export const inference =
  (dialect: Dialect, deps: InferenceDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const { incoming, outgoing } = c.env
    const headers = c.get('headers')
    try {
      if (deps.draining()) throw new BrokerError('draining', 'server busy: this gateway is shutting down')
      if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
      const request = dialect.parse(await readBody(incoming, { limit: deps.settings.bodyLimit, zstd: dialect.path.startsWith('/v1/') }))
      if (request.ignored.length > 0) headers['x-drover-ignored'] = headerText(request.ignored.join(', '))
      const model = await deps.view.resolve(request.model)
      if (!model) throw new BrokerError('model_not_found', dialect.notFound?.(request.model) ?? `model '${request.model}' not found`)
      headers['x-drover-model'] = model
      const engine = request.engine ?? dialect.engine
      const holders = holdersOf(deps.view, model, engine)
      if (engine && holders.length === 0) throw nobodyCan(dialect, request, engine)

      const reply = new Reply({
        outgoing,
        dialect,
        stream: request.stream,
        asked: request.model,
        headers,
        onOver: (facts) => {
          // One whose job was not accepted is refused instead.
          if (deps.replies.delete(reply)) deps.metrics.answered(dialect.id, model, facts)
        },
      })
      deps.replies.add(reply)
      const submit = (body: string, timeoutMs: number, sink: FrameSink) =>
        deps.broker.jobs.submit(
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
          },
          sink,
          (id) => (headers['x-drover-job'] ??= id),
        )
      try {
        const { timeoutMs } = deps.settings
        const slots = holders.reduce((sum, held) => sum + (held.node.draining ? 0 : slotsFor(held.engine, model)), 0)
        const cuts = request.inputs ? cutInputs(request.inputs.weights, slots) : []
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
      sendRefusal(outgoing, dialect, error, headers)
    }
    return RESPONSE_ALREADY_SENT
  }

const holdersOf = (view: RegistryView, model: ModelName, kind: EngineKind | undefined): readonly Holder[] => {
  const holders = view.holders.get(model) ?? []
  return kind === undefined ? holders : holders.filter(({ engine }) => engine.kind === kind)
}

/** What only one kind of engine can do would wait until its deadline where no such engine has the model. */
const nobodyCan = (dialect: Dialect, { model, engine }: ParsedRequest, kind: EngineKind): BrokerError => {
  const only = engine === undefined ? `only a ${kind} answers ${dialect.path}` : `invalid input type: only a ${kind} takes tokens in place of text`
  return new BrokerError('bad_request', `${only}, and no node has one with the model "${model}"; start one there`)
}

/** What may stand in a header: names of unknown fields are the client's own text. */
const headerText = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 1000)

import type { GatewayConnection } from '@drover/broker'
import { BrokerError, toBrokerError } from '@drover/core'
import type { Dialect } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import type { GatewayMetrics } from './metrics.ts'
import { readBody } from './read-body.ts'
import type { RegistryView } from './registry-view.ts'
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
      const request = dialect.parse(await readBody(incoming, deps.settings.bodyLimit))
      if (request.ignored.length > 0) headers['x-drover-ignored'] = headerText(request.ignored.join(', '))
      const model = await deps.view.resolve(request.model)
      if (!model) throw new BrokerError('model_not_found', `model '${request.model}' not found`)
      headers['x-drover-model'] = model

      const reply = new Reply({
        outgoing,
        dialect,
        stream: request.stream,
        asked: request.model,
        headers,
        onOver: (facts) => {
          deps.replies.delete(reply)
          deps.metrics.answered(dialect.id, model, facts)
        },
      })
      deps.replies.add(reply)
      try {
        const follow = await deps.broker.jobs.submit(
          {
            dialect: dialect.id,
            model,
            asked: request.model,
            class: 'interactive',
            stream: request.stream,
            slots: request.slots,
            body: JSON.stringify(request.body),
            timeoutMs: deps.settings.timeoutMs,
          },
          reply,
          (id) => (headers['x-drover-job'] = id),
        )
        reply.attach(follow)
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

/** What may stand in a header: names of unknown fields are the client's own text. */
const headerText = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 1000)

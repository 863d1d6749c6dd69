import { BrokerError, canonicalName, subjectOf, type ModelCall, type ModelName, type ModelWork } from '@drover/core'
import { parseModelWork, type ModelOrder } from '@drover/dialects'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { Admission } from '../admission.ts'
import type { GatewayEnv } from '../app.ts'
import { native, type NativeDeps } from '../native.ts'
import type { OpenAnswer } from '../reply.ts'
import type { BlobSpool } from './blob-spool.ts'
import type { FleetDeps } from './fleet-work.ts'
import { LinesReply } from './lines-reply.ts'

export interface ModelDeps extends FleetDeps, NativeDeps {
  admission: Pick<Admission, 'retryAfterMs' | 'checkMemory'>
  replies: Set<OpenAnswer>
  blobs: BlobSpool
  settings: NativeDeps['settings'] & {
    timeoutMs: number
    maxOpen: number
    /** Nodes that a pull brings a model to, where it does not say. */
    pullReplicas: number
    /** Longest that a pull, a push or a create may take, ms. */
    modelTimeoutMs: number
  }
}

/** What is to be done, by whom it is asked, and the answer to write to. */
export interface Ordered<C extends ModelCall = ModelCall> extends ModelOrder {
  work: Extract<ModelWork, { call: C }>
  /** The canonical name of the model that it is about. */
  model: ModelName
  c: Context<GatewayEnv>
}

/** @throws BrokerError `forbidden` for a model that the caller may not use: whether it is there is not told */
export const checkAllowed = (c: Context<GatewayEnv>, name: string): void => {
  const model = canonicalName(name)
  if (model !== undefined && c.get('caller').allowsModel?.(model) === false) throw new BrokerError('forbidden', `this API key may not use the model '${model}'`)
}

/** A route that changes what nodes hold: its request is read and checked before `act` is asked. */
export const ordered = <C extends ModelCall>(call: C, deps: ModelDeps, act: (order: Ordered<C>) => Response | Promise<Response>): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  native(deps, async (body, c) => {
    const order = parseModelWork(call, body)
    if (order.ignored.length > 0) c.get('headers')['x-drover-ignored'] = order.ignored.join(', ')
    const model = canonicalName(subjectOf(order.work))
    if (!model) throw new BrokerError('bad_request', 'invalid model name')
    deps.admission.checkMemory()
    await deps.view.refresh()
    return act({ ...order, work: order.work as Ordered<C>['work'], model, c })
  })

/** Answers with lines as `run` tells them, and with how it ends. */
export const answeredInLines = (deps: ModelDeps, { c, stream }: Pick<Ordered, 'c' | 'stream'>, run: (reply: LinesReply) => Promise<void>): Response => {
  if (deps.replies.size >= deps.settings.maxOpen) throw new BrokerError('queue_full', 'server busy, please try again.  too many open requests')
  const reply = new LinesReply({ outgoing: c.env.outgoing, headers: c.get('headers'), stream })
  deps.replies.add(reply)
  void run(reply)
    .then(() => reply.success())
    .catch((error: unknown) => {
      if (!(error instanceof BrokerError)) deps.onError(error)
      reply.fail(error)
    })
    .finally(() => deps.replies.delete(reply))
  return RESPONSE_ALREADY_SENT
}

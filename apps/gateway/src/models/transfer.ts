import { BrokerError, holdsItself, type NodeRecord } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { visibleTo } from '../keys/visible.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { answeredInLines, checkAllowed, ordered, type ModelDeps } from './order.ts'

/** A worker that was killed is started again by whoever watches over it. */
const PATIENCE_MS = 30_000

/** `POST /api/transfer`: copies a model from one node to another, without its registry. */
export const transfer = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('transfer', deps, async (order) => {
    const { work, model, c } = order
    const { view, settings } = deps
    checkAllowed(c, model)
    if ((await visibleTo(c.get('caller'), view).resolve(work.model)) === undefined) throw managementNotFound('transfer', work.model)
    const to = named(view.nodes, order.to ?? '')
    if (to.draining) throw new BrokerError('bad_request', `node '${to.id}' takes no work: it is drained, or is being stopped`)
    if (!to.copies?.into.length) throw new BrokerError('bad_request', `node '${to.id}' has no folder of models that it may write to`)
    const senders = view.nodes.filter((node) => node.copies && node.id !== to.id && node.engines.some((engine) => holdsItself(engine, model))).map(({ id }) => id)
    const from = work.from === undefined ? undefined : named(view.nodes, work.from).id
    if (from === undefined && senders.length === 0) throw new BrokerError('bad_request', `no other node holds ${work.model} and hands out its files`)
    if (from !== undefined && !senders.includes(from)) throw new BrokerError('bad_request', `node '${from}' does not hold ${work.model}, or hands out no files`)
    c.get('headers')['x-drover-nodes'] = to.id
    return answeredInLines(deps, order, async (reply) => {
      const outcome = await workOnNodes(deps, {
        work, model, on: [{ node: to.id }], timeoutMs: settings.modelTimeoutMs, patienceMs: PATIENCE_MS, signal: reply.left, onLine: (line) => reply.line(line),
      })
      const error = failureOf(outcome, 'copied')
      if (error) throw error
      await view.refreshAnew()
    })
  })

const named = (nodes: readonly NodeRecord[], name: string): NodeRecord => {
  const node = nodes.find(({ id }) => id === name)
  if (!node) throw new BrokerError('bad_request', `node '${name.slice(0, 64)}' is not there`)
  return node
}

import { BrokerError, subjectOf } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { visibleTo } from '../keys/visible.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { holdersOf, namedNodes } from './hosts.ts'
import { checkAllowed, ordered, type ModelDeps } from './order.ts'

const DONE = { delete: 'deleted', copy: 'copied' }

/** `DELETE /api/delete` and `POST /api/copy`: on every node that holds the model, or on those that are named. 200 only when all have done it. */
export const onHolders = (call: keyof typeof DONE, deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered(call, deps, async ({ work, model, c }) => {
    const { view, settings } = deps
    const { incoming, outgoing } = c.env
    const asked = subjectOf(work)
    if (work.call === 'copy') checkAllowed(c, work.destination)
    const held = (await visibleTo(c.get('caller'), view).resolve(asked)) === undefined ? [] : holdersOf(view, model)
    if (held.length === 0) throw managementNotFound(call, asked)
    const named = namedNodes(incoming.headers, view, model)
    const holders = named ? named.map((node) => held.find((each) => each.node === node) ?? { node, unfit: 'does not hold it' }) : held
    const left = new AbortController()
    const leave = () => left.abort()
    outgoing.once('close', leave)
    const fit = holders.filter(({ unfit }) => unfit === undefined)
    const outcome = await workOnNodes(deps, { work, model, on: fit, timeoutMs: settings.timeoutMs, signal: left.signal })
    outgoing.off('close', leave)
    for (const { node, unfit } of holders) if (unfit !== undefined) outcome.failed.push({ node, error: new BrokerError('engine_failed', unfit) })
    await view.refreshAnew()
    const error = failureOf(outcome, DONE[call])
    if (error) throw error
    return c.body(null, 200)
  })

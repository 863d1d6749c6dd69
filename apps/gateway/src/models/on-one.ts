import { BrokerError, bestHost, canonicalName } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { visibleTo } from '../keys/visible.ts'
import { needsBlobs } from './blobs.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { hostsFor, namedNodes } from './hosts.ts'
import { answeredInLines, checkAllowed, ordered, type ModelDeps, type Ordered } from './order.ts'

const throughLines = (deps: ModelDeps, order: Pick<Ordered, 'work' | 'model' | 'c' | 'stream'>, nodes: readonly string[], verb: string): Response =>
  answeredInLines(deps, order, async (reply) => {
    const { work, model } = order
    const on = nodes.map((node) => ({ node }))
    const outcome = await workOnNodes(deps, { work, model, on, timeoutMs: deps.settings.modelTimeoutMs, signal: reply.left, onLine: (line) => reply.line(line) })
    const error = failureOf(outcome, verb)
    if (error) throw error
    await deps.view.refresh()
  })

/** `POST /api/push`: from the best node that holds the model, or from the one that is named. */
export const push = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('push', deps, async (order) => {
    const { work, model, c } = order
    const asked = work.model
    const hosts = (await visibleTo(c.get('caller'), deps.view).resolve(asked)) === undefined ? [] : hostsFor(deps.view, model).filter(({ holds }) => holds)
    const named = namedNodes(c.env.incoming.headers, deps.view, model)
    if (named && named.length > 1) throw new BrokerError('bad_request', 'a model is pushed from one node: x-drover-nodes names several')
    const from = bestHost(named ? hosts.filter(({ node }) => named.includes(node)) : hosts)
    if (from === undefined) throw managementNotFound('push', asked)
    return throughLines(deps, order, [from], 'pushed')
  })

/** `POST /api/create` from a model: on the nodes that are named, or on the best one, which is one that holds that model if there is any. */
export const create = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('create', deps, (order) => {
    const { work, model, c } = order
    checkAllowed(c, model)
    const from = typeof work.body['from'] === 'string' ? canonicalName(work.body['from']) : undefined
    if (order.needsBlobs || !from) return needsBlobs(c)
    checkAllowed(c, from)
    const able = new Set(hostsFor(deps.view, model).map(({ node: each }) => each))
    const node = bestHost(hostsFor(deps.view, from).filter(({ node: each }) => able.has(each)))
    const nodes = namedNodes(c.env.incoming.headers, deps.view, model) ?? (node === undefined ? [] : [node])
    if (nodes.length === 0) throw new BrokerError('cannot_run', 'no node with an Ollama is there that could make it')
    return throughLines(deps, order, nodes, 'made')
  })

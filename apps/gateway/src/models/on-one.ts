import { BrokerError, bestHost, canonicalName, inOrder } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { visibleTo } from '../keys/visible.ts'
import { deliver, missingBlob } from './deliver.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { hostsFor, namedNodes } from './hosts.ts'
import type { LinesReply } from './lines-reply.ts'
import { answeredInLines, checkAllowed, ordered, type ModelDeps, type Ordered } from './order.ts'

/** @param before what comes first, and what it leaves of the nodes */
const throughLines = (deps: ModelDeps, order: Pick<Ordered, 'work' | 'model' | 'c' | 'stream'>, nodes: readonly string[], verb: string, before?: (reply: LinesReply) => Promise<string[]>): Response =>
  answeredInLines(deps, order, async (reply) => {
    const { work, model } = order
    const on = ((await before?.(reply)) ?? nodes).map((node) => ({ node }))
    const outcome = await workOnNodes(deps, { work, model, on, timeoutMs: deps.settings.modelTimeoutMs, signal: reply.left, onLine: (line) => reply.line(line) })
    const error = failureOf(outcome, verb)
    if (error) throw error
    await deps.view.refreshAnew()
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

/**
 * `POST /api/create`: on the nodes that are named, or on the best one, which is one that holds the model that it is made from if there is any.
 * Blobs that it needs go there first.
 */
export const create = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('create', deps, async (order) => {
    const { work, model, c, blobs } = order
    const { view } = deps
    checkAllowed(c, model)
    const from = typeof work.body['from'] === 'string' ? canonicalName(work.body['from']) : undefined
    if (from) checkAllowed(c, from)
    const able = new Set(hostsFor(view, model).map(({ node }) => node))
    const fit = new Set(view.nodes.filter(({ id, copies }) => able.has(id) && (blobs.length === 0 || copies !== undefined)).map(({ id }) => id))
    const hosts = hostsFor(view, from ?? model).filter(({ node }) => fit.has(node))
    const named = namedNodes(c.env.incoming.headers, view, model)
    const best = bestHost(hosts)
    const nodes = named ?? (best === undefined ? [] : [best])
    if (nodes.length === 0) throw new BrokerError('cannot_run', `no node with an Ollama is there that could make it${blobs.length > 0 ? ', and takes files' : ''}`)
    // What a node has already may be of a model that this caller may not use: he must have the file himself.
    if (c.get('caller').allowsModel) for (const digest of blobs) if (!(await deps.blobs.find(digest))) throw missingBlob(digest)
    const sendTo = async (id: string, reply: LinesReply) => {
      const node = view.nodes.find((each) => each.id === id) ?? { id }
      const tickets = await deps.broker.tickets()
      await deliver({ node, model, digests: blobs, blobs: deps.blobs, tickets, signal: reply.left, onSend: (digest) => reply.line({ status: `sending ${digest.slice(0, 12)} to ${id}` }) })
    }
    const send = async (reply: LinesReply): Promise<string[]> => {
      if (named) {
        for (const id of named) await sendTo(id, reply)
        return named
      }
      // One that cannot be reached from here leaves it to the next.
      let failure: unknown
      for (const { node } of inOrder(hosts)) {
        try {
          await sendTo(node, reply)
          return [node]
        } catch (error) {
          if (!(error instanceof BrokerError && error.code === 'engine_failed')) throw error
          failure ??= error
        }
      }
      throw failure
    }
    return throughLines(deps, order, nodes, 'made', ...(blobs.length > 0 ? [send] : []))
  })

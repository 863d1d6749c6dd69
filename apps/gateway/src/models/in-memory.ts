import { BrokerError } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { visibleTo } from '../keys/visible.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { memoryHosts, memoryUnfitness, namedNodes, type MemoryHost } from './hosts.ts'
import { answeredInLines, ordered, type ModelDeps, type Ordered } from './order.ts'

type Asked = Pick<Ordered, 'model' | 'c'> & { work: Ordered<'load' | 'unload'>['work'] }

/** The nodes that hold the model, and those of them that the request names. @throws BrokerError `model_not_found` where none does that the caller may see */
const hostsOf = async ({ work, model, c }: Asked, { view }: ModelDeps): Promise<{ hosts: MemoryHost[]; named: string[] | undefined }> => {
  const asked = work.model
  if ((await visibleTo(c.get('caller'), view).resolve(asked)) === undefined) throw managementNotFound(work.call, asked)
  const hosts = memoryHosts(view, model)
  if (hosts.length === 0) throw new BrokerError('cannot_run', `no node has '${asked}' for itself: it runs over several`)
  return { hosts, named: namedNodes(c.env.incoming.headers, view, model, memoryUnfitness) }
}

/** The answer says who is asked to do it. */
const tell = ({ c }: Pick<Ordered, 'c'>, on: readonly { node: string }[]): void => {
  if (on.length > 0) c.get('headers')['x-drover-nodes'] = on.map(({ node }) => node).join(', ')
}

/** `POST /api/load`: has a model in memory on as many nodes as are to have it there, or on those that are named. Where it is already it is told how to be kept. */
export const load = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('load', deps, async (order) => {
    const { work, model } = order
    const { hosts, named } = await hostsOf(order, deps)
    const able = hosts.filter(({ unfit }) => unfit === undefined).map(({ node }) => node)
    const replicas = order.replicas ?? 1
    if (!named && able.length < replicas) throw tooFewHolders(replicas, hosts)
    const on = (named ?? able.slice(0, replicas)).map((node) => ({ node }))
    tell(order, on)
    const another = async (used: ReadonlySet<string>) => {
      await deps.view.refresh()
      const next = memoryHosts(deps.view, model).find(({ node, unfit }) => unfit === undefined && !used.has(node))
      return next && { node: next.node }
    }
    return answeredInLines(deps, order, async (reply) => {
      const outcome = await workOnNodes(deps, { work, model, on, timeoutMs: deps.settings.timeoutMs, ...(!named && { another }), signal: reply.left, onLine: (line) => reply.line(line) })
      await deps.view.refreshAnew()
      const error = failureOf(outcome, 'loaded')
      if (error) throw error
    })
  })

/** `POST /api/unload`: out of the memory of all nodes, or of those that are named. */
export const unload = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('unload', deps, async (order) => {
    const { work, model } = order
    const { hosts, named } = await hostsOf(order, deps)
    // Where it is not in memory just now, it may have been told to be kept there all the same.
    const on = hosts.filter(({ node, unfit }) => unfit === undefined && (named?.includes(node) ?? true)).map(({ node }) => ({ node }))
    tell(order, on)
    const stays = named ? [] : hosts.filter(({ loaded, unfit }) => loaded && unfit !== undefined)
    return answeredInLines(deps, order, async (reply) => {
      const outcome = await workOnNodes(deps, { work, model, on, timeoutMs: deps.settings.timeoutMs, signal: reply.left, onLine: (line) => reply.line(line) })
      for (const { node, unfit = '' } of stays) outcome.failed.push({ node, error: new BrokerError('engine_failed', unfit) })
      await deps.view.refreshAnew()
      const error = failureOf(outcome, 'unloaded')
      if (error) throw error
    })
  })

const tooFewHolders = (replicas: number, hosts: readonly MemoryHost[]): BrokerError => {
  const out = hosts.filter(({ unfit }) => unfit !== undefined).map(({ node, unfit = '' }) => `; node ${node} ${unfit}`)
  const holders = hosts.flatMap(({ node, unfit }) => (unfit === undefined ? [node] : []))
  const there = holders.length === 0 ? 'none that holds it can' : `only ${holders.toSorted().join(', ')} ${holders.length === 1 ? 'holds it and can' : 'hold it and can'}`
  return new BrokerError('cannot_run', `${replicas === 1 ? 'one node is' : `${replicas} nodes are`} to load it: ${there}${out.join('')}`)
}

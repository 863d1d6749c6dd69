import { BrokerError, placeModel } from '@drover/core'
import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { failureOf, workOnNodes } from './fleet-work.ts'
import { namedNodes, placesFor, pullUnfitness } from './hosts.ts'
import { answeredInLines, checkAllowed, ordered, type ModelDeps } from './order.ts'

/** `POST /api/pull`: brings a model to as many nodes as are to have it, or to those that are named. Where it is being pulled already, that pull is joined. */
export const pull = (deps: ModelDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  ordered('pull', deps, async (order) => {
    const { broker, view, settings } = deps
    const { work, model, c } = order
    checkAllowed(c, model)
    const named = namedNodes(c.env.incoming.headers, view, model, pullUnfitness)
    const replicas = order.replicas ?? settings.pullReplicas
    if (named && order.labels) throw new BrokerError('bad_request', 'labels cannot stand beside x-drover-nodes, which names the nodes')
    const places = () => placesFor(view, model, order.labels)
    const { hosts, full } = places()
    const { on, missing } = named ? { on: named, missing: named.length } : placeModel(hosts, replicas)
    if (on.length < missing) throw tooFewNodes(replicas, replicas - missing, on, full)
    const timeoutMs = settings.modelTimeoutMs
    const claim = (nodes: readonly string[], most: number) => broker.pulls.claim({ model, insecure: work.insecure, nodes, most, timeoutMs })
    const another = async (used: ReadonlySet<string>) => {
      await view.refresh()
      const [next] = await claim(placeModel(places().hosts.filter(({ node }) => !used.has(node)), replicas).on, 1)
      return next
    }
    const again = async (node: string) => (await claim([node], 1))[0]
    const claimed = missing === 0 ? [] : await claim(on, missing)
    if (claimed.length > 0) c.get('headers')['x-drover-nodes'] = claimed.map(({ node }) => node).join(', ')
    return answeredInLines(deps, order, async (reply) => {
      if (claimed.length === 0) reply.line({ status: 'pulling manifest' })
      const outcome = await workOnNodes(deps, { work, model, on: claimed, timeoutMs, again, ...(!named && { another }), signal: reply.left, onLine: (line) => reply.line(line) })
      const error = failureOf(outcome, 'pulled')
      // Whoever asks this gateway for it next finds it.
      await view.refreshAnew()
      // Somebody else may have brought it to where it is wanted.
      if (error && (named || placeModel(places().hosts, replicas).missing > 0)) throw error
    })
  })

const tooFewNodes = (replicas: number, held: number, on: readonly string[], full: readonly string[]): BrokerError => {
  const there = on.length === 0 ? 'no node with an Ollama is there that could take it' : `besides those that hold it there ${on.length === 1 ? 'is only' : 'are only'} ${on.join(', ')}`
  const wanted = replicas === 1 ? 'one node is to hold it' : `${replicas} nodes are to hold it`
  return new BrokerError('cannot_run', `${wanted}${held > 0 ? `, and ${held} do` : ''}: ${there}${full.length > 0 ? `; too little room on their disks have ${full.join(', ')}` : ''}`)
}

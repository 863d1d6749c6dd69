import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import { visibleTo } from './keys/visible.ts'
import type { RegistryView } from './registry-view.ts'
import { nodesStatus, type StatusSources } from './status.ts'

/** A node that lives obeys with its next sign of life, and is gone when it has given none for 4 s; the answer waits for it this long at most, ms. */
const OBEYS_MS = 4_500
const LOOK_MS = 20

type Sources = Pick<StatusSources, 'broker'> & { view: RegistryView }

/** `GET /api/nodes`: the living nodes, as `GET /api/status` shows them. */
export const nodes =
  (sources: Sources) =>
  async (c: Context<GatewayEnv>): Promise<Response> =>
    c.json({ nodes: await nodesStatus({ ...sources, view: visibleTo(c.get('caller'), sources.view) }) })

const unknown = (c: Context<GatewayEnv>, id: string, living: readonly { id: string }[]): Response => {
  const there = living.length === 0 ? 'no node is there' : `there are ${living.slice(0, 20).map((node) => node.id).join(', ')}${living.length > 20 ? ', …' : ''}`
  return c.json({ error: `node '${id}' not found: ${there}` }, 404)
}

/** `GET /api/nodes/:id`: one living node. */
export const oneNode =
  (sources: Sources) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const id = c.req.param('id') ?? ''
    const living = await nodesStatus({ ...sources, view: visibleTo(c.get('caller'), sources.view) })
    const node = living.find((each) => each.id === id)
    return node ? c.json(node) : unknown(c, id, living)
  }

/**
 * `POST /api/nodes/:id/drain` and `/undrain`: from now on the node takes no jobs, or takes them. What runs on it goes on. The wish
 * outlives the node: one that was there within the last hour, or is drained, is known although it is not there now; it is answered
 * with the wish alone.
 */
export const setDrained =
  (drained: boolean, sources: Sources) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    const { broker: { registry }, view } = sources
    const id = c.req.param('id') ?? ''
    await view.refresh()
    const [wishes, silent] = await Promise.all([registry.drained(), registry.silentFor()])
    if (!wishes.has(id) && !silent.has(id)) return unknown(c, id, view.nodes)
    await registry.setDrained(id, drained)
    const told = () => view.nodes.find((node) => node.id === id)
    // One that is being shut down stays as it is.
    for (const end = performance.now() + OBEYS_MS; told() && told()?.draining !== drained && performance.now() < end; await sleep(LOOK_MS)) await view.refresh()
    return c.json((await nodesStatus(sources)).find((node) => node.id === id) ?? { id, drained })
  }

import { isBlobDigest, managementNotFound, parseManagement, type ManagementCall } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import { visibleTo } from './keys/visible.ts'
import { native, type NativeDeps } from './native.ts'
import type { RegistryView } from './registry-view.ts'

export interface UnbuiltDeps extends NativeDeps {
  view: RegistryView
}

const SEEN = 'Drover sees the change within seconds'

/** What to do instead, on the node. */
const INSTEAD = {
  pull: (model: string) => `Drover does not download models: run "ollama pull ${model}" on the node that is to hold it, and ${SEEN}`,
  push: (model: string) => `Drover does not upload models: run "ollama push ${model}" on a node that holds it`,
  create: (model: string) => `Drover does not create models: run "ollama create ${model}" on the node that is to hold it, and ${SEEN}`,
  copy: (model: string) => `Drover does not copy models: run "ollama cp ${model}" on the node that holds it, and ${SEEN}`,
  delete: (model: string) => `Drover does not delete models: run "ollama rm ${model}" on the nodes that hold it, and ${SEEN}`,
} satisfies Record<Exclude<ManagementCall, 'show'>, (model: string) => string>

/** Those that act on a model that some node must hold. */
const NEEDS_MODEL = new Set<ManagementCall>(['push', 'copy', 'delete'])

/** A change to what nodes hold: checked as Ollama checks it, then answered with 501 and what to do instead. */
export const unbuilt = (call: keyof typeof INSTEAD, deps: UnbuiltDeps): ((c: Context<GatewayEnv>) => Promise<Response>) =>
  native(deps, async (body, c) => {
    const { model } = parseManagement(call, body)
    if (NEEDS_MODEL.has(call) && !(await visibleTo(c.get('caller'), deps.view).resolve(model))) throw managementNotFound(call, model)
    return c.json({ error: INSTEAD[call](model) }, 501)
  })

/** `POST /api/blobs/:digest`: the body is not read. */
export const putBlob = (c: Context<GatewayEnv>): Response =>
  isBlobDigest(c.req.param('digest') ?? '')
    ? c.json({ error: `Drover keeps no blobs: run "ollama create" on the node that is to hold the model, and ${SEEN}` }, 501)
    : c.json({ error: 'invalid digest format' }, 400)

/** `HEAD /api/blobs/:digest`: none is here. */
export const headBlob = (c: Context<GatewayEnv>, digest: string): Response => c.body(null, isBlobDigest(digest) ? 404 : 400)

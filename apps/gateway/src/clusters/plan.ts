import { BrokerError, bytesOf, canonicalName, KV_TYPES, planCluster, type Candidate, type KvType, type ModelName, type ModelShape, type NodeRecord, type PlanVerdict, type PlanWish } from '@drover/core'
import type { GatewayConnection } from '@drover/broker'
import type { Context } from 'hono'
import { z } from 'zod'
import type { Admission } from '../admission.ts'
import type { GatewayEnv } from '../app.ts'
import { checkedJson } from '../checked.ts'
import { refuseHere } from '../refuse-here.ts'
import { readBody } from '../read-body.ts'
import type { RegistryView, View } from '../registry-view.ts'
import { shownMember } from './shown.ts'

/** What a worker loads a model of its own with, unless it is told otherwise. */
const USUAL = { context: 4_096, slots: 2 }
const MOST_NODES = 1_000

export const PlanBody = z.strictObject({
  model: z.string(),
  context: z.int().min(1).max(2 ** 31 - 1).default(USUAL.context).describe('Tokens per slot.'),
  slots: z.int().min(1).max(256).default(USUAL.slots).describe('Answers at once.'),
  kv_type: z.enum(Object.keys(KV_TYPES) as [KvType, ...KvType[]]).default('f16').describe('How a number of the KV cache is kept.'),
  flash_attention: z.boolean().optional(),
  nodes: z.array(z.string().min(1)).min(1).max(MOST_NODES).optional().describe('Only memory of these nodes, besides the coordinator’s own.'),
})
type PlanBody = z.infer<typeof PlanBody>

/** A node that could coordinate, and what its file of the model is like. */
interface Coordinator {
  node: string
  shape: ModelShape
}

/** The lent memory of all nodes, as one of them could use it, and what it has itself. */
const candidatesFor = (nodes: readonly NodeRecord[], coordinator: string): Candidate[] =>
  nodes.flatMap(({ id, lending, coordinates }) =>
    ((id === coordinator && coordinates?.devices) || (lending?.devices ?? [])).map(({ name, kind, free, total }) => ({ node: id, device: name, kind, free, total, ...(id === coordinator && { rttMs: 0 }) })),
  )

/** Fewer parts are better; of refusals, one that may change, and where less is missing. */
const rank = (verdict: PlanVerdict): readonly number[] =>
  verdict.kind === 'planned' ? [0, verdict.plan.members.length] : [verdict.never ? 2 : 1, verdict.needs - verdict.free]

const isBetter = (a: PlanVerdict, b: PlanVerdict): boolean => {
  const [mine, other] = [rank(a), rank(b)]
  const at = mine.findIndex((each, i) => each !== other[i])
  return at >= 0 && mine[at]! < other[at]!
}

export interface Planned {
  coordinator: string
  verdict: PlanVerdict
}

/** The best that any of the coordinators could do, the first of several that are equal; nothing is reserved. */
export const bestPlan = (coordinators: readonly Coordinator[], nodes: readonly NodeRecord[], wish: PlanWish): Planned | undefined => {
  let best: Planned | undefined
  for (const { node, shape } of coordinators) {
    const verdict = planCluster({ shape, coordinator: node, candidates: candidatesFor(nodes, node), wish })
    if (!best || isBetter(verdict, best.verdict)) best = { coordinator: node, verdict }
  }
  return best
}

const shownPlan = (model: ModelName, { context, slots, kv_type: kvType }: PlanBody, nodes: readonly NodeRecord[], { coordinator, verdict }: Planned) => {
  const asked = { model, coordinator, context_length: context, slots, kv_type: kvType }
  const devices = candidatesFor(nodes, coordinator).map(({ node, device, kind, free, total }) => {
    const member = verdict.kind === 'planned' ? verdict.plan.members.find((each) => each.node === node && each.device === device) : undefined
    return { node, device, kind, total, free, takes: member ? bytesOf(member) : 0 }
  })
  if (verdict.kind === 'planned') return { ...asked, fits: true, members: verdict.plan.members.map(shownMember), besides: verdict.plan.besides, devices }
  const { never, needs, free, lenders, reason } = verdict
  return { ...asked, fits: false, reason, never, needs, free, lenders, devices }
}

export interface PlanDeps {
  broker: { registry: Pick<GatewayConnection['registry'], 'description'> }
  view: RegistryView
  admission: Admission
  settings: { bodyLimit: number }
  onError(error: unknown): void
}

/** Nodes that have the model's file and have told what is in it. */
const coordinatorsOf = async ({ registry }: PlanDeps['broker'], { holders }: Pick<View, 'holders'>, model: ModelName): Promise<Coordinator[]> => {
  const held = holders.get(model) ?? []
  const digests = [...new Set(held.map(({ held: { digest } }) => digest))]
  const shapes = new Map(await Promise.all(digests.map(async (digest) => [digest, (await registry.description(digest))?.shape] as const)))
  const byNode = new Map<string, ModelShape>()
  // Who coordinates already knows best.
  for (const { node, held: { digest } } of held.toSorted((a, b) => Number(b.engine.layout === 'cluster') - Number(a.engine.layout === 'cluster'))) {
    const shape = shapes.get(digest)
    if (shape && !byNode.has(node.id)) byNode.set(node.id, shape)
  }
  return [...byNode].map(([node, shape]) => ({ node, shape }))
}

/** `POST /api/plan`: how a model would be spread over the nodes now, or why it cannot be. Nothing is lent for it. */
export const plan =
  (deps: PlanDeps) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      const { broker, view, settings } = deps
      const body = checkedJson(PlanBody, await readBody(c.env.incoming, { limit: settings.bodyLimit }))
      const { model: asked, context, slots, kv_type: kvType, flash_attention: flashAttention, nodes } = body
      const model = (await view.resolve(asked)) ?? canonicalName(asked)
      if (model !== undefined && c.get('caller').allowsModel?.(model) === false) throw new BrokerError('forbidden', `this API key may not use the model '${model}'`)
      if (model === undefined || !(view.holders.has(model) || view.short.has(model))) throw new BrokerError('model_not_found', `model '${asked}' not found`)
      const stranger = nodes?.find((node) => !view.nodes.some(({ id, lending }) => id === node && lending))
      if (stranger !== undefined) throw new BrokerError('bad_request', `nodes: '${stranger}' is no node that lends memory`)
      const coordinators = await coordinatorsOf(broker, view, model)
      const best = bestPlan(coordinators, view.nodes, { context, slots, kvType, flashAttention, nodes })
      if (!best) throw new BrokerError('cannot_run', view.short.get(model)?.reason ?? `no node that could run '${asked}' over several has told what its file is like`)
      return c.json(shownPlan(model, body, view.nodes, best))
    } catch (thrown) {
      return refuseHere(c, thrown, deps)
    }
  }

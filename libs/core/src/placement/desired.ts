import { z } from 'zod'
import { ModelName } from '../job.ts'
import { canonicalName } from '../names.ts'

const NODE = z.string().regex(/^[\w.-]{1,64}$/, 'expected the name of a node')

/** Most models of a state, and labels of one. */
const MOST = { models: 1_000, labels: 32 }

const NO_TIME = 'expected a time as Ollama writes it, like 30m, seconds, or -1 for ever'
const KEEP_ALIVE = z
  .union([z.string().regex(/^-?[1-9]\d{0,8}((\.\d{1,9})?(ms|s|m|h)(\d{1,9}(\.\d{1,9})?(ms|s|m|h)){0,4})?$/), z.int().min(-1).max(999_999_999).refine((seconds) => seconds !== 0)], { error: NO_TIME })
  .transform(String)

/** What nodes are to have of one model. */
export const DesiredModel = z
  .strictObject({
    replicas: z.int().min(1).max(1_000).optional().describe('Nodes that are to hold it; by default one.'),
    nodes: z.array(NODE).min(1).max(1_000).optional().describe('The nodes that are to hold it, by name: these, and no others.'),
    labels: z.record(z.string().max(200), z.string().max(200)).optional().describe('Only nodes that have all of these labels.'),
    preload: z.boolean().optional().describe('It is loaded on each of these nodes, and loaded again when it is no longer in memory.'),
    keepAlive: KEEP_ALIVE.optional().describe('With `preload`: how long an engine keeps it unused; by default for ever.'),
    numCtx: z.int().min(1).max(2 ** 31 - 1).optional().describe('With `preload`: the context that it is loaded with, tokens.'),
  })
  .superRefine(({ replicas, nodes, labels, preload, keepAlive, numCtx }, context) => {
    const refuse = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
    if (Object.keys(labels ?? {}).length > MOST.labels) refuse('labels', `there are more than ${MOST.labels}`)
    if (nodes && replicas !== undefined) refuse('replicas', 'cannot stand beside "nodes", which says how many there are')
    if (nodes && labels) refuse('labels', 'cannot stand beside "nodes", which names them')
    if (nodes && new Set(nodes).size < nodes.length) refuse('nodes', 'names a node twice')
    if (keepAlive !== undefined && preload !== true) refuse('keepAlive', 'needs "preload: true"')
    if (numCtx !== undefined && preload !== true) refuse('numCtx', 'needs "preload: true"')
  })
export type DesiredModel = z.infer<typeof DesiredModel>

/** By canonical name. `null` and nothing behind a name stand for: one copy, anywhere. */
export const DesiredModels = z
  .record(z.string(), DesiredModel.nullable())
  .superRefine((models, context) => {
    const seen = new Set<ModelName>()
    if (Object.keys(models).length > MOST.models) context.addIssue({ code: 'custom', message: `there are more than ${MOST.models}` })
    for (const name of Object.keys(models)) {
      const model = canonicalName(name)
      const problem = model === undefined ? 'is no name of a model' : seen.has(model) ? `is "${model}", which stands there already` : undefined
      if (problem !== undefined) context.addIssue({ code: 'custom', path: [name], message: problem })
      if (model !== undefined) seen.add(model)
    }
  })
  .transform((models) => new Map(Object.entries(models).flatMap(([written, wish]) => {
    const model = canonicalName(written)
    return model === undefined ? [] : [[model, { ...wish, written }] as const]
  })))
/** `written`: the name as it was given, which a registry may need in these letters. */
export type NamedWish = DesiredModel & { written: string }

/** Which models are to be where. `prune`: copies that were brought for it and are no longer wanted are deleted; others never are. */
export const DesiredState = z.strictObject({
  models: DesiredModels.nullish().transform((models): ReadonlyMap<ModelName, NamedWish> => models ?? new Map<ModelName, NamedWish>()),
  prune: z.boolean().default(false),
})
export type DesiredState = z.output<typeof DesiredState>
/** As it is written, and kept. */
export type WrittenState = z.input<typeof DesiredState>

/** The same state as it is kept: two that say the same are the same text. */
export const writtenOf = ({ models, prune }: DesiredState): { models: Record<string, DesiredModel>; prune: boolean } => ({
  models: Object.fromEntries([...models].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, { written, ...wish }]) => [written, wish])),
  prune,
})

const Place = z.object({ model: ModelName, node: z.string() })
/** A model on a node. */
export type Place = z.infer<typeof Place>

/** A model that was loaded, how, and by which start of the node's worker (epoch ms): the next one knows nothing of it. `pending`: whether it came to it is not known. */
export const LoadedPlace = Place.extend({ startedAt: z.number(), keepAlive: z.string().optional(), numCtx: z.number().optional(), pending: z.boolean().optional() })
export type LoadedPlace = z.infer<typeof LoadedPlace>

/** What has been done for a desired state: it can be undone by that, and whoever goes on with it knows. */
export const DesiredMemory = z.object({
  /** Copies that were brought, or are being brought. */
  brought: z.array(Place),
  loaded: z.array(LoadedPlace),
  /** Copies that counted when they were last looked at. */
  seen: z.array(Place),
})
export type DesiredMemory = z.infer<typeof DesiredMemory>

export const NO_MEMORY: DesiredMemory = { brought: [], loaded: [], seen: [] }

/** How the gateway whose turn it is gets on. Times are epoch ms of its clock. */
export const DesiredReport = z.object({
  gateway: z.string(),
  at: z.number(),
  version: z.number(),
  running: z.array(z.object({ action: z.string(), model: z.string(), node: z.string(), since: z.number(), completed: z.number().optional(), total: z.number().optional() })),
  failures: z.array(z.object({ action: z.string(), model: z.string(), node: z.string(), error: z.string(), tries: z.number(), nextAt: z.number() })),
})
export type DesiredReport = z.infer<typeof DesiredReport>

import { z } from 'zod'
import { ClusterRecord, CoordinatorRecord, LendingRecord, ShortOf } from './cluster/records.ts'
import { ModelName } from './job.ts'

/**
 * How an engine goes on with an answer that it is given the beginning of. `prefill`: a trailing assistant message in its chat endpoint is
 * continued exactly where it ends. `rendered`: its prompt can be rendered, so that text can be continued after the rendered prompt.
 * `none`: neither.
 */
export const Continuation = z.enum(['prefill', 'rendered', 'none'])
export type Continuation = z.infer<typeof Continuation>

/** A model that an engine holds, in Ollama's terms (`/api/tags`); what an engine does not tell is absent. */
export const HeldModel = z.object({
  model: ModelName,
  /** The name that the engine itself uses for it. */
  engineName: z.string(),
  /** 64 hex digits, no prefix; of the weights where the engine tells, else derived from name and size. */
  digest: z.string(),
  /** Bytes on disk. */
  size: z.number(),
  /** RFC 3339. */
  modifiedAt: z.string(),
  format: z.string().optional(),
  family: z.string().optional(),
  /** As Ollama writes it: `8.0B`. */
  parameterSize: z.string().optional(),
  quantization: z.string().optional(),
  /** Tokens that the model was trained for. */
  contextLength: z.number().optional(),
  embeddingLength: z.number().optional(),
  capabilities: z.array(z.string()).optional(),
  /** Found out by asking when it is in memory; absent: not known yet. */
  continues: Continuation.optional(),
  /** Only for jobs that ask for the way this engine runs it (`Layout`): without such a wish others run it better. */
  onlyAsked: z.boolean().optional(),
})
export type HeldModel = z.infer<typeof HeldModel>

/** A model in an engine's memory (`/api/ps`). */
export const LoadedModel = z.object({
  model: ModelName,
  /** Bytes of memory, and of those on GPUs. */
  size: z.number(),
  sizeVram: z.number(),
  /** RFC 3339; absent: stays. */
  expiresAt: z.string().optional(),
  /** Tokens per slot, as loaded. */
  contextLength: z.number().optional(),
})
export type LoadedModel = z.infer<typeof LoadedModel>

export const EngineKind = z.enum(['ollama', 'llama-server'])
export type EngineKind = z.infer<typeof EngineKind>

/** Whether a model runs on one node, or its layers lie on several. */
export const Layout = z.enum(['node', 'cluster'])
export type Layout = z.infer<typeof Layout>

export const QuarantineRecord = z.object({
  /** Absent: the whole engine, which could not be reached or fell over. */
  model: ModelName.optional(),
  /** ms until one job is let through to see; 0: the next one is. */
  forMs: z.number(),
  /** In a row, those that ended at the same time counted once. */
  failures: z.int(),
})
export type QuarantineRecord = z.infer<typeof QuarantineRecord>

export const EngineRecord = z.object({
  /** Unique on its node. */
  id: z.string(),
  kind: EngineKind,
  /** How it runs models; absent: on its node. */
  layout: Layout.optional(),
  version: z.string().optional(),
  /** The only models that are used of it, whatever else it holds; absent: all. */
  only: z.array(ModelName).optional(),
  /** Dialects whose endpoints it has itself; a newer worker may name one that this reader does not know. */
  speaks: z.array(z.string()),
  held: z.array(HeldModel),
  loaded: z.array(LoadedModel),
  /** Concurrent generations per model, and for models with a number of their own. */
  slotsPerModel: z.int(),
  slotsByModel: z.record(z.string(), z.int()).optional(),
  /** Models that the engine may have in memory at once. */
  maxLoaded: z.int(),
  /** Running attempts per model, zero left out. */
  busy: z.record(z.string(), z.int()),
  /** What is given no jobs because attempt after attempt has failed there; absent: nothing. */
  quarantined: z.array(QuarantineRecord).optional(),
})
export type EngineRecord = z.infer<typeof EngineRecord>

/** Whether work on models can bring this one to an engine: others are not changed by us, and what may not be used there is not brought. */
export const canBring = ({ kind, layout = 'node', only }: { kind: EngineKind; layout?: Layout | undefined; only?: readonly ModelName[] | undefined }, model: ModelName): boolean =>
  kind === 'ollama' && layout === 'node' && only?.includes(model) !== false

/** Whether an engine has a model for itself, not over several nodes. */
export const holdsItself = ({ layout = 'node', held }: Pick<EngineRecord, 'layout' | 'held'>, model: ModelName): boolean => layout === 'node' && held.some((each) => each.model === model)

/** Concurrent generations of one model on an engine. */
export const slotsFor = (
  engine: { slotsPerModel: number; slotsByModel?: Readonly<Record<string, number>> | undefined },
  model: ModelName,
): number => engine.slotsByModel?.[model] ?? engine.slotsPerModel

/** Where a node puts models that are copied to it: to those of its Ollama, or into its models folder. */
export const CopyPlace = z.enum(['ollama', 'folder'])
export type CopyPlace = z.infer<typeof CopyPlace>

/** A node as it shows itself to the others, renewed every second and gone `NODE_TTL_MS` after its last word. */
export const NodeRecord = z.object({
  v: z.int(),
  id: z.string(),
  version: z.string(),
  engines: z.array(EngineRecord),
  labels: z.record(z.string(), z.string()),
  /** Higher is preferred, 0 by default. */
  preference: z.number(),
  draining: z.boolean(),
  /** Bytes of the machine's memory; absent where the engines are on another machine. */
  memory: z.object({ total: z.number(), free: z.number() }).optional(),
  gpus: z.array(z.object({ name: z.string(), memory: z.number(), free: z.number() })),
  /** Batch attempts that had to make room for interactive jobs since the worker started; absent: a worker of before. */
  preempted: z.int().optional(),
  /** It takes work on its models from its own lane; absent: a worker of before, which does not look there. */
  changesModels: z.boolean().optional(),
  /** Where others get the files of its models, and where it could put theirs; absent: a worker that does neither. */
  copies: z.object({ address: z.string(), port: z.int(), into: z.array(CopyPlace) }).optional(),
  /** Bytes that are free where it puts them, in whole gigabytes; absent: it does not know where that is. */
  disk: z.number().optional(),
  /** Memory that it lends to models of many nodes; absent: none. */
  lending: LendingRecord.optional(),
  /** How it runs models over many nodes; absent: it does not. */
  coordinates: CoordinatorRecord.optional(),
  /** Models over many nodes that it coordinates; absent: none. */
  clusters: z.array(ClusterRecord).optional(),
  /** Models that it has and that cannot be run just now; absent: none. */
  shortOf: z.array(ShortOf).optional(),
  /** Epoch ms at which the worker started. */
  startedAt: z.number(),
})
export type NodeRecord = z.infer<typeof NodeRecord>

export const NODE_TTL_MS = 4_000

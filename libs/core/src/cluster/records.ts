import { z } from 'zod'
import { ModelName } from '../job.ts'

/** Memory of one device that a node lends, bytes. */
export const LentDevice = z.object({
  /** As llama.cpp calls it: `CPU`, `CUDA0`. Unique on its node. */
  name: z.string(),
  kind: z.enum(['cpu', 'gpu']),
  /** What the node lends of it when nothing is lent. */
  total: z.number().nonnegative(),
  /** What it would lend now. */
  free: z.number().nonnegative(),
})
export type LentDevice = z.infer<typeof LentDevice>

/** What a node says of the memory that it lends to models of many nodes. */
export const LendingRecord = z.object({
  /** Host under which the coordinators of other nodes reach its `rpc-server`s; a loopback address: only those of the same machine. */
  address: z.string(),
  /** Port there under which a coordinator learns whether it reaches this machine; absent: a worker of before. */
  line: z.int().optional(),
  devices: z.array(LentDevice),
})
export type LendingRecord = z.infer<typeof LendingRecord>

/** One part of a model that runs over several nodes. */
export const ClusterMember = z.object({
  node: z.string(),
  device: z.string(),
  /** Layers `from` to, but without, `to`. */
  from: z.int().nonnegative(),
  to: z.int().nonnegative(),
  /** It has what comes behind the last layer, too. */
  output: z.boolean(),
  /** Bytes: of weights, of KV cache with all slots full, and of room to compute in. */
  weights: z.number().nonnegative(),
  kv: z.number().nonnegative(),
  compute: z.number().nonnegative(),
})
export type ClusterMember = z.infer<typeof ClusterMember>

/** What a part takes of its device, bytes. */
export const bytesOf = ({ weights, kv, compute }: Pick<ClusterMember, 'weights' | 'kv' | 'compute'>): number => weights + kv + compute

/** A model that runs over several nodes, as its coordinator shows it. */
export const ClusterRecord = z.object({
  model: ModelName,
  /** `forming`: memory is being lent, or weights are on their way. `ending`: its processes are. */
  state: z.enum(['forming', 'ready', 'ending']),
  /** In the order of their layers, the coordinator's own share among them where it has one. */
  members: z.array(ClusterMember),
  slots: z.int(),
  /** Tokens per slot. */
  context: z.int(),
  /** Of the last answers, all slots together; absent: none yet. */
  tokensPerSecond: z.number().optional(),
  /** Epoch ms at which it was begun. */
  since: z.number(),
})
export type ClusterRecord = z.infer<typeof ClusterRecord>

/** What a node has itself for models that it runs over several, and how it runs them unless somebody wishes otherwise. */
export const CoordinatorRecord = z.object({
  devices: z.array(LentDevice),
  slots: z.int(),
  /** Tokens per slot. */
  context: z.int(),
})
export type CoordinatorRecord = z.infer<typeof CoordinatorRecord>

/** A model whose file a node has, and why it cannot be run just now. */
export const ShortOf = z.object({
  model: ModelName,
  /** For people: `needs 231 GB with 8k context and 2 slots; 4 lenders have 96 GB free`. */
  reason: z.string(),
  /** It would not even run if nothing else did. */
  never: z.boolean(),
})
export type ShortOf = z.infer<typeof ShortOf>

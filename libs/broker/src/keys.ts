import type { EngineKind, JobClass, JobId, Layout, ModelName, Owner, Requirements } from '@drover/core'

/** Every Redis key and channel, one line each: type, lifetime, and the trap if there is one. No key is built anywhere else. */
export const keys = (prefix: string) => ({
  /** Prefix of BullMQ's own keys: `<lanePrefix>:<lane>:wait` and so on. */
  lanePrefix: `${prefix}:lane`,
  /** A key of BullMQ's for a lane: `marker`, `prioritized`, `wait`, `active`, `stalled`, `meta`, or `<job>:lock`. Or one of ours, listed in `lua/job.lua`: `ranks`, `since`. */
  ofLane: (lane: Lane, name: string) => `${prefix}:lane:${lane}:${name}`,
  /** Set, for ever: every lane that has had a job, but for those that were forgotten (`lua/forget.lua`). */
  lanes: `${prefix}:lanes`,
  /** Hash, for ever: bytes of the living jobs of each lane, envelopes and bodies. */
  bytes: `${prefix}:bytes`,
  /** Sorted set of job ids by deadline (epoch ms by Redis' clock); a member goes when its job ends. */
  deadlines: `${prefix}:deadlines`,
  /** Hash, until a while after the end: its fields are listed in `lua/job.lua`. */
  job: (job: JobId) => `${prefix}:job:${job}`,
  /** Stream of frames, same lifetime. The truth behind the pub/sub channel, which may lose messages. Never trimmed while live. */
  log: (job: JobId) => `${prefix}:job:${job}:log`,
  /** String, until the end: a body too large for the envelope. */
  body: (job: JobId) => `${prefix}:job:${job}:body`,
  /** Hash, kept for a while after its end: a response that can be asked for; its fields are listed in `lua/response_keep.lua`. */
  response: (job: JobId) => `${prefix}:response:${job}`,
  /** Sorted set of the kept responses of an owner by when each goes (epoch ms), as long as the last of them. */
  responses: (owner: Owner) => `${prefix}:responses:${owner}`,
  /** Hash, same lifetime: bytes of each of them, and of `all`. */
  responseBytes: (owner: Owner) => `${prefix}:responses:${owner}:bytes`,
  /** Sorted set of one owner's listed jobs by when they were submitted (epoch ms by Redis' clock); a member goes when its job is gone. */
  jobsOf: (owner: Owner) => `${prefix}:jobs:of:${owner}`,
  /** Sorted set: the same, of all owners. */
  jobs: `${prefix}:jobs:all`,
  /** Sorted set of `<owner> <job>` by when the job's keys go (epoch ms): what is to be taken off both lists. */
  jobsUntil: `${prefix}:jobs:until`,
  /** String, 24 hours by default: what a request with a key stands for that made something else than a job (`lua/claim.lua`). */
  claim: (name: string) => `${prefix}:claim:${name}`,
  /** Sorted set of node ids by last heartbeat (epoch ms by Redis' clock). */
  nodes: `${prefix}:nodes`,
  /** Set of node ids, until each is undrained: they are to take no jobs, whether they live just now or not. */
  drained: `${prefix}:drained`,
  /** Hash (instance, supervisor, record as JSON), 4 s: a node as it shows itself. */
  node: (node: string) => `${prefix}:node:${node}`,
  /** Hash, an hour after its last change: what a node lends, by loan id; JSON, its fields are listed in `lua/loan.lua`. */
  loans: (lender: string) => `${prefix}:loans:${lender}`,
  /** String, 60 s, renewed while a living node holds it: what an engine says of a model, by its digest; JSON of at most 128 KB. */
  description: (digest: string) => `${prefix}:model:${digest}`,
  /** Hash (instance, record as JSON), 4 s: the word of a living gateway. Jobs whose followers have all lost theirs are unwanted. */
  gateway: (gateway: string) => `${prefix}:gateway:${gateway}`,
  /** String, 10 s: the version of what the living gateways write. */
  wire: `${prefix}:wire`,
  /** Hash, as long as a pull may take: by node the job that pulls this model there, and since when (`lua/pulls.lua`). */
  pulls: (model: ModelName, insecure: boolean) => `${prefix}:pulls:${insecure ? 'insecure:' : ''}${model}`,
  /** String, for ever: the secret by which those who copy model files from each other know each other (`tickets.ts`). */
  copySecret: `${prefix}:copysecret`,
  /** Hash, for ever: which models are to be where, and what was done for it; its fields are listed in `lua/desired_put.lua`. */
  desiredModels: `${prefix}:models:desired`,
  /** String, 5 s, renewed every two: the gateway that brings nodes to it. */
  desiredTurn: `${prefix}:models:turn`,
  /** Sorted set used like a BullMQ marker: wakes one node's pull loop. */
  wake: (node: string) => `${prefix}:wake:${node}`,
  /** String, 3 s: the job that a lease token has taken, so that a take that is sent twice takes one job. */
  took: (token: string) => `${prefix}:took:${token}`,
  /** Hash by id, for ever: every API key as JSON, with the SHA-256 of its secret. */
  apiKeys: `${prefix}:apikeys`,
  /** String, for ever: counts the changes of the keys. */
  apiKeysVersion: `${prefix}:apikeys:version`,
  /** Channel: keys have changed. */
  apiKeysChanged: `${prefix}:apikeys:changed`,
  /** Hash, two minutes, with a limit for days two days: what a key with limits has used; beside it `:open` and `:new`, sorted sets (`lua/limit.lua`). */
  use: (owner: Owner) => `${prefix}:use:${owner}`,
  /** String, 1 s: whose turn it is to look for stalled jobs and passed deadlines. */
  sweep: `${prefix}:sweep`,
  /** List of at most 100,000: what has ended, as JSON, until a gateway hands it to the endpoints that are told (`lua/dispatch.lua`). */
  outbox: `${prefix}:outbox`,
  /** Hash, until it is deleted: an endpoint that is told of events, with its secret. No worker may read it. */
  webhook: (webhook: string) => `${prefix}:webhook:${webhook}`,
  /** Set: ids of all webhooks. */
  webhooks: `${prefix}:webhooks`,
  /** Set, while it has one: ids of an owner's webhooks. A worker looks whether it is there. */
  webhooksOf: (owner: string) => `${prefix}:webhooks:${owner}`,
  /** Hash, until the file is deleted or expires: its fields are listed in `lua/batch.lua`. */
  file: (file: string) => `${prefix}:file:${file}`,
  /** Sorted set of file ids by creation (ms): of all, and those of each owner. A member may outlive its file for a while. */
  files: `${prefix}:files`,
  filesOf: (owner: string) => `${prefix}:files:${owner}`,
  /** Sorted set of file ids by the time (epoch ms) when each expires. */
  expiring: `${prefix}:files-expiring`,
  /** Sorted set of content names by the time (epoch ms) from which on whoever has that store removes them. A name is in it before its content is written. */
  trash: (store: string) => `${prefix}:trash:${store}`,
  /** Hash, until a stated time after its end: its fields are listed in `lua/batch.lua`. */
  batch: (batch: string) => `${prefix}:batch:${batch}`,
  /** Bitmap, until a minute after the batch's end: the requests, by their number from 0, whose results are stored. */
  batchDone: (batch: string) => `${prefix}:batch:${batch}:done`,
  /** Hash, same lifetime: content names of results and how many of their bytes count. What lies behind those was written in vain. */
  batchParts: (batch: string) => `${prefix}:batch:${batch}:parts`,
  /** Sorted set of batch ids by creation (ms): of all, those of each owner, and those that have not ended. */
  batches: `${prefix}:batches`,
  batchesOf: (owner: string) => `${prefix}:batches:${owner}`,
  openBatches: `${prefix}:batches-open`,
  /** String, 10 s: whose turn it is to sweep the files of a store. */
  fileSweep: (store: string) => `${prefix}:files-sweep:${store}`,
  /** Sorted set of webhooks by when they are to be told something (epoch ms by Redis' clock). */
  due: `${prefix}:due`,
  /** Sorted set, at most 10,000: events that wait for a webhook, by when it is told next; while it is being told, by when that is taken for dead. */
  pending: (webhook: string) => `${prefix}:pending:${webhook}`,
  /** Sorted set, at most 1,000: events that a webhook was told of, or was not and is no longer, by when that was over. */
  past: (webhook: string) => `${prefix}:past:${webhook}`,
  /** Hash, seven days: an event for a webhook. Its fields are listed in `lua/webhook.lua`. */
  delivery: (webhook: string, event: string) => `${prefix}:delivery:${webhook}:${event}`,
  /** String, as long as a claim: what a call with this token has claimed or said, so that one that is sent twice does so once. */
  claimed: (token: string) => `${prefix}:claimed:${token}`,
  /** Channel: frames for the jobs that a gateway follows. */
  replies: (gateway: string) => `${prefix}:replies:${gateway}`,
  /** Channel: cancels for a node, and that there is something new for it: its own state, loans, or work on its models. */
  control: (node: string) => `${prefix}:control:${node}`,
})
export type Keys = ReturnType<typeof keys>

/** Lanes whose keys are kept: more than there are models in use. */
const MOST_KEPT = 10_000

/** The same keys of a lane, made once and kept: they are needed for every job. */
export const laneKeys = (named: Keys, names: readonly string[]): ((lane: Lane) => readonly string[]) => {
  const made = new Map<Lane, readonly string[]>()
  return (lane) => {
    let list = made.get(lane)
    if (list) return list
    if (made.size >= MOST_KEPT) made.clear()
    made.set(lane, (list = names.map((name) => named.ofLane(lane, name))))
    return list
  }
}

/** Default of every `prefix`; the braces keep all keys in one slot of a cluster. */
export const DEFAULT_PREFIX = '{drover}'

/** Name of a BullMQ queue whose jobs are interchangeable for any worker that serves it. BullMQ refuses colons and model names have one. */
export type Lane = string & { readonly lane: unique symbol }

/** What decides who may run a job. */
export interface LaneFacts extends Requirements {
  model: ModelName
  class: JobClass
}

/** `MODEL~CLASS`, and what is required: `~ENGINE`, `~ENGINE~LAYOUT`, or `~~LAYOUT`. */
export const laneOf = (model: ModelName, jobClass: JobClass, { engine, layout }: Requirements = {}): Lane => {
  const required = layout !== undefined ? [engine ?? '', layout] : engine !== undefined ? [engine] : []
  return [encodeURIComponent(model).replaceAll('~', '%7E'), jobClass, ...required].join('~') as Lane
}

/** What the name of a lane of requests says. */
export const readLane = (lane: Lane): LaneFacts => {
  const [model = '', jobClass, engine, layout] = lane.split('~')
  const facts: LaneFacts = { model: decodeURIComponent(model) as ModelName, class: jobClass as JobClass }
  if (engine) facts.engine = engine as EngineKind
  if (layout) facts.layout = layout as Layout
  return facts
}

/** Of all work on what one node holds: pulls, deletes and the like, of whichever model. No model has an empty name. */
export const nodeLane = (node: string): Lane => `~models~${node}` as Lane

/** A lane as it is shown: that of a node has the node's name in place of a model's, as `@NODE`. */
export type ShownLane = Omit<LaneFacts, 'class'> & { class: JobClass | 'models' }
export const shownLane = (lane: Lane): ShownLane => {
  const [, node] = /^~models~(.+)$/.exec(lane) ?? []
  return node === undefined ? readLane(lane) : { model: `@${node}` as ModelName, class: 'models' }
}

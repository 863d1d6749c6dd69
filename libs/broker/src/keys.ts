import type { EngineKind, JobClass, JobId, ModelName } from '@drover/core'

/** Every Redis key and channel, one line each: type, lifetime, and the trap if there is one. No key is built anywhere else. */
export const keys = (prefix: string) => ({
  /** Prefix of BullMQ's own keys: `<lanePrefix>:<lane>:wait` and so on. */
  lanePrefix: `${prefix}:lane`,
  /** A key of BullMQ's for a lane: `marker`, `prioritized`, `wait`, `active`, `stalled`, `meta`, or `<job>:lock`. */
  ofLane: (lane: Lane, name: string) => `${prefix}:lane:${lane}:${name}`,
  /** Set, for ever: every lane that ever had a job. */
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
  /** Sorted set of node ids by last heartbeat (epoch ms by Redis' clock). */
  nodes: `${prefix}:nodes`,
  /** Set of node ids, until each is undrained: they are to take no jobs, whether they live just now or not. */
  drained: `${prefix}:drained`,
  /** Hash (instance, supervisor, record as JSON), 4 s: a node as it shows itself. */
  node: (node: string) => `${prefix}:node:${node}`,
  /** String, 60 s, renewed while a living node holds it: what an engine says of a model, by its digest; JSON of at most 128 KB. */
  description: (digest: string) => `${prefix}:model:${digest}`,
  /** Hash (instance, record as JSON), 4 s: the word of a living gateway. Jobs whose followers have all lost theirs are unwanted. */
  gateway: (gateway: string) => `${prefix}:gateway:${gateway}`,
  /** String, 10 s: the version of what the living gateways write. */
  wire: `${prefix}:wire`,
  /** Sorted set used like a BullMQ marker: wakes one node's pull loop. */
  wake: (node: string) => `${prefix}:wake:${node}`,
  /** String, 3 s: the job that a lease token has taken, so that a take that is sent twice takes one job. */
  took: (token: string) => `${prefix}:took:${token}`,
  /** String, 1 s: whose turn it is to look for stalled jobs and passed deadlines. */
  sweep: `${prefix}:sweep`,
  /** Channel: frames for the jobs that a gateway follows. */
  replies: (gateway: string) => `${prefix}:replies:${gateway}`,
  /** Channel: cancels for a node, and that there is something new for it to be read. */
  control: (node: string) => `${prefix}:control:${node}`,
})
export type Keys = ReturnType<typeof keys>

/** The same keys of a lane, made once and kept: they are needed for every job. */
export const laneKeys = (named: Keys, names: readonly string[]): ((lane: Lane) => readonly string[]) => {
  const made = new Map<Lane, readonly string[]>()
  return (lane) => {
    let list = made.get(lane)
    if (!list) made.set(lane, (list = names.map((name) => named.ofLane(lane, name))))
    return list
  }
}

/** Default of every `prefix`; the braces keep all keys in one slot of a cluster. */
export const DEFAULT_PREFIX = '{drover}'

/** Name of a BullMQ queue whose jobs are interchangeable for any worker that serves it. BullMQ refuses colons and model names have one. */
export type Lane = string & { readonly lane: unique symbol }

/** What decides who may run a job. */
export interface LaneFacts {
  model: ModelName
  class: JobClass
  /** The only kind of engine that can answer it; absent: any that holds the model. */
  engine?: EngineKind | undefined
}

export const laneOf = (model: ModelName, jobClass: JobClass, engine?: EngineKind): Lane =>
  `${encodeURIComponent(model).replaceAll('~', '%7E')}~${jobClass}${engine === undefined ? '' : `~${engine}`}` as Lane

/** What a lane's name says. */
export const readLane = (lane: Lane): LaneFacts => {
  const [model = '', jobClass, engine] = lane.split('~')
  const facts: LaneFacts = { model: decodeURIComponent(model) as ModelName, class: jobClass as JobClass }
  return engine === undefined ? facts : { ...facts, engine: engine as EngineKind }
}

import { createHash } from 'node:crypto'
import { LINE_ENDS, may, reaches, type Batch, type BatchError, type BatchPlan, type BatchSpec, type BatchState, type Caller, type FilePart, type JobId, type LineEnd, type Owner } from '@drover/core'
import type { Redis } from 'ioredis'
import { refused } from '../in-time.ts'
import type { Keys } from '../keys.ts'
import type { Scripts } from '../scripts.ts'
import { list, type Listing } from './listing.ts'
import { Recent } from '../recent.ts'

export interface BatchesOptions {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** Whoever runs a batch holds it this long without a word, ms: a gateway that dies is followed by another one then. */
export const LEASE_MS = 5_000
/** Most batches that have not ended. */
const MOST_OPEN = 1_000
/** Gateways that have another store than a batch's leave it alone until so long after its window, ms. */
const ORPHAN_MS = 24 * 60 * 60 * 1000
/** What is known of a batch stays this long after its end, ms. */
const KEPT_MS = 30 * 24 * 60 * 60 * 1000

/** The right to run a batch. */
export interface BatchLease {
  id: string
  token: string
  /** Its window ended a day ago, and nobody who has the store of its files has ended it: whoever holds the lease has not either. */
  orphan: boolean
  /** How many there have been: the names of what is written under it begin with it, so that pieces can be put in order. */
  number: number
}

/** Content with results that has grown: what counted of it until now, if anything did, and what counts in its place. */
export interface Grown {
  before: FilePart
  after: FilePart
}

export interface Results {
  grown: readonly Grown[]
  ends: Record<LineEnd, number>
  /** Numbers of the requests, from 0. */
  lines: readonly number[]
}

/** A file that a batch leaves. */
export interface LeftFile {
  id: string
  name: string
  bytes: number
  parts: readonly FilePart[]
}

/** The id of a line's job: the same for every gateway that runs the batch, and known to nobody else. */
export const lineJobId = (seed: string, line: number): JobId => `0-${createHash('sha256').update(`${seed}:${line}`).digest('base64url').slice(0, 22)}` as JobId

/** What Redis knows of batches, and who may run each. */
export class Batches {
  #options: BatchesOptions
  #recent: Recent

  constructor(options: BatchesOptions) {
    this.#options = options
    this.#recent = new Recent(options.redis)
  }

  /** @returns `file`: the caller has no such file for it; `full`: too many batches have not ended @throws BrokerError `queue_full` when Redis has no memory left */
  async add(id: string, caller: Caller, spec: BatchSpec, windowMs: number): Promise<'added' | 'file' | 'full'> {
    const { keys, scripts } = this.#options
    const names = [keys.batch(id), keys.batches, keys.batchesOf(caller.owner), keys.openBatches, keys.file(spec.input)]
    const args = [id, caller.owner, JSON.stringify(spec), windowMs, may(caller, 'admin') ? '' : caller.owner, MOST_OPEN]
    const [added, why] = (await this.#recent.send(() => scripts.batch_add(names, args)).catch(refused)) as [1, number] | [0, 'file' | 'full']
    return added === 1 ? 'added' : why
  }

  /** `undefined`: there is no such batch that the caller may read. */
  async get(id: string, caller: Caller): Promise<Batch | undefined> {
    const batch = await this.read(id)
    return batch && reaches(caller, batch.owner) ? batch : undefined
  }

  /** A caller who may do everything is shown everybody's. */
  list(caller: Caller, view: BatchSpec['view'], page: Omit<Listing, 'index'>): Promise<{ items: Batch[]; more: boolean }> {
    const { redis, keys } = this.#options
    const index = may(caller, 'admin') ? keys.batches : keys.batchesOf(caller.owner)
    return list(redis, { index, ...page }, (ids) =>
      Promise.all(
        ids.map(async (id) => {
          const batch = await this.read(id)
          if (!batch) await redis.zrem(index, id)
          return batch?.spec.view === view ? batch : undefined
        }),
      ),
    )
  }

  /** @returns the state that it is in then; `undefined`: there is no such batch that the caller may cancel */
  async cancel(id: string, caller: Caller): Promise<BatchState | undefined> {
    const { keys, scripts } = this.#options
    const state = (await this.#recent.send(() => scripts.batch_cancel([keys.batch(id)], [may(caller, 'admin') ? '' : caller.owner]))) as BatchState | ''
    return state === '' ? undefined : state
  }

  /** Forgets one that has ended. */
  async drop(id: string, owner: Owner): Promise<void> {
    const { redis, keys } = this.#options
    await redis.zrem(keys.batches, id)
    await redis.zrem(keys.batchesOf(owner), id)
    await redis.del(keys.batch(id))
  }

  async read(id: string): Promise<Batch | undefined> {
    const h = await this.#options.redis.hgetall(this.#options.keys.batch(id))
    const { own, spec, store = '', st, at, dl, plan, errors, out, err } = h
    if (own === undefined || spec === undefined) return undefined
    const since = Object.fromEntries(Object.entries(h).flatMap(([name, value]) => (name.startsWith('t:') ? [[name.slice(2), Number(value)]] : []))) as Batch['since']
    return {
      id,
      owner: own as Owner,
      spec: JSON.parse(spec) as BatchSpec,
      store,
      state: st as BatchState,
      createdAt: Number(at),
      deadline: Number(dl),
      since,
      counts: Object.fromEntries(['total', ...LINE_ENDS].map((name) => [name, Number(h[name])])) as Batch['counts'],
      plan: plan === undefined ? undefined : (JSON.parse(plan) as BatchPlan),
      errors: errors === undefined ? undefined : (JSON.parse(errors) as BatchError[]),
      outputFile: out,
      errorFile: err,
    }
  }

  /** A batch that nobody runs, if there is one. */
  async claim(token: string, store: string): Promise<BatchLease | undefined> {
    const { keys, scripts, base } = this.#options
    const [id, number, orphan] = (await scripts.batch_claim([keys.openBatches], [base, token, LEASE_MS, store, MOST_OPEN, ORPHAN_MS])) as [string, number, 0 | 1] | []
    return id === undefined || number === undefined ? undefined : { id, token, number, orphan: orphan === 1 }
  }

  /** Keeps the lease. `undefined`: it is another's by now, or the batch has ended. */
  async hold({ id, token }: BatchLease): Promise<{ state: BatchState; leftMs: number } | undefined> {
    const [state, leftMs] = (await this.#options.scripts.batch_hold([this.#options.keys.batch(id)], [token, LEASE_MS])) as [BatchState, number] | []
    return state === undefined || leftMs === undefined ? undefined : { state, leftMs }
  }

  /** Somebody else may run it now. */
  async giveBack({ id, token }: BatchLease): Promise<void> {
    await this.#options.scripts.batch_hold([this.#options.keys.batch(id)], [token, 0])
  }

  /** @returns the state that it is in then; `undefined`: the lease is another's */
  async turn(lease: BatchLease, from: BatchState, to: BatchState, store: string, known: { total?: number; plan?: BatchPlan } = {}): Promise<BatchState | undefined> {
    const { keys, scripts } = this.#options
    const { total, plan } = known
    const state = (await scripts.batch_turn([keys.batch(lease.id), keys.trash(store)], [lease.token, from, to, total ?? '', plan ? JSON.stringify(plan) : '', plan?.index ?? ''])) as BatchState | ''
    return state === '' ? undefined : state
  }

  /** Which requests have a result. */
  async done(id: string): Promise<Buffer> {
    return (await this.#options.redis.getBuffer(this.#options.keys.batchDone(id))) ?? Buffer.alloc(0)
  }

  /** What holds results, in the order of the leases that wrote it. */
  async parts(id: string): Promise<FilePart[]> {
    const parts = Object.entries(await this.#options.redis.hgetall(this.#options.keys.batchParts(id)))
    return parts.map(([name, bytes]): FilePart => [name, Number(bytes)]).toSorted(([a], [b]) => (a < b ? -1 : 1))
  }

  async commit({ id, token }: BatchLease, store: string, { grown, ends, lines }: Results): Promise<'ok' | 'lost' | 'behind' | 'twice'> {
    const { keys, scripts } = this.#options
    const args = [token, LEASE_MS, ...LINE_ENDS.map((end) => ends[end]), grown.length, ...grown.flatMap(({ before, after }) => [...before, ...after]), ...lines]
    return (await scripts.batch_commit([keys.batch(id), keys.batchDone(id), keys.batchParts(id), keys.trash(store)], args)) as 'ok' | 'lost' | 'behind' | 'twice'
  }

  /** `rest`: requests that have no result and never will, and how these are counted. */
  async finish({ id, token }: BatchLease, { spec, plan }: Batch, state: BatchState, { errors, rest, output, failures }: { errors?: BatchError[]; rest?: { count: number; end: LineEnd }; output: LeftFile; failures: LeftFile }): Promise<'ok' | 'lost' | 'open'> {
    const { keys, scripts, base } = this.#options
    const left = [output, failures].flatMap((file) => [file.id, file.name, file.bytes, JSON.stringify(file.parts)])
    const args = [base, id, token, state, errors ? JSON.stringify(errors) : '', KEPT_MS, spec.filesKeepMs, spec.input, plan?.index ?? '', ...left, rest?.end ?? '', rest?.count ?? 0]
    return (await this.#recent.send(() => scripts.batch_finish([keys.batch(id), keys.batchDone(id), keys.batchParts(id), keys.openBatches], args))) as 'ok' | 'lost' | 'open'
  }

  /** The results of these jobs are stored. */
  async forget(jobs: readonly JobId[]): Promise<void> {
    if (jobs.length > 0) await this.#options.scripts.batch_forget(jobs.map((job) => this.#options.keys.job(job)), [])
  }
}

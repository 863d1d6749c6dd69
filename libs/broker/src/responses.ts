import type { Caller, Frame, JobId, Owner, TerminalRecord } from '@drover/core'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import { FORGETS_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'
import { keyReused } from './submission.ts'

/** A response that is to be kept; its id is its job's. */
export interface NewResponse {
  id: JobId
  owner: Owner
  /** As it waits, JSON text. */
  queued: string
  /** Input items, JSON text. */
  input: string
  /** The response before it. */
  previous?: JobId | undefined
  background: boolean
  streamed: boolean
  /** Of a request that may be repeated: the same for the same request only. */
  fingerprint?: string | undefined
  /** It goes after that, if it never ends, ms. */
  livesMs: number
}

/** A response as it lies in Redis. */
export interface KeptResponse {
  id: JobId
  owner: Owner
  /** As it waited, JSON text. */
  queued: string
  background: boolean
  streamed: boolean
  /** As it ended, JSON text, once somebody has kept that. */
  ended: string | undefined
  /** How far its job is; `gone`: nothing is known of it any more. */
  state: 'gone' | 'queued' | 'in_progress' | 'ended'
  /** Input items, JSON text, where they were asked for. */
  input: string
}

/** A conversation from its first response to its last; or why there is none. */
export type Chain =
  | { kind: 'turns'; turns: { id: JobId; input: string; response: string }[] }
  | { kind: 'gone' | 'open'; id: JobId }
  | { kind: 'bound'; bound: 'responses' | 'bytes'; most: number }

/** What an ended job has said. */
export interface Answer {
  text: string
  end: TerminalRecord
}

/** An owner has as many kept responses as one may have, or as large ones. */
export class ResponsesFull extends Error {
  readonly bound: 'bytes' | 'responses'
  constructor(bound: 'bytes' | 'responses') {
    super(`too many kept ${bound}`)
    this.bound = bound
  }
}

/** Most kept responses of one owner. */
const RESPONSES = 100_000
/** Counted for an answer until it is known, bytes. */
const ASIDE = 16 * 1024
/** Most turns and bytes of one conversation. */
const TURNS = 256
const CHAIN_BYTES = 16 * 1024 * 1024
/** Entries of a log read at once. */
const ENTRIES = 64
/** Answers read at once, each of up to `LOG_BYTES`; others wait their turn. */
const READS = 4

interface Parts {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** Responses that can be asked for after their requests are over: each lies beside its job, from which its end is read. */
export class StoredResponses {
  #parts: Parts
  /** What was kept a moment ago: a Redis that is killed may yet forget it. */
  #recent = new Map<JobId, { send(): Promise<unknown>; fingerprint: string }>()
  /** The last one of each row of reads. */
  #rows: Promise<unknown>[] = Array.from({ length: READS }, () => Promise.resolve())
  #row = 0

  constructor(parts: Parts) {
    this.#parts = parts
    parts.redis.on('ready', () => {
      for (const { send } of this.#recent.values()) void send().catch(() => undefined)
    })
  }

  /**
   * Keeps a response whose job is submitted next.
   * @returns it as it waits: of a repetition, as the first said
   * @throws ResponsesFull; BrokerError `key_reused`, `queue_full` (Redis has no memory left), `broker_unavailable`
   */
  async keep({ id, owner, queued, input, previous, background, streamed, fingerprint, livesMs }: NewResponse, mostBytes: number): Promise<string> {
    const { keys, scripts } = this.#parts
    const args = [id, owner, livesMs, mostBytes, RESPONSES, queued, input, previous ?? '', background ? 1 : 0, streamed ? 1 : 0, ASIDE, fingerprint ?? '']
    const send = () => scripts.response_keep([keys.response(id), ...this.#of(owner)], args)
    const [kept, said] = (await soon(send())) as [1, string] | [0, ResponsesFull['bound']] | [2, undefined?]
    if (kept === 0) throw new ResponsesFull(said)
    if (kept === 2) throw keyReused()
    this.#remember(id, { send, fingerprint: fingerprint ?? '' })
    return said
  }

  #remember(id: JobId, sent: { send(): Promise<unknown>; fingerprint: string }): void {
    this.#recent.set(id, sent)
    const forget = (): void => void setTimeout(() => (this.#parts.redis.status === 'ready' ? this.#recent.delete(id) : forget()), FORGETS_MS).unref()
    forget()
  }

  /** @returns `undefined`: there is no such response that the caller may read, or none any more */
  async find(id: JobId, caller: Caller, { withInput = false } = {}): Promise<KeptResponse | undefined> {
    const { keys, scripts } = this.#parts
    const answer = (await soon(scripts.response_read([keys.response(id), keys.job(id)], [whose(caller), withInput ? 1 : 0]))) as
      | [0]
      | [1, Owner, string, 0 | 1, 0 | 1, string, KeptResponse['state'], string]
    if (answer[0] === 0) return undefined
    const [, owner, queued, background, streamed, ended, state, input] = answer
    return { id, owner, queued, background: background === 1, streamed: streamed === 1, ended: ended === '' ? undefined : ended, state, input }
  }

  /**
   * Keeps a response as it ended. Of one whose events nobody will ask for the job need not be kept longer than `jobMs`.
   * @returns whether it is still there
   */
  async seal({ id, owner, background, streamed }: KeptResponse, response: string, { keepMs, jobMs }: { keepMs: number; jobMs: number }): Promise<boolean> {
    const { keys, scripts } = this.#parts
    return (await soon(scripts.response_seal([keys.response(id), keys.job(id), keys.log(id), ...this.#of(owner)], [id, response, keepMs, background && streamed ? '' : jobMs]))) === 1
  }

  /** The conversation that ends with a response, which is then kept on as a whole. */
  async chain(last: JobId, caller: Caller, keepMs: number): Promise<Chain> {
    const { keys, scripts, base } = this.#parts
    const [kind, ...rest] = (await soon(scripts.response_chain([keys.response(last)], [base, last, whose(caller), TURNS, CHAIN_BYTES, keepMs]))) as ['ok', ...string[]] | ['gone' | 'open', JobId] | ['responses' | 'bytes', number]
    if (kind === 'gone' || kind === 'open') return { kind, id: rest[0] as JobId }
    if (kind !== 'ok') return { kind: 'bound', bound: kind, most: rest[0] as number }
    const all = rest as string[]
    const turns = Array.from({ length: all.length / 3 }, (_, index) => ({ id: all[3 * index] as JobId, input: all[3 * index + 1]!, response: all[3 * index + 2]! }))
    return { kind: 'turns', turns: turns.toReversed() }
  }

  /** Forgets a response; its job stays what it is. `fingerprint`: only if it is that of this request. */
  async drop({ id, owner }: Pick<KeptResponse, 'id' | 'owner'>, fingerprint = ''): Promise<void> {
    const { keys, scripts } = this.#parts
    if (fingerprint === '' || this.#recent.get(id)?.fingerprint === fingerprint) this.#recent.delete(id)
    await soon(scripts.response_drop([keys.response(id), keys.job(id), ...this.#of(owner)], [id, fingerprint]))
  }

  /** All that an ended job has said, and how it ended; `undefined`: it is not there any more, or has not ended. */
  answer(id: JobId): Promise<Answer | undefined> {
    const row = (this.#row = (this.#row + 1) % READS)
    const read = this.#rows[row]!.then(() => this.#read(id))
    this.#rows[row] = read.catch(() => undefined)
    return read
  }

  async #read(id: JobId): Promise<Answer | undefined> {
    const { keys, scripts } = this.#parts
    let parts: string[] = []
    for (let from = 1; ; ) {
      const [there, , , ...entries] = (await soon(scripts.read([keys.job(id), keys.log(id)], [from, ENTRIES]))) as [number, number, number, ...unknown[]]
      if (there === 0 || entries.length === 0) return undefined
      for (let i = 0; i < entries.length; i += 3) {
        const [first, , json] = entries.slice(i, i + 3) as [number, string, string]
        const frames = JSON.parse(json) as Frame[]
        for (const frame of frames) {
          if (frame.reset) parts = []
          if (frame.text !== undefined) parts.push(frame.text)
          if (frame.end) return { text: parts.join(''), end: frame.end }
        }
        from = first + frames.length
      }
    }
  }

  #of(owner: Owner): string[] {
    const { keys } = this.#parts
    return [keys.responses(owner), keys.responseBytes(owner)]
  }
}

const whose = ({ scopes, owner }: Caller): string => (scopes.has('admin') ? '' : owner)

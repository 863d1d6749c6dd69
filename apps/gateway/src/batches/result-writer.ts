import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BatchLease, GatewayConnection, Grown } from '@drover/broker'
import { LINE_ENDS, type LineEnd } from '@drover/core'
import type { ContentStore, Growing } from '../files/content-store.ts'
import type { LineAnswer } from './line-answer.ts'

/** How a request has ended. */
export interface Result {
  line: number
  end: LineEnd
  /** Its line, for the file with answers or for that with errors. */
  text: string
  failed: boolean
  /** Of one that had a job. */
  answer?: LineAnswer
}

export interface ResultWriterOptions {
  batches: GatewayConnection['batches']
  store: ContentStore
  lease: BatchLease
  signal: AbortSignal
  /** These count now. */
  onStored(results: readonly Result[]): void
  /** Somebody else runs the batch, or Redis has forgotten what counted: this run is over. */
  onRefused(why: string): void
  onError(error: unknown): void
}

type Kind = 'out' | 'err'

/** What a lease writes has names of its own, in the order of leases. */
const resultsName = ({ id, number }: BatchLease, kind: Kind): string => `${id}.${String(number).padStart(6, '0')}-${randomBytes(6).toString('hex')}.${kind}`

/** Whether content that holds results of a batch is of this kind. */
export const isOfKind = (name: string, kind: Kind): boolean => name.split('.')[2] === kind

/** Results wait for others to be written with them as long as the store likes, or until they are so many characters. */
const GATHER_CHARS = 1024 * 1024
const MOST_AT_ONCE = 1_000
/** A store that cannot be used, as a disk that is full, is tried again after this, ms. */
const AGAIN_MS = 1_000

/**
 * Writes results behind each other and then has them counted, so that one counts if and only if it was written whole under this lease:
 * content has the lease's own name, and Redis says how much of it counts and for which requests, in one step, while the lease holds. What
 * a killed gateway has written and not had counted lies behind that and is never read; what a frozen one writes later is refused.
 */
export class ResultWriter {
  #options: ResultWriterOptions
  #waiting: Result[] = []
  #chars = 0
  #output: Growing
  #errors: Growing
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined

  constructor(options: ResultWriterOptions) {
    this.#options = options
    const { store, lease } = options
    this.#output = store.growing(resultsName(lease, 'out'))
    this.#errors = store.growing(resultsName(lease, 'err'))
  }

  get waiting(): number {
    return this.#waiting.length
  }

  add(result: Result): void {
    this.#waiting.push(result)
    this.#chars += result.text.length
    if (this.#chars >= GATHER_CHARS) void this.flush()
    else this.#timer ??= setTimeout(() => void this.flush(), this.#options.store.gatherMs)
  }

  /** Resolves when everything that was added counts, or never will. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined))
    await this.#writing
    if (this.#waiting.length > 0 && !this.#options.signal.aborted) await this.flush()
  }

  async #write(): Promise<void> {
    const { signal, onError } = this.#options
    while (this.#waiting.length > 0 && !signal.aborted) {
      const results = this.#waiting.slice(0, MOST_AT_ONCE)
      try {
        if (!(await this.#store(results))) return
      } catch (error) {
        onError(error)
        await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  async #store(results: readonly Result[]): Promise<boolean> {
    const { batches, store, lease, onStored, onRefused } = this.#options
    const kinds = [
      { content: this.#output, its: results.filter(({ failed }) => !failed) },
      { content: this.#errors, its: results.filter(({ failed }) => failed) },
    ].filter(({ its }) => its.length > 0)
    const grown = await Promise.all(kinds.map(({ content, its }): Promise<Grown> => content.add(Buffer.from(its.map(({ text }) => text).join('')))))
    const ends = Object.fromEntries(LINE_ENDS.map((end) => [end, results.filter((each) => each.end === end).length])) as Record<LineEnd, number>
    const answer = await batches.commit(lease, store.id, { grown, ends, lines: results.map(({ line }) => line) })
    if (answer !== 'ok') {
      onRefused(answer)
      return false
    }
    for (const { content } of kinds) content.counted()
    this.#waiting = this.#waiting.slice(results.length)
    for (const { text } of results) this.#chars -= text.length
    onStored(results)
    return true
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#writing?.catch(() => undefined)
    await Promise.all([this.#output.close(), this.#errors.close()])
  }
}

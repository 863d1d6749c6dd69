import { setTimeout as sleep } from 'node:timers/promises'
import { lineJobId, type BatchLease } from '@drover/broker'
import { BrokerError, fromErrorInfo, isOver, may, slotsFor, toBrokerError, almighty, OPERATOR, type Batch, type Caller, type ModelName, type Owner, type TerminalRecord } from '@drover/core'
import { dialects, type Dialect } from '@drover/dialects'
import { contentOf, isLost, isUnavailable, type ContentStore } from '../files/content-store.ts'
import { checkHope, intake, missing, type IntakeDeps } from '../intake.ts'
import { visibleTo } from '../keys/visible.ts'
import { isServedByPulled } from '../models/on-demand.ts'
import { readLine, readRequest } from './batch-line.ts'
import { LineAnswer, type Gathered } from './line-answer.ts'
import { LineIndex } from './line-index.ts'
import { RangeReader } from './range-reader.ts'
import { answerLine, failureLine, unrunLine } from './result-line.ts'
import { isOfKind, ResultWriter, type Result } from './result-writer.ts'
import { validate } from './validate.ts'

export interface RunDeps extends IntakeDeps {
  store: ContentStore
  /** Whoever has made it, as it may act now; `undefined`: no more. */
  callerOf(owner: Owner): Caller | undefined
  settings: IntakeDeps['settings'] & { batchLines: number; bodyLimit: number }
  onError(error: unknown): void
}

/** How often a lease is renewed, ms: several times before it ends. */
const HOLD_MS = 1_500
/** Whatever it waits for, a run looks again after this, ms. */
const LOOK_MS = 500
/** Jobs of one model at once, for each of its slots: so many that no slot waits for the gateway. */
const PER_SLOT = 3
/** Jobs of one batch at once, and bytes of their requests. */
const MOST_JOBS = 384
const MOST_BYTES = 32 * 1024 * 1024
/** A refused job is tried again after this, ms. */
const AGAIN_MS = 250
/** A job whose gateway has died keeps its answer so long for the next one, ms. */
const KEEP_MS = 60 * 60 * 1000
/** The jobs of stored results are kept a little longer: a Redis that is killed may forget that they are stored. ms */
const FORGET_MS = 3_000
/** Whoever is being stopped writes down what it has, but not for longer, ms. */
const LAST_MS = 1_000
/** Requests that are not run are written so many at a time. */
const UNRUN_AT_ONCE = 500

const NOBODYS = 'no gateway has had its store of files since its window ended'

/** Requests for one model, as far as they have been given out. */
interface Section {
  model: string
  next: number
  end: number
  /** Until then its lane takes nothing, `performance.now()`. */
  notBefore: number
}

/** One gateway runs one batch, while it holds the lease: looks at its file, feeds its requests to the lanes, stores their results, ends it. */
export class BatchRun {
  readonly lease: BatchLease
  #deps: RunDeps
  #over = new AbortController()
  #cancelling = false
  #deadline = Infinity
  #running = new Map<number, LineAnswer>()
  #bytes = 0
  #again: number[] = []
  #gathered: Gathered = { chars: 0, answers: new Set() }
  #looking: Promise<void> | undefined
  #wake: (() => void) | undefined
  #writer: ResultWriter | undefined
  #done: Buffer = Buffer.alloc(0)
  #stored: { at: number; jobs: LineAnswer['job'][] }[] = []

  constructor(lease: BatchLease, deps: RunDeps) {
    this.lease = lease
    this.#deps = deps
  }

  /** Resolves when the batch has ended, or this gateway runs it no longer. */
  async run(): Promise<void> {
    const { batches } = this.#deps.broker
    const holding = setInterval(() => void this.look().catch(this.#deps.onError), HOLD_MS)
    try {
      await this.look()
      const batch = await batches.read(this.lease.id)
      if (!batch || isOver(batch.state) || this.#over.signal.aborted) return
      if (this.lease.orphan) return await this.#giveIn(batch, NOBODYS)
      await this.#proceed(batch).catch((error: unknown) => {
        if (!isLost(error)) throw error
        return this.#giveIn(batch, error.message)
      })
    } finally {
      clearInterval(holding)
      this.#over.abort()
      for (const answer of this.#running.values()) answer.leave()
      void this.#writer?.close()
    }
  }

  async #proceed(batch: Batch): Promise<void> {
    // Also one that was cancelled before anybody had looked at it: each of its requests is told so.
    const ready = batch.plan ? batch : await this.#validate(batch)
    if (ready && !isOver(ready.state) && !this.#over.signal.aborted) await this.#work(ready)
  }

  /** Renews the lease, and learns what has become of the batch meanwhile. */
  look(): Promise<void> {
    return (this.#looking ??= this.#hold().finally(() => (this.#looking = undefined)))
  }

  async #hold(): Promise<void> {
    const held = await this.#deps.broker.batches.hold(this.lease)
    if (!held) return this.#end()
    this.#deadline = performance.now() + held.leftMs
    if (held.state === 'cancelling') this.#cancelling = true
    this.#wake?.()
  }

  /** This gateway is being stopped: another goes on. Jobs that are under way go on meanwhile. */
  async stop(): Promise<void> {
    await Promise.race([this.#writer?.flush(), sleep(LAST_MS)])
    this.#end()
    await this.#deps.broker.batches.giveBack(this.lease)
  }

  #end(): void {
    this.#over.abort()
    this.#wake?.()
  }

  /** @returns the batch as it is then; `undefined`: it is over for this gateway */
  async #validate(batch: Batch): Promise<Batch | undefined> {
    const { store, broker, view, onDemand, settings, callerOf } = this.#deps
    const { spec } = batch
    const caller = callerOf(batch.owner)
    const seen = visibleTo(caller ?? {}, view)
    const found = await validate({
      content: this.#untilOver(contentOf(store, spec.inputParts)),
      spec,
      limits: { lines: settings.batchLines, lineBytes: settings.bodyLimit },
      resolve: async (request) => {
        const dialect = dialects[spec.dialect]
        const requires = { engine: request.engine ?? dialect.engine, layout: request.layout }
        const model = await seen.resolve(request.model)
        const brought = model === undefined && isServedByPulled(requires) ? onDemand?.admits(request.model) : undefined
        if (brought !== undefined && caller?.allowsModel?.(brought) !== false) return brought
        if (model === undefined) throw missing(seen, dialect, request.model)
        checkHope(view, model, { dialect, request, requires: { layout: request.layout } })
        return model
      },
    })
    if (this.#over.signal.aborted) return undefined
    if ('errors' in found) {
      if (this.#cancelling) await this.#finish(batch, 'cancelled')
      else await broker.batches.finish(this.lease, batch, 'failed', { errors: found.errors, ...(await this.#left(batch)) })
      return undefined
    }
    const name = `${batch.id}.${this.lease.number}.index`
    await store.write(name, found.index.bytes)
    const known = { total: found.index.length, plan: { models: found.models, index: name } }
    const state = await broker.batches.turn(this.lease, 'validating', 'in_progress', store.id, known)
    // Cancelled meanwhile: its requests are counted all the same, and each is told so.
    if (state === 'cancelling') await broker.batches.turn(this.lease, state, state, store.id, known)
    else if (state !== 'in_progress') return undefined
    return broker.batches.read(batch.id)
  }

  async *#untilOver(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of content) {
      if (this.#over.signal.aborted) return
      yield chunk
    }
  }

  async #work(batch: Batch): Promise<void> {
    const { store, broker, onError } = this.#deps
    const { spec, plan, counts } = batch
    if (!plan) return this.#finish(batch, 'cancelled')
    const index = new LineIndex(await store.read(plan.index, 0, LineIndex.bytesOf(counts.total)))
    const reader = new RangeReader(store, spec.inputParts)
    this.#done = Buffer.alloc(Math.ceil(counts.total / 8))
    ;(await broker.batches.done(batch.id)).copy(this.#done)
    const writer = (this.#writer = new ResultWriter({
      batches: broker.batches,
      store,
      lease: this.lease,
      signal: this.#over.signal,
      onStored: (results) => this.#onStored(results),
      onRefused: () => this.#end(),
      onError,
    }))
    const starts = index.starts(plan.models.length)
    const sections = plan.models.map((model, i): Section => ({ model, next: starts[i]!, end: starts[i + 1]!, notBefore: 0 }))
    while (!this.#over.signal.aborted) {
      if (this.#cancelling || batch.state === 'cancelling') return this.#giveUp(batch, 'cancelled', index, reader)
      const caller = this.#deps.callerOf(batch.owner)
      if (!caller || !may(caller, 'batch')) {
        await broker.batches.cancel(batch.id, almighty(OPERATOR))
        this.#cancelling = true
        continue
      }
      await this.#feed(sections, caller.batchShare, (line) => this.#give(batch, line, index, reader, caller, dialects[spec.dialect]))
      await this.#forget()
      if (this.#running.size === 0 && writer.waiting === 0 && this.#again.length === 0 && sections.every(({ next, end }) => next >= end)) break
      if (performance.now() >= this.#deadline) return this.#giveUp(batch, 'expired', index, reader)
      await this.#news()
    }
    if (this.#over.signal.aborted) return
    const state = batch.state === 'finalizing' ? batch.state : await broker.batches.turn(this.lease, 'in_progress', 'finalizing', store.id)
    if (state === 'finalizing') await this.#finish(batch, ((await broker.batches.read(batch.id))?.counts.expired ?? 0) > 0 ? 'expired' : 'completed')
    else if (state === 'cancelling') await this.#finish(batch, 'cancelled')
  }

  /** Waits for news. */
  #news(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LOOK_MS)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #isDone(line: number): boolean {
    return (this.#done[line >> 3]! & (0x80 >> (line & 7))) !== 0
  }

  /**
   * Requests for the model that stands first in the file go first, so that engines need not change models; those for others go along
   * where there is an engine that has none of what is before them.
   */
  async #feed(sections: readonly Section[], share: number, give: (line: number) => Promise<'given' | 'later'>): Promise<void> {
    const { view } = this.#deps
    for (let line = this.#again.pop(); line !== undefined; line = this.#again.pop()) {
      if ((await give(line)) === 'given') continue
      this.#again.push(line)
      return
    }
    const taken = new Set<string>()
    for (const section of sections) {
      if (section.next >= section.end) continue
      const holders = (view.holders.get(section.model as ModelName) ?? []).filter(({ node }) => !node.draining)
      const engines = holders.map(({ node, engine }) => `${node.id}/${engine.id}`)
      if (engines.length > 0 && engines.every((engine) => taken.has(engine))) continue
      for (const engine of engines) taken.add(engine)
      if (performance.now() < section.notBefore) continue
      const slots = holders.reduce((sum, { engine }) => sum + slotsFor(engine, section.model as ModelName), 0)
      const window = share < 1 ? Math.max(1, Math.floor(share * slots)) : Math.max(4, Math.ceil(PER_SLOT * slots))
      let mine = 0
      for (const line of this.#running.keys()) if (line < section.end && line >= this.#firstOf(section, sections)) mine += 1
      for (; section.next < section.end && mine < window && this.#hasRoom(); section.next += 1) {
        if (this.#over.signal.aborted || this.#cancelling) return
        if (this.#isDone(section.next) || this.#running.has(section.next)) continue
        if ((await give(section.next)) === 'later') {
          section.notBefore = performance.now() + AGAIN_MS
          break
        }
        mine += 1
      }
    }
  }

  #firstOf(section: Section, sections: readonly Section[]): number {
    const at = sections.indexOf(section)
    return at === 0 ? 0 : sections[at - 1]!.end
  }

  #hasRoom(): boolean {
    return this.#running.size < MOST_JOBS && (this.#bytes < MOST_BYTES || this.#running.size === 0) && (this.#writer?.waiting ?? 0) < 2 * MOST_JOBS
  }

  /** `later`: it cannot be taken just now. */
  async #give(batch: Batch, line: number, index: LineIndex, reader: RangeReader, caller: Caller, dialect: Dialect): Promise<'given' | 'later'> {
    const { offset, length } = index.at(line)
    const bytes = await reader.read(offset, length).catch((error: unknown) => {
      if (isUnavailable(error)) return undefined
      throw error
    })
    if (!bytes) return 'later'
    const { customId, body } = readLine(bytes)
    const answer = new LineAnswer(
      { line, customId, bytes: length, job: lineJobId(batch.spec.seed, line) },
      { gathered: this.#gathered, onEnd: (mine, record) => this.#ended(mine, record, dialect), onLost: (mine) => this.#lost(mine) },
    )
    this.#running.set(line, answer)
    this.#bytes += length
    try {
      const request = readRequest(dialect, body)
      this.#deps.admission.checkMemory()
      const into = await intake(this.#deps, { dialect, request, caller, class: 'batch', headers: {} })
      const timeoutMs = Math.max(1, Math.ceil(this.#deadline - performance.now()))
      answer.attach(await into.submit({ id: answer.job, body: JSON.stringify(request.body), timeoutMs, background: true, keepMs: KEEP_MS }, answer))
      if (this.#over.signal.aborted) answer.leave()
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.code === 'internal') throw thrown
      if (!this.#running.has(line)) return 'given'
      if (error.retry === 'caller' || (error.code === 'model_not_found' && batch.spec.view === 'openai')) {
        this.#drop(answer)
        return 'later'
      }
      this.#store(answer, { line, end: 'failed', failed: true, text: failureLine(answer, dialect, error) })
    }
    return 'given'
  }

  #drop(answer: LineAnswer): void {
    if (!this.#running.delete(answer.line)) return
    this.#bytes -= answer.bytes
  }

  #store(answer: LineAnswer, result: Result): void {
    this.#drop(answer)
    this.#writer?.add({ ...result, answer })
  }

  /** Its queue knows it no longer: it is given out again, under the same id. */
  #lost(answer: LineAnswer): void {
    answer.release()
    this.#drop(answer)
    this.#again.push(answer.line)
    this.#wake?.()
  }

  #ended(answer: LineAnswer, record: TerminalRecord, dialect: Dialect): void {
    const { line } = answer
    const text = answer.take()
    const failed = (error: BrokerError) => this.#store(answer, { line, end: 'failed', failed: true, text: failureLine(answer, dialect, error) })
    if (record.outcome === 'completed') {
      const made = answerLine(answer, answer.status, text)
      if (made === undefined) failed(new BrokerError('engine_protocol', 'the engine answered something that is not JSON'))
      else this.#store(answer, { line, end: 'completed', failed: false, text: made })
    } else if (record.outcome === 'failed') failed(record.error ? fromErrorInfo(record.error) : new BrokerError('internal', 'the job failed'))
    else this.#store(answer, { line, end: record.outcome, failed: true, text: unrunLine(answer, record.outcome) })
    this.#wake?.()
  }

  #onStored(results: readonly Result[]): void {
    const jobs: LineAnswer['job'][] = []
    for (const { line, answer } of results) {
      this.#done[line >> 3]! |= 0x80 >> (line & 7)
      if (!answer) continue
      answer.release()
      jobs.push(answer.job)
    }
    this.#stored.push({ at: performance.now(), jobs })
    this.#wake?.()
  }

  async #forget(olderMs = FORGET_MS): Promise<void> {
    while (this.#stored.length > 0 && performance.now() - this.#stored[0]!.at >= olderMs) await this.#deps.broker.batches.forget(this.#stored.shift()!.jobs)
  }

  /** What runs is ended, and what has no answer is told so: each request stands in one of the files. */
  async #giveUp(batch: Batch, outcome: 'cancelled' | 'expired', index: LineIndex, reader: RangeReader): Promise<void> {
    const { jobs } = this.#deps.broker
    const { signal } = this.#over
    await this.#endRunning(outcome)
    const left = Array.from({ length: index.length }, (_, line) => line).filter((line) => !this.#isDone(line))
    for (let from = 0; from < left.length && !signal.aborted; from += UNRUN_AT_ONCE) {
      const some = left.slice(from, from + UNRUN_AT_ONCE)
      // Another gateway may have given them out before this one took over.
      if (this.lease.number > 1) await Promise.all(some.map((line) => jobs.end(lineJobId(batch.spec.seed, line), outcome)))
      for (const line of some) {
        const { offset, length } = index.at(line)
        const { customId } = readLine(await reader.read(offset, length))
        this.#writer?.add({ line, end: outcome, failed: true, text: unrunLine({ customId, job: lineJobId(batch.spec.seed, line) }, outcome) })
      }
      await this.#writer?.flush()
    }
    if (!signal.aborted) await this.#finish(batch, outcome)
  }

  /** Whatever its engines do, it is enough. */
  async #endRunning(outcome: 'cancelled' | 'expired'): Promise<void> {
    while (this.#running.size > 0 && !this.#over.signal.aborted) {
      await Promise.all([...this.#running.values()].map(({ job }) => this.#deps.broker.jobs.end(job, outcome)))
      if (this.#running.size > 0) await this.#news()
    }
    await this.#writer?.flush()
  }

  /** Without content that it needs a batch can only end: what runs still may, and what has no answer by then never will have one. */
  async #giveIn(batch: Batch, why: string): Promise<void> {
    const { signal } = this.#over
    const isCancelled = () => this.#cancelling || batch.state === 'cancelling'
    while (this.#running.size > 0 && !signal.aborted && !isCancelled() && performance.now() < this.#deadline) await this.#news()
    await this.#endRunning(isCancelled() ? 'cancelled' : 'expired')
    if (signal.aborted) return
    const { batches } = this.#deps.broker
    const { total, completed, failed, cancelled, expired } = ((await batches.read(batch.id)) ?? batch).counts
    const end = isCancelled() ? 'cancelled' : 'failed'
    const message = `The batch cannot go on: ${why}. Requests that were not answered by then are counted as ${end}, and stand in no file.`
    const errors = [{ code: 'content_lost', message, param: null, line: null }]
    await batches.finish(this.lease, batch, end, { errors, rest: { count: total - completed - failed - cancelled - expired, end }, ...(await this.#left(batch)) })
    await this.#forget(0)
  }

  async #finish(batch: Batch, state: 'completed' | 'cancelled' | 'expired'): Promise<void> {
    await this.#deps.broker.batches.finish(this.lease, batch, state, await this.#left(batch))
    await this.#forget(0)
  }

  /** The files that it leaves: what counts of all that was written, by whichever gateway. */
  async #left({ id, spec }: Batch) {
    const parts = await this.#deps.broker.batches.parts(id)
    const file = (fileId: string, kind: 'out' | 'err', name: string) => {
      const its = parts.filter(([part, bytes]) => isOfKind(part, kind) && bytes > 0)
      return { id: fileId, name: `${id}_${name}.jsonl`, parts: its, bytes: its.reduce((sum, [, bytes]) => sum + bytes, 0) }
    }
    return { output: file(spec.output, 'out', 'output'), failures: file(spec.errors, 'err', 'error') }
  }
}

import type { DesiredModelStore } from '@drover/broker'
import { BrokerError, changesTo, NO_MEMORY, toBrokerError, type Change, type DesiredMemory, type DesiredReport, type DesiredState, type FleetNode, type ModelName, type NodeRecord } from '@drover/core'
import type { Progress } from '@drover/dialects'
import { Attempts, changeKey } from './attempts.ts'
import { fleetOf } from './fleet.ts'
import { doneIn, remember } from './remember.ts'

export interface ReconcilerOptions {
  /** This gateway. */
  id: string
  store: Pick<DesiredModelStore, 'turn' | 'giveBack'>
  /** Describes what is still to be described; absent: nothing. */
  describe?(): Promise<void>
  nodes(): readonly NodeRecord[]
  refresh(): Promise<void>
  silentFor(): Promise<ReadonlyMap<string, number>>
  /** ms for which signs of life could be heard. */
  heardMs(): number
  /** Redis is there, and has been for long enough that the silence of others says something. */
  mayJudge(): boolean
  graceMs: number
  perform(change: Change, how: { signal: AbortSignal; onLine(line: Progress): void }): Promise<void>
  onDone(fields: { action: string; model: ModelName; node: string; ms: number }): void
  onFailed(fields: { action: string; model: ModelName; node: string; reason: string; tries: number; again_ms: number }): void
  onError(error: unknown): void
  /** ms of a clock that never goes back; `performance.now` by default. */
  now?: () => number
}

/** What was written down last, JSON, and when. */
interface Told {
  text: string
  at: number
}

interface Running {
  change: Change
  abort: AbortController
  /** Epoch ms. */
  since: number
  last?: Progress
}

/** How often every gateway looks whether something is to be done, ms. */
const LOOK_MS = 2_000
/** Changes under way at once: pulls, and others. */
const MOST_PULLS = 4
const MOST_OTHERS = 8
/** What was done is written down again after so long: a Redis that is killed forgets its last second, ms. */
const TELL_AGAIN_MS = 20_000
/** Who has lost the turn follows what it has begun for so long, so that whoever has it now can join it, ms. */
const HAND_OVER_MS = 10_000

const isPull = ({ action }: Change): boolean => action === 'pull'
const shown = ({ action, model, node }: Change) => ({ action, model, node })

/** Brings nodes to what is described: every gateway looks, and one at a time acts. */
export class Reconciler {
  #options: ReconcilerOptions
  #now: () => number
  #timer: NodeJS.Timeout
  #running = new Map<string, Running>()
  #attempts = new Attempts()
  /** What is known while the turn is ours; of no worth otherwise. */
  #mine: { version: number; memory: DesiredMemory; told?: Told | undefined } | undefined
  #lostAt: number | undefined
  #drift = 0
  #looking = false
  #again = false
  #failing = false
  #stopped = false

  constructor(options: ReconcilerOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#timer = setInterval(() => void this.look(), LOOK_MS)
  }

  /** Things that are not as described, as they were last seen; 0 where another gateway acts. */
  get drift(): number {
    return this.#drift
  }

  /** Looks now; while a look is under way, once more behind it. */
  async look(): Promise<void> {
    this.#again = true
    if (this.#looking) return
    this.#looking = true
    try {
      while (this.#again && !this.#stopped && this.#options.mayJudge()) {
        this.#again = false
        await this.#once()
        this.#failing = false
      }
    } catch (error) {
      // What is repeated every two seconds fails every two seconds: that is said once. A Redis that is away others speak of.
      if (!this.#failing && !this.#stopped && !(error instanceof BrokerError && error.retry === 'caller')) this.#options.onError(error)
      this.#failing = true
    } finally {
      this.#looking = false
    }
  }

  async #once(): Promise<void> {
    const { id, store, describe } = this.#options
    await describe?.()
    const turn = await store.turn(id, { held: this.#mine !== undefined })
    if (!turn) return this.#notOurs()
    this.#lostAt = undefined
    if (this.#mine?.version !== turn.version) this.#attempts.clear()
    const memory = this.#mine?.memory ?? turn.memory ?? NO_MEMORY
    this.#mine = { version: turn.version, memory, told: this.#mine?.told }
    const { nodes, changes } = await this.#compare(turn.state, memory)
    if (this.#stopped) return
    const now = this.#now()
    const wanted = new Map(changes.actions.map((change) => [changeKey(change), change]))
    this.#attempts.prune(now)
    this.#drift = changes.drift.length
    this.#leaveUnwanted(wanted, nodes)
    const due = this.#due(changes.actions, now)
    const busy = new Set([...this.#running.values()].map(({ change: { model, node } }) => `${model} ${node}`))
    const isOpen = (change: Pick<Change, 'action' | 'model' | 'node'>) => busy.has(`${change.model} ${change.node}`) || (wanted.has(changeKey(change)) && !this.#attempts.hasFailed(change))
    // What was done meanwhile is in `#mine` already.
    const next = remember(this.#mine.memory, { nodes, counted: changes.counted, due, isOpen })
    this.#mine.memory = next
    const [text, { told }] = [JSON.stringify(next), this.#mine]
    const isNew = text !== told?.text || now - told.at > TELL_AGAIN_MS
    if (!(await store.turn(id, { held: true, ...(isNew && { memory: next }), report: this.#report(turn.version) }))) return this.#notOurs()
    if (this.#stopped) return
    if (isNew) this.#mine.told = { text, at: now }
    for (const change of due) this.#begin(change)
  }

  async #compare(desired: DesiredState, memory: DesiredMemory): Promise<{ nodes: FleetNode[]; changes: ReturnType<typeof changesTo> }> {
    const { refresh, silentFor, heardMs, nodes: living, graceMs } = this.#options
    await refresh()
    const silent = await silentFor()
    const now = this.#now()
    // What is being deleted is no copy any more: else another could be taken for the one that is too many.
    const deleting = [...this.#running.values()].filter(({ change }) => change.action === 'delete')
    const leaving = (node: string) => new Set(deleting.filter(({ change }) => change.node === node).map(({ change }) => change.model))
    const nodes = fleetOf({ nodes: living(), silent, heardMs: heardMs(), graceMs, memory, leaving, failing: (node) => this.#attempts.failing(node, now) })
    return { nodes, changes: changesTo({ desired, nodes, memory: this.#mine?.memory ?? memory }) }
  }

  #due(actions: readonly Change[], now: number): Change[] {
    const busy = [...this.#running.values()].map(({ change }) => change)
    const free = actions.filter((change) => !this.#running.has(changeKey(change)) && this.#attempts.mayTry(change, now))
    const room = (most: number, of: (change: Change) => boolean) => free.filter(of).slice(0, Math.max(0, most - busy.filter(of).length))
    return [...room(MOST_OTHERS, (change) => !isPull(change)), ...room(MOST_PULLS, isPull)]
  }

  /** A pull that nobody wants there any more is left: when no client waits for it either, it stops. */
  #leaveUnwanted(wanted: ReadonlyMap<string, Change>, nodes: readonly FleetNode[]): void {
    for (const [key, { change, abort }] of this.#running)
      if (change.action === 'pull' && !wanted.has(key) && !nodes.some(({ node, held }) => node === change.node && held.has(change.model))) abort.abort()
  }

  #notOurs(): void {
    this.#mine = undefined
    this.#drift = 0
    if (this.#running.size === 0) return
    this.#lostAt ??= this.#now()
    if (this.#now() - this.#lostAt > HAND_OVER_MS) for (const { abort } of this.#running.values()) abort.abort()
  }

  #begin(change: Change): void {
    const { perform, onDone, onFailed, onError } = this.#options
    const { action, model, node } = change
    const running: Running = { change, abort: new AbortController(), since: Date.now() }
    this.#running.set(changeKey(change), running)
    const { signal } = running.abort
    const startedAt = this.#now()
    void perform(change, { signal, onLine: (line) => (running.last = line) })
      .then(
        () => {
          if (this.#mine) this.#mine.memory = doneIn(this.#mine.memory, change)
          this.#attempts.note(change, undefined, this.#now())
          onDone({ action, model, node, ms: Math.round(this.#now() - startedAt) })
        },
        (thrown: unknown) => {
          const error = toBrokerError(thrown)
          if (error.code === 'internal') onError(thrown)
          // A node that has gone is waited for, or replaced, and what was left on purpose has not failed.
          if (signal.aborted || error.code === 'node_lost') return
          const againMs = this.#attempts.note(change, error.message, this.#now())
          const tries = this.#attempts.failures.find((each) => changeKey(each.change) === changeKey(change))?.tries ?? 1
          onFailed({ action, model, node, reason: error.message, tries, again_ms: againMs })
        },
      )
      .finally(() => {
        this.#running.delete(changeKey(change))
        void this.look()
      })
  }

  #report(version: number): DesiredReport {
    const inEpoch = Date.now() - this.#now()
    return {
      gateway: this.#options.id,
      at: Date.now(),
      version,
      running: [...this.#running.values()].map(({ change, since, last }) => ({ ...shown(change), since, ...(last?.total !== undefined && { completed: last.completed ?? 0, total: last.total }) })),
      failures: this.#attempts.failures.map(({ change, error, tries, nextAt }) => ({ ...shown(change), error, tries, nextAt: Math.round(inEpoch + nextAt) })),
    }
  }

  /** Begins nothing more, and lets another gateway go on; what is under way is followed until this one goes. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#mine = undefined
    await this.#options.store.giveBack(this.#options.id).catch(() => undefined)
  }
}

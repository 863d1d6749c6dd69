import type { Frame, JobId } from '@drover/core'
import type { Follow } from './follow.ts'
import type { Keys } from './keys.ts'
import { FORGETS_MS } from './limits.ts'
import type { Scripts } from './scripts.ts'

export interface FollowsOptions {
  keys: Keys
  scripts: Scripts
  /** There are frames of a job that nobody here serves. */
  onStranger(job: JobId): void
  /** Redis does not know the job. */
  onUnknown(follow: Follow): Promise<void>
}

/** What workers publish to a gateway. */
interface Message {
  job: JobId
  attempt: number
  /** Token of the lease that wrote it, '' for nobody's. */
  lease: string
  first: number
  frames: Frame[]
}

/** Silent jobs asked after in one call. */
const AT_ONCE = 200

/** The jobs that a gateway follows: who gets which frames, and how far those are that have been silent. */
export class Follows {
  #options: FollowsOptions
  #follows = new Map<JobId, Follow[]>()
  /** Jobs whose answer has come to its end here a moment ago, oldest first: a Redis that is killed may forget that, and their workers say it again. */
  #over = new Map<JobId, number>()
  /** Where the next turn begins. */
  #round: MapIterator<Follow[]> = this.#follows.values()

  constructor(options: FollowsOptions) {
    this.#options = options
  }

  /** Jobs. */
  get size(): number {
    return this.#follows.size
  }

  has(id: JobId): boolean {
    return this.#follows.has(id)
  }

  add(follow: Follow): void {
    this.#follows.set(follow.id, [...(this.#follows.get(follow.id) ?? []), follow])
  }

  /** `false`: it was none of them. */
  remove(follow: Follow): boolean {
    const all = this.#follows.get(follow.id)
    if (!all?.includes(follow)) return false
    const others = all.filter((each) => each !== follow)
    if (others.length > 0) this.#follows.set(follow.id, others)
    else this.#follows.delete(follow.id)
    return true
  }

  /** Its answer has come to its end. */
  done(follow: Follow): void {
    this.remove(follow)
    this.#over.set(follow.id, performance.now())
  }

  /** Redis is there again: what it may have forgotten is recent once more. */
  afterOutage(): void {
    for (const id of this.#over.keys()) this.#over.set(id, performance.now())
  }

  /** Lets go of what Redis forgets no more. */
  prune(): void {
    const old = performance.now() - FORGETS_MS
    for (const [id, at] of this.#over) {
      if (at > old) break
      this.#over.delete(id)
    }
  }

  /** @param text what was published */
  receive(text: string): void {
    for (const { job, attempt, lease, first, frames } of JSON.parse(text) as Message[]) {
      const follows = this.#follows.get(job)
      if (follows) for (const follow of follows) follow.receive(first, attempt, lease, frames)
      // Its end may be on its way once more: who left it now, as the last one, would end it otherwise.
      else if (!this.#over.has(job)) this.#options.onStranger(job)
    }
  }

  /**
   * The truth behind the notifications: how far are the jobs that have been silent for so long?
   * @param most asked after in this turn: of more, each has its turn later
   */
  async lookAfter(silentMs: number, most = Infinity): Promise<void> {
    const { scripts, keys, onUnknown } = this.#options
    const silent = this.#silentFor(silentMs, most)
    for (let i = 0; i < silent.length; i += AT_ONCE) {
      const some = silent.slice(i, i + AT_ONCE)
      const numbers = (await scripts.progress(some.map(({ id }) => keys.job(id)), []).catch(() => [])) as number[]
      for (const [index, next] of numbers.entries()) {
        const follow = some[index]!
        if (next > 0) follow.known(next)
        else await onUnknown(follow)
      }
    }
  }

  #silentFor(silentMs: number, most: number): Follow[] {
    const now = performance.now()
    const silent: Follow[] = []
    for (let left = this.#follows.size; left > 0 && silent.length < most; left -= 1) {
      let { value: follows } = this.#round.next()
      if (!follows) {
        this.#round = this.#follows.values()
        follows = this.#round.next().value ?? []
      }
      for (const follow of follows) if (now - follow.heard >= silentMs) silent.push(follow)
    }
    return silent
  }
}

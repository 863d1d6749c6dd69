import type { Change, ModelName } from '@drover/core'

/** How long a change that failed, or has come to nothing, is left alone: at first, and at most, ms. */
const FIRST_MS = 5_000
const MOST_MS = 300_000
/** What has not been tried again for so long after that is forgotten, ms. */
const FORGET_MS = 600_000

/** Of a change that was tried: times in a row, why it failed (absent: it was done, and may be wanted again), and when it may be tried anew. */
export interface Attempt {
  change: Change
  tries: number
  error?: string
  /** `performance.now()`. */
  nextAt: number
}

export const changeKey = ({ action, model, node }: Pick<Change, 'action' | 'model' | 'node'>): string => `${action} ${model} ${node}`

/** What was tried, so that nothing is tried over and over. */
export class Attempts {
  #tried = new Map<string, Attempt>()

  /** Notes how a change has ended. @returns ms until it may be tried again */
  note(change: Change, error: string | undefined, now: number): number {
    const tries = (this.#tried.get(changeKey(change))?.tries ?? 0) + 1
    const waitMs = Math.min(MOST_MS, FIRST_MS * 2 ** (tries - 1))
    this.#tried.set(changeKey(change), { change, tries, nextAt: now + waitMs, ...(error !== undefined && { error }) })
    return waitMs
  }

  mayTry(change: Change, now: number): boolean {
    return (this.#tried.get(changeKey(change))?.nextAt ?? -Infinity) <= now
  }

  /** Models that could not be brought to a node just now. */
  failing(node: string, now: number): ReadonlySet<ModelName> {
    return new Set(this.failures.filter(({ change, nextAt }) => change.action === 'pull' && change.node === node && nextAt > now).map(({ change }) => change.model))
  }

  get failures(): (Attempt & { error: string })[] {
    return [...this.#tried.values()].filter((each): each is Attempt & { error: string } => each.error !== undefined)
  }

  hasFailed(change: Pick<Change, 'action' | 'model' | 'node'>): boolean {
    return this.#tried.get(changeKey(change))?.error !== undefined
  }

  /** Forgets what is long ago. */
  prune(now: number): void {
    for (const [key, { nextAt }] of this.#tried) if (now > nextAt + FORGET_MS) this.#tried.delete(key)
  }

  /** What is described is another: all may be tried at once. */
  clear(): void {
    this.#tried.clear()
  }
}

import type { Redis } from 'ioredis'
import { FORGETS_MS } from './limits.ts'

/**
 * What was answered a moment ago, to be sent again when Redis comes back: one that was killed may have forgotten it. Only for scripts that
 * do nothing the second time.
 */
export class Recent {
  #sent: { at: number; send(): Promise<unknown> }[] = []
  /** While Redis is away nothing grows old: what it had just answered when it went is what it may have forgotten. */
  #away = false

  constructor(redis: Redis) {
    redis.on('close', () => {
      this.#fresh()
      this.#away = true
    })
    redis.on('ready', () => {
      this.#away = false
      for (const recent of this.#sent) {
        recent.at = performance.now()
        void recent.send().catch(() => undefined)
      }
    })
  }

  /** Sends it now, and again should it be forgotten. @param done whether an answer says that something was done; by default each does */
  async send<T>(send: () => Promise<T>, done: (answer: T) => boolean = () => true): Promise<T> {
    const answer = await send()
    if (done(answer)) this.#fresh().push({ at: performance.now(), send })
    return answer
  }

  #fresh() {
    if (this.#away) return this.#sent
    const old = performance.now() - FORGETS_MS
    while (this.#sent.length > 0 && this.#sent[0]!.at < old) this.#sent.shift()
    return this.#sent
  }
}

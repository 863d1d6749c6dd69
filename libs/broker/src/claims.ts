import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import { Recent } from './recent.ts'
import type { Scripts } from './scripts.ts'
import { keyReused } from './submission.ts'

export interface Claim {
  /** What kind of thing it is, whose, and under which key, as a digest: keys are their clients' own text. */
  name: string
  /** The same for the same request only. */
  fingerprint: string
  /** What it will be called, should it be the first. */
  id: string
  keepMs: number
}

/** What requests with a key stand for that make something else than a job. */
export class Claims {
  #options: { keys: Keys; scripts: Scripts }
  #recent: Recent

  constructor(options: { redis: Redis; keys: Keys; scripts: Scripts }) {
    this.#options = options
    this.#recent = new Recent(options.redis)
  }

  /** @returns the id under which it is, or is to be, made @throws BrokerError `key_reused`, `broker_unavailable` */
  async claim({ name, fingerprint, id, keepMs }: Claim): Promise<string> {
    const { keys, scripts } = this.#options
    const its = (await soon(this.#recent.send(() => scripts.claim([keys.claim(name)], [fingerprint, id, keepMs])))) as string
    if (its === '') throw keyReused()
    return its
  }
}

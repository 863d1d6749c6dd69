import { randomBytes } from 'node:crypto'
import { ApiKey, BrokerError, changedKey, holdOf, type Entrance, type Hold, type KeyChange, type KeyWish, type Owner } from '@drover/core'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import { keyHash, type Keyring } from './keyring.ts'
import type { Keys } from './keys.ts'
import { Recent } from './recent.ts'
import type { Scripts } from './scripts.ts'

export interface KeyChangesOptions {
  redis: Redis
  keys: Keys
  scripts: Scripts
  keyring: Keyring
}

/** A key as it is given out, once. */
export interface NewKey {
  key: ApiKey
  /** What its holder sends. Nobody can read it again. */
  text: string
}

interface Changed {
  before: ApiKey | undefined
  after: ApiKey | undefined
}

/** All of them lie in every gateway's memory. */
const MOST_KEYS = 20_000
/** Somebody else has changed the same key, or what must hold for it, meanwhile. */
const MOST_TRIES = 5

/** Makes, changes and revokes API keys. Every change is known here when it resolves, and to other gateways at once. */
export class KeyChanges {
  #options: KeyChangesOptions
  #recent: Recent

  constructor(options: KeyChangesOptions) {
    this.#options = options
    this.#recent = new Recent(options.redis)
  }

  /** @throws BrokerError `bad_request` when there are too many, or nobody could manage keys then; `broker_unavailable` */
  async add(wish: KeyWish, entrance: Entrance): Promise<NewKey> {
    const id = `k${randomBytes(8).toString('hex')}` as Owner
    const { text, hash } = newSecret(id)
    const key = ApiKey.parse({ ...wish, id, hash, created_at: new Date(this.#options.keyring.now()).toISOString() })
    await this.#change(id, () => key, entrance).catch((error: unknown) => {
      // What was sent may still arrive, and nobody has its secret. This comes behind it, on the same connection.
      void this.#send([id, JSON.stringify(key), ''], { kind: 'nothing' }).catch(() => undefined)
      throw error
    })
    return { key, text }
  }

  /**
   * Another secret for the same key; the one before opens for `graceMs` more. `undefined`: there is no such key.
   * @throws BrokerError `broker_unavailable`
   */
  async rotate(id: string, graceMs: number): Promise<NewKey | undefined> {
    const { text, hash } = newSecret(id)
    const { after } = await this.#change(id, (key) => {
      if (!key) return undefined
      const now = this.#options.keyring.now()
      const { previous: _, ...rest } = key
      return { ...rest, hash, rotated_at: new Date(now).toISOString(), ...(graceMs > 0 && { previous: { hash: key.hash, until: now + graceMs } }) }
    })
    return after && { key: after, text }
  }

  /**
   * What it may is otherwise from now on; its secret is the same. `undefined`: there is no such key.
   * @throws BrokerError `bad_request` when nobody could manage keys then; `broker_unavailable`
   */
  async set(id: string, change: KeyChange, entrance: Entrance): Promise<ApiKey | undefined> {
    const at = new Date(this.#options.keyring.now()).toISOString()
    return (await this.#change(id, (key) => key && changedKey(key, change, at), entrance)).after
  }

  /**
   * From now on nobody gets in with it. Answers whether there was such a key.
   * @throws BrokerError `bad_request` when nobody could manage keys then; `broker_unavailable`
   */
  async revoke(id: string, entrance: Entrance): Promise<boolean> {
    // Whatever it has become is revoked, should this have been forgotten.
    const { before } = await this.#recent.send(() => this.#change(id, () => undefined, entrance))
    return before !== undefined
  }

  /**
   * Others may change the same key meanwhile, or what must hold: then it is thought over.
   * @param entrance who manages keys besides; by default nobody
   */
  async #change(id: string, change: (key: ApiKey | undefined) => ApiKey | undefined, entrance: Entrance = { hasOperator: false, opensWithoutKeys: false }): Promise<Changed> {
    const { redis, keys, keyring } = this.#options
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const [text] = await soon(Promise.all([redis.hget(keys.apiKeys, id), keyring.refresh()]))
      const before = text === null ? undefined : ApiKey.parse(JSON.parse(text))
      const after = change(before)
      if (!before && !after) return { before, after }
      const others = keyring.all.filter((key) => key.id !== id)
      const hold = holdOf({ before, after }, others, keyring.size - (before ? 1 : 0), entrance)
      if (!hold) throw unmanaged(before ? 'this is the last key that may manage keys' : 'first there must be a key that may manage keys')
      const answer = await soon(this.#send([id, text ?? '', after ? JSON.stringify(after) : ''], hold))
      if (answer === 'full') throw new BrokerError('bad_request', `there are ${MOST_KEYS} keys already, and there can be no more: revoke those that nobody uses`, { status: 409 })
      if (answer === 'changed') continue
      await soon(keyring.refresh())
      return { before, after }
    }
    throw new BrokerError('broker_unavailable', `key '${id}' is being changed by others: try again`)
  }

  /** `changed`: by others, so that nothing was done. */
  async #send([id, before, after]: readonly [id: string, before: string, after: string], hold: Hold): Promise<'done' | 'changed' | 'full'> {
    const { scripts, keys, keyring } = this.#options
    const [keeper, held] = hold.kind === 'keeper' ? [hold.id, keyring.textOf(hold.id)] : ['', '']
    const args = [id, before, after, keys.apiKeysChanged, MOST_KEYS, keeper, held, hold.kind === 'alone' ? 1 : 0]
    // A new key is never told again: somebody may have revoked it since.
    const answer = await this.#recent.send(() => scripts.key([keys.apiKeys, keys.apiKeysVersion], args), (its) => its === 1 && before !== '' && after !== '')
    return answer === 1 ? 'done' : answer === 0 ? 'changed' : 'full'
  }
}

const unmanaged = (what: string) =>
  new BrokerError('bad_request', `${what}: else nobody could make or revoke keys. Keep a key with the scope "admin" that does not expire, or start this gateway with DROVER_API_KEY`, { status: 409 })

/** 256 random bits, behind what tells people (and programs that look for leaked keys) what this is. */
const newSecret = (id: string): { text: string; hash: string } => {
  const text = `drover_${id}_${randomBytes(32).toString('base64url')}`
  return { text, hash: keyHash(text) }
}

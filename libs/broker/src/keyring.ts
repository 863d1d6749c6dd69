import { hash, timingSafeEqual } from 'node:crypto'
import { ApiKey, BrokerError, keyCaller, type Caller, type Owner } from '@drover/core'
import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'

export interface KeyringOptions {
  redis: Redis
  subscriber: Redis
  keys: Keys
  onError(error: unknown): void
}

/** Notifications may be lost: the version is looked at this often, ms. */
const LOOK_MS = 1_000

interface Known {
  text: string
  key: ApiKey
  caller: Caller
}

/** One hash by which a key is found. */
interface Door {
  bytes: Buffer
  known: Known
  /** Epoch ms by Redis' clock; absent: for ever. */
  until: number | undefined
}

/** What is kept of a secret, and looked up for one that was sent. */
export const keyHash = (text: string): string => hash('sha256', text, 'hex')

/**
 * All API keys, in memory, as Redis has them: a request's key is looked up here and costs no call. A change is heard of at once, and
 * found out within a second where the word was lost. While Redis is away, what was known last holds; nothing can be asked of it then anyway.
 */
export class Keyring {
  #options: KeyringOptions
  #known = new Map<Owner, Known>()
  #doors = new Map<string, Door>()
  #version: string | null | undefined
  #size = 0
  /** From `performance.now()` to epoch ms by Redis' clock. */
  #offset = 0
  #reading: Promise<void> | undefined
  #again = false
  #timer: NodeJS.Timeout

  constructor(options: KeyringOptions) {
    this.#options = options
    const { subscriber, redis, keys } = options
    subscriber.on('message', (channel: string) => channel === keys.apiKeysChanged && this.#look())
    subscriber.on('ready', () => this.#look())
    redis.on('ready', () => {
      // One that was killed may have forgotten changes, and counted others under the same numbers.
      this.#version = undefined
      this.#look()
    })
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  /** Reads the keys for the first time. */
  async open(): Promise<void> {
    await this.#options.subscriber.subscribe(this.#options.keys.apiKeysChanged)
    await this.refresh()
  }

  /** How many there are, expired ones too. */
  get size(): number {
    return this.#size
  }

  get all(): readonly ApiKey[] {
    return [...this.#known.values()].map(({ key }) => key)
  }

  /** A key's record as it was read, `''` for one that is not there. */
  textOf(id: Owner): string {
    return this.#known.get(id)?.text ?? ''
  }

  /** Epoch ms by Redis' clock, as far as it is known here. */
  now(): number {
    return performance.now() + this.#offset
  }

  /** Who comes with the key of this hash. @throws BrokerError `unauthorized` when it is no key's, or no longer one's */
  identify(hashed: string): Caller {
    const door = this.#doors.get(hashed)
    if (!door || !timingSafeEqual(door.bytes, Buffer.from(hashed))) throw new BrokerError('unauthorized', 'the API key is not valid')
    if (door.until !== undefined && this.now() >= door.until) throw new BrokerError('unauthorized', 'the API key has expired')
    return door.known.caller
  }

  /** Who a key stands for, where something that it has made goes on without a request; `undefined`: it is revoked, or has expired. */
  callerOf(id: Owner): Caller | undefined {
    const known = this.#known.get(id)
    return known && !this.#isOver(known.key) ? known.caller : undefined
  }

  #isOver({ expires_at: at }: ApiKey): boolean {
    return at !== undefined && this.now() >= Date.parse(at)
  }

  #look(): void {
    void this.refresh().catch(this.#options.onError)
  }

  /** Brings what is known up to date. A change that happens while it reads is read, too, before this resolves. */
  async refresh(): Promise<void> {
    if (this.#reading) {
      this.#again = true
      return this.#reading
    }
    this.#reading = (async () => {
      do {
        this.#again = false
        await this.#read()
      } while (this.#again)
    })().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #read(): Promise<void> {
    const { redis, keys } = this.#options
    const sent = performance.now()
    // The version first: what changes behind it is seen at the next look.
    const [version, [seconds, micros]] = await Promise.all([redis.get(keys.apiKeysVersion), redis.time()])
    this.#offset = Number(seconds) * 1_000 + Number(micros) / 1_000 - (sent + performance.now()) / 2
    if (version === this.#version) return
    const texts = await redis.hgetall(keys.apiKeys)
    const known = new Map<Owner, Known>()
    const doors = new Map<string, Door>()
    for (const [id, text] of Object.entries(texts)) {
      const before = this.#known.get(id as Owner)
      const each = before?.text === text ? before : readKey(text)
      if (!each) continue
      const { key } = each
      known.set(key.id, each)
      const until = key.expires_at === undefined ? undefined : Date.parse(key.expires_at)
      doors.set(key.hash, { bytes: Buffer.from(key.hash), known: each, until })
      if (key.previous) doors.set(key.previous.hash, { bytes: Buffer.from(key.previous.hash), known: each, until: Math.min(key.previous.until, until ?? Infinity) })
    }
    this.#size = Object.keys(texts).length
    this.#known = known
    this.#doors = doors
    this.#version = version
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

/** A record that this version cannot read opens nothing, but it is a key: others are asked for theirs. */
const readKey = (text: string): Known | undefined => {
  const parsed = ApiKey.safeParse(JSON.parse(text))
  return parsed.success ? { text, key: parsed.data, caller: keyCaller(parsed.data) } : undefined
}

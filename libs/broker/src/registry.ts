import { descriptionText, ModelDescription, NODE_TTL_MS, NodeRecord } from '@drover/core'
import type { Redis } from 'ioredis'
import { JUDGE_AFTER_MS, upFor } from './connection.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** Gateways are given longer than nodes: their silence ends other people's jobs. */
export const GATEWAY_TTL_MS = 10_000

/** A model's description outlives its last holder by this long at most. */
const DESCRIPTION_TTL_MS = 60_000

export interface RegistryOptions {
  redis: Redis
  keys: Keys
  base: string
  scripts: Scripts
}

/** Signs of life, given and read. */
export class Registry {
  #options: RegistryOptions
  #sent = new Map<string, string>()
  #known = new Map<string, { text: string; record: NodeRecord }>()
  #up: () => number

  constructor(options: RegistryOptions) {
    this.#options = options
    this.#up = upFor(options.redis)
  }

  /**
   * Tells the others of this node. False: another living process has its name; one of the same `supervisor` is known to be dead.
   * Sends the record only when it has changed.
   */
  async nodeLives(record: NodeRecord, instance: string, supervisor = ''): Promise<boolean> {
    const { keys } = this.#options
    return this.#beat(keys.node(record.id), keys.nodes, record.id, instance, NODE_TTL_MS, JSON.stringify(record), supervisor)
  }

  async gatewayLives(id: string, instance: string): Promise<boolean> {
    const key = this.#options.keys.gateway(id)
    return this.#beat(key, key, id, instance, GATEWAY_TTL_MS, '{}', '')
  }

  async #beat(key: string, index: string, id: string, instance: string, ttl: number, text: string, supervisor: string): Promise<boolean> {
    const changed = this.#sent.get(key) !== text
    let answer = await this.#options.scripts.heartbeat([key, index], [id, instance, ttl, changed ? text : '', supervisor])
    if (answer === 0) answer = await this.#options.scripts.heartbeat([key, index], [id, instance, ttl, text, supervisor])
    if (answer === -1) return false
    this.#sent.set(key, text)
    return true
  }

  /** This process says goodbye, so that nobody waits for its silence. A name that is another's is left alone. */
  async leave(kind: 'node' | 'gateway', id: string): Promise<void> {
    const { redis, keys } = this.#options
    const key = kind === 'node' ? keys.node(id) : keys.gateway(id)
    if (this.#sent.delete(key)) await redis.del(key)
  }

  /** ms since the last sign of life of each node, by Redis' clock. */
  async silentFor(): Promise<Map<string, number>> {
    const { redis, keys } = this.#options
    const [[seconds, micros], words] = await Promise.all([redis.time(), redis.zrange(keys.nodes, '0', '-1', 'WITHSCORES')])
    const now = Number(seconds) * 1_000 + Number(micros) / 1_000
    const silent = new Map<string, number>()
    for (let i = 0; i < words.length; i += 2) silent.set(String(words[i]), Math.max(0, Math.round(now - Number(words[i + 1]))))
    return silent
  }

  /** Tells what an engine says of the model with this digest. */
  async describe(digest: string, description: ModelDescription): Promise<void> {
    const { redis, keys } = this.#options
    await redis.set(keys.description(digest), descriptionText(description), 'PX', DESCRIPTION_TTL_MS)
  }

  /** Keeps descriptions for another while; those that are not there are returned. */
  async keepDescriptions(digests: readonly string[]): Promise<string[]> {
    const { redis, keys } = this.#options
    const kept = await Promise.all(digests.map((digest) => redis.pexpire(keys.description(digest), DESCRIPTION_TTL_MS)))
    return digests.filter((_, i) => kept[i] !== 1)
  }

  /** What some engine says of the model with this digest, if any has told yet. */
  async description(digest: string): Promise<ModelDescription | undefined> {
    const { redis, keys } = this.#options
    const text = await redis.get(keys.description(digest))
    if (text === null) return undefined
    const parsed = ModelDescription.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  }

  /** All living nodes. Just after Redis was away, those that were known stay: they have not had time to speak. */
  async nodes(): Promise<NodeRecord[]> {
    const texts = (await this.#options.scripts.nodes([this.#options.keys.nodes], [this.#options.base])) as string[]
    const seen = new Map<string, { text: string; record: NodeRecord }>()
    const parsed = new Map([...this.#known.values()].map((known) => [known.text, known]))
    for (const text of texts) {
      const known = parsed.get(text) ?? read(text)
      if (known) seen.set(known.record.id, known)
    }
    if (this.#up() < JUDGE_AFTER_MS) for (const [id, known] of this.#known) if (!seen.has(id)) seen.set(id, known)
    this.#known = seen
    return [...seen.values()].map(({ record }) => record)
  }
}

/** A record of a version that this process cannot read is as good as none. */
const read = (text: string): { text: string; record: NodeRecord } | undefined => {
  const parsed = NodeRecord.safeParse(JSON.parse(text))
  return parsed.success ? { text, record: parsed.data } : undefined
}

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

/** To a node: there is something new for it, its next sign of life is answered with it. */
export const BEAT = JSON.stringify({ beat: true })

/** What a node learns by its sign of life: that it is to take jobs, or to be drained, or that another living process has its name. */
export type Told = 'work' | 'drain' | 'taken'

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
   * Tells the others of this node, and learns what it is to do. Its name is free again when a process of the same `supervisor` had it:
   * that one is known to be dead. Sends the record only when it has changed.
   */
  async nodeLives(record: NodeRecord, instance: string, supervisor = ''): Promise<Told> {
    const { keys } = this.#options
    return this.#beat(keys.node(record.id), keys.nodes, [record.id, instance, NODE_TTL_MS], JSON.stringify(record), [supervisor, keys.drained])
  }

  async gatewayLives(id: string, instance: string): Promise<boolean> {
    const key = this.#options.keys.gateway(id)
    return (await this.#beat(key, key, [id, instance, GATEWAY_TTL_MS], '{}', ['', ''])) !== 'taken'
  }

  async #beat(key: string, index: string, who: readonly (string | number)[], text: string, rest: readonly string[]): Promise<Told> {
    const beat = (record: string) => this.#options.scripts.heartbeat([key, index], [...who, record, ...rest])
    let answer = await beat(this.#sent.get(key) === text ? '' : text)
    if (answer === 0) answer = await beat(text)
    if (answer === -1) return 'taken'
    this.#sent.set(key, text)
    return answer === 2 ? 'drain' : 'work'
  }

  /** From now on, and until the contrary is said, a node is to take no jobs, or to take them; it learns so at once if it lives. */
  async setDrained(id: string, drained: boolean): Promise<void> {
    const { redis, keys } = this.#options
    await (drained ? redis.sadd(keys.drained, id) : redis.srem(keys.drained, id))
    await redis.publish(keys.control(id), BEAT)
  }

  /** The nodes that are to take no jobs, living or not. */
  async drained(): Promise<ReadonlySet<string>> {
    return new Set(await this.#options.redis.smembers(this.#options.keys.drained))
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

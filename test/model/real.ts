import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import type { JobId } from '@drover/core'
import { keys, type Lane } from '../../libs/broker/src/keys.ts'
import { Lanes } from '../../libs/broker/src/lanes.ts'
import { scripts, type Scripts } from '../../libs/broker/src/scripts.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { BODY, DIALECT, ENVELOPE, EXHAUSTED, LANE_BYTES, LANE_LIMIT, LATE, LOG_LIMIT, MOST_STARTS, OWNERS, type Append, type Entry, type HeldLease, type Submission } from './model.ts'

export const BASE = '{m}'
/** So long that nothing ends by itself while a history runs: all time is set by hand. */
const EVER_MS = 1e9

const named = keys(BASE)
const ADD = ['wait', 'marker', 'meta', 'id', 'prioritized', 'delayed', 'completed', 'active', 'events', 'pc']
const TAKE = ['wait', 'active', 'prioritized', 'events', 'stalled', 'limiter', 'delayed', 'paused', 'meta', 'pc', 'marker']
const laneKey = (lane: string, name: string) => named.ofLane(lane as Lane, name)
const jobKey = (id: string) => named.job(id as JobId)

/** All that Redis holds, but for BullMQ's events: key, type and content of each. */
const DUMP = `
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, -7) ~= ':events' then
    local type = redis.call('TYPE', key).ok
    local value
    if type == 'hash' then value = redis.call('HGETALL', key)
    elseif type == 'list' then value = redis.call('LRANGE', key, 0, -1)
    elseif type == 'set' then value = redis.call('SMEMBERS', key)
    elseif type == 'zset' then value = redis.call('ZRANGE', key, 0, -1, unpack(string.find(key, ':ranks$') and { 'WITHSCORES' } or string.find(key, ':since$') and { 'WITHSCORES' } or {}))
    elseif type == 'stream' then value = redis.call('XRANGE', key, '-', '+')
    else value = redis.call('GET', key) end
    all[#all + 1] = { key, value }
  end
end
return all`
/** All that is in one database of this Redis, into another. */
export const COPY = `
redis.call('SELECT', ARGV[2])
redis.call('FLUSHDB')
redis.call('SELECT', ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[2]) end
redis.call('SELECT', 0)`

interface Defined {
  modelDump(): Promise<[string, unknown][]>
  modelCopy(from: number, to: number): Promise<unknown>
}

/** A job as Redis has it. */
export interface SeenJob {
  fields: Record<string, string>
  log: Entry[]
  beside: boolean
}

/** What a look at Redis shows. Lists in Redis' order, sets sorted. */
export interface Picture {
  jobs: Record<string, SeenJob>
  lanes: Record<string, { prioritized: string[]; wait: string[]; active: string[]; stalled: string[]; ranks: Record<string, number>; since: Record<string, number> }>
  locks: Record<string, string>
  /** Jobs that BullMQ knows, each with its rank. */
  known: Record<string, number>
  deadlines: string[]
  bytes: Record<string, number>
  /** What webhooks are to be told: type, owner, hook and id of each. */
  events: string[]
}

const hash = (pairs: string[]) => Object.fromEntries(Array.from({ length: pairs.length / 2 }, (_, i) => [pairs[2 * i]!, pairs[2 * i + 1]!]))

const scores = (pairs: string[]) => Object.fromEntries(Object.entries(hash(pairs)).map(([member, score]) => [member, Number(score)]))

/** `redis`, but the Lua text of each script goes through `edit` first. */
export const edited = (redis: Redis, edit: (lua: string, script: string) => string): Redis =>
  new Proxy(redis, {
    get(target, name) {
      if (name === 'defineCommand')
        return (command: string, { lua }: { lua: string }) => target.defineCommand(command, { lua: edit(lua, command.replace('drover:', '')) })
      const value = Reflect.get(target, name) as unknown
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })

/** The scripts on a real Redis, called as gateways, workers and sweepers call them. */
export class RealBroker {
  readonly heard: [string, unknown][] = []
  #redis: Redis
  #subscriber: Redis
  #scripts: Scripts
  #lanes: Lanes
  #names: readonly string[]

  private constructor(redis: Redis, subscriber: Redis, lanes: readonly string[], edit: (lua: string, script: string) => string) {
    this.#redis = redis
    this.#subscriber = subscriber
    this.#scripts = scripts(edited(redis, edit))
    this.#lanes = new Lanes(redis, named)
    this.#names = lanes
    redis.defineCommand('modelDump', { lua: DUMP, numberOfKeys: 0 })
    redis.defineCommand('modelCopy', { lua: COPY, numberOfKeys: 0 })
  }

  /** @param edit what becomes of each script's Lua text before Redis has it */
  static async open(server: RedisServer, lanes: readonly string[], edit = (lua: string, _script: string) => lua): Promise<RealBroker> {
    const redis = new Redis({ ...server.connection, maxRetriesPerRequest: null })
    const subscriber = new Redis(server.connection)
    const broker = new RealBroker(redis, subscriber, lanes, edit)
    await broker.#lanes.ready()
    await subscriber.psubscribe(`${BASE}:replies:*`, `${BASE}:control:*`)
    subscriber.on('pmessage', (_pattern: string, channel: string, text: string) => {
      broker.heard.push([channel.slice(BASE.length + 1), JSON.parse(text)])
    })
    return broker
  }

  /** As before the first job, with these gateways alive. */
  async clear(gateways: readonly string[]): Promise<void> {
    await this.heardAll()
    await this.#redis.flushall()
    this.heard.length = 0
    for (const owner of OWNERS) await this.#redis.sadd(named.webhooksOf(owner), 'w')
    for (const gateway of gateways) await this.gatewayLives(gateway)
  }

  /** Resolves when all that was published has been heard, be it of another broker on the same Redis: no two fences have one name. */
  async heardAll(): Promise<void> {
    const channel = `replies:${randomUUID()}`
    await this.#redis.publish(`${BASE}:${channel}`, '0')
    while (this.heard.at(-1)?.[0] !== channel) await new Promise((resolve) => setImmediate(resolve))
    this.heard.pop()
  }

  submit(id: string, { lane, owner, entry, cost, follower, background, streamed, beside, ahead, hook, print, by }: Submission) {
    const names = [jobKey(id), named.body(id as JobId), named.lanes, named.deadlines, ...ADD.map((name) => laneKey(lane, name)), named.bytes, laneKey(lane, 'ranks'), laneKey(lane, 'since')]
    const facts = [id, lane, follower, EVER_MS, beside ? BODY : '', background ? 1 : 0, streamed ? 1 : 0, LANE_LIMIT, EVER_MS, laneKey(lane, '')]
    return this.#scripts.submit(names, [...facts, ENVELOPE, entry, DIALECT, '', LANE_BYTES, ahead, owner, hook, cost, print, by, '', 5, ''])
  }

  follow(id: string, gateway: string, owner: string) {
    return this.#scripts.follow([jobKey(id)], [gateway, owner])
  }

  /** Its answer, less the time to the deadline. */
  async take(lane: string, token: string, node: string, judge: boolean): Promise<unknown[]> {
    const names = [...TAKE.map((name) => laneKey(lane, name)), named.took(token), laneKey(lane, 'ranks'), laneKey(lane, 'since')]
    const args = [BASE, EVER_MS, laneKey(lane, ''), Date.now(), token, EVER_MS, node, MOST_STARTS, EXHAUSTED, LATE, judge ? 1 : 0]
    const answer = (await this.#scripts.take(names, args)) as unknown[]
    await this.#redis.persist(named.took(token))
    return answer.toSpliced(5, 1)
  }

  append(all: readonly Append[]) {
    const names = all.flatMap(({ lease: { job } }) => [jobKey(job), named.log(job as JobId), named.body(job as JobId)])
    const args = all.flatMap(({ lease: { job, attempt, token }, first, count, frames, record }) => [job, attempt, token, first, count, frames, record])
    return this.#scripts.append(names, [BASE, EVER_MS, LOG_LIMIT, ...args])
  }

  settle(id: string, outcome: string, error: string, follower: string) {
    return this.#scripts.settle([jobKey(id)], [BASE, EVER_MS, id, outcome, error, follower])
  }

  release({ job, lane, attempt, token }: HeldLease, counted: boolean, error: string) {
    return this.#scripts.release([jobKey(job), laneKey(lane, 'since')], [attempt, token, counted ? 1 : 0, error, job])
  }

  renew(leases: readonly HeldLease[], judge: boolean) {
    const names = leases.flatMap(({ job, lane }) => [jobKey(job), ...[`${job}:lock`, 'stalled', 'active'].map((name) => laneKey(lane, name))])
    return this.#scripts.renew(names, [BASE, EVER_MS, judge ? 1 : 0, ...leases.flatMap(({ job, token, attempt }) => [job, token, attempt])])
  }

  reclaim({ job, lane, token, attempt, node }: HeldLease) {
    const names = [jobKey(job), ...[`${job}:lock`, 'wait', 'prioritized', 'active', 'stalled', job, 'since'].map((name) => laneKey(lane, name))]
    return this.#scripts.reclaim(names, [job, token, attempt, node, EVER_MS])
  }

  sweep() {
    return this.#scripts.sweep([named.sweep, named.deadlines, named.jobsUntil], [BASE, EVER_MS, 'who', EVER_MS, LATE, 100])
  }

  read(id: string, from: number, most: number) {
    return this.#scripts.read([jobKey(id), named.log(id as JobId)], [from, most])
  }

  /** Of jobs that wait, what goes before each and what runs in its lane; of others -1 and 0; nothing of those that their owner alone may know. */
  async places(ids: readonly string[], owner: string): Promise<unknown[][]> {
    const [, ...rows] = (await this.#scripts.inspect(ids.map(jobKey), [BASE, owner, ...ids])) as [number, ...('' | unknown[])[]]
    return rows.map((row) => (row === '' ? [] : row.slice(17, 19)))
  }

  progress(ids: readonly string[]) {
    return this.#scripts.progress(ids.map(jobKey), [])
  }

  finishInLane({ lane, job, token }: Pick<HeldLease, 'lane' | 'job' | 'token'>) {
    return this.#lanes.finish(lane as Lane, job as JobId, token)
  }

  giveBack({ lane, job, token }: HeldLease) {
    return this.#lanes.giveBack(lane as Lane, job as JobId, token)
  }

  remove(lane: string, id: string) {
    return this.#lanes.remove(lane as Lane, id as JobId)
  }

  /** One look for stalled jobs, however short ago the last one was. */
  async recover(lane: string): Promise<string[]> {
    await this.#redis.del(laneKey(lane, 'stalled-check'))
    return this.#lanes.recoverStalled(lane as Lane)
  }

  async lockRunsOut(lane: string, id: string): Promise<void> {
    await this.#redis.del(laneKey(lane, `${id}:lock`))
  }

  async deadlinePasses(id: string): Promise<void> {
    await this.#redis.multi().hset(jobKey(id), 'dl', 1).zadd(named.deadlines, 'XX', 1, id).exec()
  }

  async turnEnds(): Promise<void> {
    await this.#redis.del(named.sweep)
  }

  async gatewayDies(gateway: string): Promise<void> {
    await this.#redis.del(named.gateway(gateway))
  }

  async gatewayLives(gateway: string): Promise<void> {
    await this.#redis.hset(named.gateway(gateway), 'instance', gateway)
  }

  async forget(id: string): Promise<void> {
    await this.#redis.del(jobKey(id), named.log(id as JobId))
  }

  async save(): Promise<void> {
    await (this.#redis as unknown as Defined).modelCopy(0, 1)
  }

  async rollBack(): Promise<void> {
    await (this.#redis as unknown as Defined).modelCopy(1, 0)
  }

  async look(): Promise<Picture> {
    const all = await (this.#redis as unknown as Defined).modelDump()
    const at = new Map(all)
    const list = (key: string) => (at.get(key) ?? []) as string[]
    const picture: Picture = { jobs: {}, lanes: {}, locks: {}, known: {}, deadlines: list(named.deadlines).toSorted(), bytes: {}, events: [] }
    for (const lane of this.#names)
      picture.lanes[lane] = {
        prioritized: list(laneKey(lane, 'prioritized')),
        wait: list(laneKey(lane, 'wait')),
        active: list(laneKey(lane, 'active')),
        stalled: list(laneKey(lane, 'stalled')).toSorted(),
        ranks: scores(list(laneKey(lane, 'ranks'))),
        since: scores(list(laneKey(lane, 'since'))),
      }
    for (const [lane, bytes] of Object.entries(hash(list(named.bytes)))) picture.bytes[lane] = Number(bytes)
    picture.events = list(named.outbox).map((text) => {
      const { type, own, hook, id, data } = JSON.parse(text) as Record<string, string>
      return [type, own, hook, id, data].join(' ')
    })
    for (const [key, value] of all) {
      const [, part, ...rest] = key.split(':')
      if (part === 'job' && rest.length === 1) {
        const id = rest[0]!
        picture.jobs[id] = {
          fields: hash(value as string[]),
          log: ((at.get(named.log(id as JobId)) ?? []) as [string, string[]][]).map(([first, fields]) => [parseInt(first), fields[1]!, fields[3]!]),
          beside: at.has(named.body(id as JobId)),
        }
      } else if (part === 'lane' && rest[2] === 'lock') picture.locks[rest[1]!] = value as string
      else if (part === 'lane' && rest.length === 2 && /^j\d$/.test(rest[1]!)) picture.known[rest[1]!] = Number(hash(value as string[])['priority'])
    }
    return picture
  }

  async close(): Promise<void> {
    await this.#lanes.close().catch(() => undefined)
    this.#subscriber.disconnect()
    this.#redis.disconnect()
  }
}

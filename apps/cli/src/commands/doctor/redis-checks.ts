import type { NodeRecord } from '@drover/core'
import { size, span } from '../units.ts'
import { fail, type Finding, ok, warn } from './check.ts'
import { holesOf } from './known-holes.ts'
import type { RedisAnswers } from './redis-facts.ts'
import { olderThan } from './versions.ts'

/** A clock that is off by more than this is worth a word, ms. Nothing of Drover's hangs on it, but logs and expiry times do. */
const SKEW_MS = 1_000

type RedisCheck = (answers: RedisAnswers) => Finding

const version: RedisCheck = ({ info }) => {
  const valkey = info.get('valkey_version')
  const program = valkey === undefined ? 'Redis' : 'Valkey'
  const number = valkey ?? info.get('redis_version') ?? ''
  const named = `${program} ${number}`
  // Below 6 there is no RESP3, which our client speaks; below 6.2 BullMQ advises against it.
  if (olderThan(number, '6.0')) return fail('redis version', `${named} is too old: it lacks RESP3`, 'install Redis 6.2 or newer, or Valkey')
  if (olderThan(number, '6.2')) return warn('redis version', `${named} is older than what BullMQ advises`, 'install Redis 6.2 or newer, or Valkey')
  const holes = holesOf(program, number)
  if (holes.length === 0) return ok('redis version', named)
  return warn(
    'redis version',
    `${named} has ${holes.join(', ')}`,
    'update it, unless your distribution has repaired it under the same number (see the package’s changelog); let nobody else reach it',
  )
}

const policy: RedisCheck = ({ info }) => {
  const value = info.get('maxmemory_policy') ?? ''
  if (value === 'noeviction') return ok('redis eviction', 'maxmemory-policy noeviction')
  return fail('redis eviction', `maxmemory-policy ${value}: jobs could vanish without a word`, 'redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf')
}

const persistence: RedisCheck = ({ info, config }) => {
  const fsync = config.get('appendfsync')
  if (info.get('aof_enabled') !== '1')
    return warn('redis append-only file', 'off: a restart of Redis loses every job that waits', 'redis-cli CONFIG SET appendonly yes, and the same in redis.conf')
  if (info.get('aof_last_write_status') === 'err')
    return fail('redis append-only file', 'cannot be written, so Redis refuses every change', 'see why in its log; most likely its disk is full')
  if (fsync === 'no')
    return warn('redis append-only file', 'appendfsync no: a power cut loses up to half a minute of jobs', 'redis-cli CONFIG SET appendfsync everysec, and the same in redis.conf')
  return ok('redis append-only file', fsync === undefined ? 'on' : `on, appendfsync ${fsync}`)
}

const memory: RedisCheck = ({ info }) => {
  const used = Number(info.get('used_memory') ?? 0)
  const set = Number(info.get('maxmemory') ?? 0)
  const limit = set || Number(info.get('total_system_memory') ?? 0)
  const text = limit > 0 ? `${size(used)} of ${size(limit)}${set > 0 ? '' : ' (the machine’s; no maxmemory)'}` : size(used)
  const share = limit > 0 ? used / limit : 0
  const step = 'give it more memory (maxmemory), or lower what may wait (--lane-limit of the gateway)'
  // When it is full, jobs can neither be added nor taken.
  if (share > 0.95) return fail('redis memory', `${text}: full, nothing can be added or taken`, step)
  return share > 0.7 ? warn('redis memory', `${text}: nearly full`, step) : ok('redis memory', text)
}

const isLoopback = (address: string): boolean => /^-?(127\.\d+\.\d+\.\d+|::1|localhost)$/.test(address)

const exposure: RedisCheck = ({ config, defaultUser, info }) => {
  const name = 'redis access'
  const bind = config.get('bind')
  if (bind === undefined) return ok(name, 'our user may not read its settings, as it should be')
  if (config.get('port') === '0' && (info.get('tcp_port') ?? '0') === '0') return ok(name, 'by its socket only')
  const beyond = bind.split(' ').filter((address) => address !== '' && !isLoopback(address))
  if (bind.trim() !== '' && beyond.length === 0) return ok(name, 'from this machine only')
  const locked = config.get('requirepass') !== '' || defaultUser?.includes('off') || (defaultUser !== undefined && !defaultUser.includes('nopass'))
  const where = beyond.join(' ') || 'every address'
  if (locked) return ok(name, `listens on ${where}, with a password`)
  if (config.get('protected-mode') === 'yes') return ok(name, `listens on ${where}, but protected mode lets in this machine only`)
  return fail(name, `listens on ${where} without a password: everybody who reaches it can run code on it`, 'set requirepass or ACL users, or bind it to 127.0.0.1; "drover up --share" does it for you')
}

const clock: RedisCheck = ({ skewMs, skewErrorMs }) => {
  if (skewMs === undefined) return ok('redis clock', 'our user may not ask for it')
  const off = Math.max(0, Math.abs(skewMs) - skewErrorMs)
  if (off < SKEW_MS) return ok('redis clock', 'agrees with ours')
  return warn('redis clock', `is ${span(off)} ${skewMs > 0 ? 'ahead of' : 'behind'} ours`, 'set the clocks by NTP on both machines (timedatectl set-ntp true)')
}

/** A node tells its clock only by when it has started: one that has yet to start, by Redis' clock, is ahead. */
const nodeClocks: RedisCheck = ({ nodes, skewMs = 0 }) => {
  const now = Date.now() + skewMs
  const ahead = nodes.filter(({ startedAt }) => startedAt - now > SKEW_MS).map(({ id, startedAt }) => `${id} (${span(startedAt - now)} or more)`)
  if (ahead.length === 0) return ok('node clocks', nodes.length === 0 ? 'no node is there' : 'none is seen to be ahead')
  return warn('node clocks', `ahead of Redis: ${ahead.join(', ')}`, 'set their clocks by NTP (timedatectl set-ntp true)')
}

/** Models that are not the same everywhere: an answer then depends on where it was made. */
export const differingModels = (nodes: readonly NodeRecord[]): { model: string; nodes: string[] }[] => {
  const holders = new Map<string, { digest: string; node: string }[]>()
  for (const { id, engines } of nodes)
    for (const { held } of engines)
      for (const { model, digest } of held) holders.set(model, [...(holders.get(model) ?? []), { digest, node: id }])
  return [...holders]
    .filter(([, places]) => new Set(places.map(({ digest }) => digest)).size > 1)
    .map(([model, places]) => ({ model, nodes: places.map(({ node, digest }) => `${node} ${digest.slice(0, 12)}`) }))
}

const digests: RedisCheck = ({ nodes }) => {
  const differing = differingModels(nodes)
  if (differing.length === 0) return ok('model digests', 'every model is the same on all nodes')
  const text = differing.map(({ model, nodes }) => `${model} (${nodes.join(', ')})`).join('; ')
  return warn('model digests', `different weights under one name: ${text}`, 'pull the model again where it is old, or give one of them another name')
}

const checks: readonly RedisCheck[] = [version, policy, persistence, memory, exposure, clock, nodeClocks, digests]

/** Everything that the answers of a Redis tell. */
export const judgeRedis = (answers: RedisAnswers): Finding[] => checks.map((check) => check(answers))

import { expect, test } from 'vitest'
import { judgeRedis } from './redis-checks.ts'
import type { RedisAnswers } from './redis-facts.ts'

const INFO = { redis_version: '8.6.3', maxmemory_policy: 'noeviction', aof_enabled: '1', aof_last_write_status: 'ok', used_memory: '1000000', maxmemory: '0', total_system_memory: '8000000000', tcp_port: '6379' }
const CONFIG = { appendfsync: 'everysec', bind: '127.0.0.1 -::1', 'protected-mode': 'yes', requirepass: '', port: '6379' }

const stateOf = (name: string, { info = {}, config = CONFIG, ...more }: { info?: Record<string, string>; config?: Record<string, string> } & Partial<Omit<RedisAnswers, 'info' | 'config'>>) => {
  const answers = { defaultUser: ['on', 'nopass'], skewMs: 2, skewErrorMs: 1, nodes: [], ...more, info: new Map(Object.entries({ ...INFO, ...info })), config: new Map(Object.entries(config)) }
  return judgeRedis(answers).find((finding) => finding.name === name)?.state
}

test.each([
  ['redis version', {}, 'ok'],
  ['redis version', { info: { redis_version: '5.0.14' } }, 'fail'],
  ['redis version', { info: { redis_version: '6.0.16' } }, 'warn'],
  ['redis version', { info: { redis_version: '7.2.4', valkey_version: '8.1.4' } }, 'ok'],
  ['redis eviction', { info: { maxmemory_policy: 'volatile-lru' } }, 'fail'],
  ['redis append-only file', { info: { aof_enabled: '0' } }, 'warn'],
  ['redis append-only file', { info: { aof_last_write_status: 'err' } }, 'fail'],
  ['redis append-only file', { config: { ...CONFIG, appendfsync: 'no' } }, 'warn'],
  ['redis memory', { info: { used_memory: '800', maxmemory: '1000' } }, 'warn'],
  ['redis memory', { info: { used_memory: '960', maxmemory: '1000' } }, 'fail'],
  ['redis access', {}, 'ok'],
  ['redis access', { config: { ...CONFIG, bind: '*', 'protected-mode': 'no' } }, 'fail'],
  ['redis access', { config: { ...CONFIG, bind: '', 'protected-mode': 'no' } }, 'fail'],
  ['redis access', { config: { ...CONFIG, bind: '0.0.0.0', 'protected-mode': 'yes' } }, 'ok'],
  ['redis access', { config: { ...CONFIG, bind: '0.0.0.0', 'protected-mode': 'no', requirepass: 'x' } }, 'ok'],
  ['redis access', { config: { ...CONFIG, bind: '0.0.0.0', 'protected-mode': 'no' }, defaultUser: ['off'] }, 'ok'],
  ['redis access', { config: {} }, 'ok'],
  ['redis clock', { skewMs: -5_000 }, 'warn'],
  ['redis clock', { skewMs: 5_000, skewErrorMs: 4_500 }, 'ok'],
  ['redis clock', { skewMs: undefined }, 'ok'],
] as const)('%s of %j is %s', (name, answers, state) => {
  expect(stateOf(name, answers)).toBe(state)
})

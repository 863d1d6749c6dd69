import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { Installation } from '../support/drover.ts'
import { test } from '../support/world.ts'

test.concurrent('without Redis a gateway and a worker say so in one line and end', async ({ onTestFinished }) => {
  const nowhere = new Installation('unix:/nonexistent/redis.sock')
  onTestFinished(() => nowhere.stop())
  const ends = await Promise.all([nowhere.refused('gateway'), nowhere.refused('worker')])
  for (const { code, said } of ends) {
    // Not 2: Redis may come up later, so a supervisor is to try again.
    expect(code).toBe(1)
    expect(said).toMatch(/^Redis at unix:\/nonexistent\/redis\.sock cannot be used: .*ENOENT.*$/)
  }
})

test.concurrent('a password of Redis is not in what is said of it', async ({ onTestFinished }) => {
  const nowhere = new Installation('redis://drover:hunter2secret@127.0.0.1:1/0')
  onTestFinished(() => nowhere.stop())
  const { code, said } = await nowhere.refused('gateway')
  expect(code).toBe(1)
  expect(said).toMatch(/^Redis at redis:\/\/.*@127\.0\.0\.1:1.* cannot be used: .*ECONNREFUSED.*$/)
  expect(said).not.toContain('hunter2secret')
})

test.concurrent('a port that is in use is named in one line', async ({ drover, onTestFinished }) => {
  const taken = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void taken.close())
  await once(taken, 'listening')
  const address = taken.address()
  const port = typeof address === 'object' ? String(address?.port) : ''
  const { code, said } = await drover.refused('gateway', { DROVER_PORT: port })
  expect(code).toBe(2)
  expect(said.split('\n').filter((line) => !line.startsWith('{'))).toEqual([`cannot listen on 127.0.0.1:${port}: something else listens there already`])
})

test.concurrent('everything that is wrong in flags, environment and file is said in one report', async ({ onTestFinished }) => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-config-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'drover.yaml')
  await writeFile(file, 'gateway:\n  port: 99999\n  bodyLmit: 1mb\nworker:\n  slots: 0\n  engine:\n    - ftp://elsewhere\nshared:\n  logLevel: chatty\n')
  const nowhere = new Installation('unix:/nonexistent/redis.sock')
  onTestFinished(() => nowhere.stop())
  const env = { DROVER_CONFIG: file, DROVER_PORT: '', DROVER_LANE_LIMIT: 'many', DROVER_API_KEY: 'short' }
  const [gateway, worker] = await Promise.all([nowhere.refused('gateway', env, ['--timout', '5s']), nowhere.refused('worker', { DROVER_CONFIG: file })])
  expect(gateway.code).toBe(2)
  expect(gateway.said).toMatch(/^\d problems in the configuration:\n/)
  for (const part of [
    /flag --timout: unknown.*--timeout/, /environment DROVER_LANE_LIMIT: .*many/, /environment DROVER_API_KEY: /, /drover\.yaml:2: gateway\.port: .*99999/,
    /drover\.yaml:3: gateway\.bodyLmit: unknown.*bodyLimit/, /drover\.yaml:9: gateway\.logLevel: .*chatty/,
  ]) expect(gateway.said).toMatch(part)
  // A key is a secret even when it is a bad one.
  expect(gateway.said).not.toContain('"short"')
  expect(worker.code).toBe(2)
  for (const part of [/drover\.yaml:5: worker\.slots: /, /drover\.yaml:6: worker\.engine: .*http/, /logLevel: .*chatty/]) expect(worker.said).toMatch(part)
})

test.concurrent('a configuration file that is not YAML, or not there, is named', async ({ onTestFinished }) => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-config-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'drover.yaml')
  await writeFile(file, 'gateway: [1, 2\n  port: : 5\n')
  const nowhere = new Installation('unix:/nonexistent/redis.sock')
  onTestFinished(() => nowhere.stop())
  const [broken, absent] = await Promise.all([
    nowhere.refused('gateway', { DROVER_CONFIG: file }), nowhere.refused('gateway', {}, ['--config', join(folder, 'none.yaml')]),
  ])
  expect(broken.code).toBe(2)
  expect(broken.said).toContain(file)
  expect(absent.code).toBe(2)
  expect(absent.said).toContain(join(folder, 'none.yaml'))
})

test.concurrent('beyond loopback a gateway wants a key, or to be told that it is open', async ({ drover }) => {
  for (const { code, said } of await Promise.all(['0.0.0.0', '::', '192.0.2.1'].map((host) => drover.refused('gateway', { DROVER_HOST: host })))) {
    expect(code).toBe(2)
    expect(said).toMatch(/^the gateway would listen on \S+ for everybody: make a key first \(drover keys create\), set DROVER_API_KEY, or say --open if that is wanted$/)
  }
})

test.concurrent('two workers cannot have one node’s name at a time', async ({ drover }) => {
  const gateway = await drover.gateway()
  await drover.worker('same', [], { gateway })
  const { code, said } = await drover.refused('worker', { DROVER_NODE: 'same' })
  expect(code).toBe(2)
  expect(said).toContain('a living worker is called same already')
})

test('a Redis that evicts keys is refused, unless that is wanted', async ({ drover, redis, onTestFinished }) => {
  const client = new Redis(redis.connection)
  onTestFinished(async () => {
    await client.config('SET', 'maxmemory-policy', 'noeviction')
    client.disconnect()
  })
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  const ends = await Promise.all([drover.refused('gateway'), drover.refused('worker')])
  for (const { code, said } of ends) {
    expect(code).toBe(2)
    expect(said).toMatch(/^Redis evicts keys \(maxmemory-policy allkeys-lru\).*noeviction.*--allow-eviction$/)
  }
  const gateway = await drover.gateway({}, ['--allow-eviction'])
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200)
})

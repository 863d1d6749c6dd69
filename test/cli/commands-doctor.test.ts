import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { until } from '../support/drover.ts'
import { freePort } from '../support/program.ts'
import { redisServerPath, startRedis } from '../support/redis-server.ts'
import { test } from '../support/world.ts'
import { temporaryFolder } from './cli.ts'
import { done } from './commands-setup.ts'

interface Report {
  ok: boolean
  checks: { name: string; state: string; text: string; step: string | null }[]
}

/** What the doctor says where nothing but `env` is set, on a port of its own. */
const examined = async (env: Record<string, string>): Promise<{ code: number | string; report: Report; of: (name: string) => Report['checks'][number] | undefined }> => {
  const redis = redisServerPath()
  const base = { DROVER_LOOK: 'false', DROVER_PORT: String(await freePort()), DROVER_DATA: await temporaryFolder('data'), ...(redis && { DROVER_REDIS_SERVER: redis }) }
  const { code, output, errors } = await done(['doctor', '--json'], { env: { ...base, ...env } })
  if (errors !== '') throw new Error(errors)
  const report = JSON.parse(output) as Report
  return { code, report, of: (name) => report.checks.find((check) => check.name === name) }
}

test('a Redis as it should be, and an engine of today, pass', async ({ redis, scripted }) => {
  const engine = await scripted()
  const { code, report, of } = await examined({ DROVER_REDIS_URL: redis.url, DROVER_ENGINE: engine.url })
  expect(report.checks.filter(({ state }) => state === 'fail')).toEqual([])
  expect({ code, ok: report.ok }).toEqual({ code: 0, ok: true })
  for (const name of ['node', 'redis', 'redis eviction', 'redis append-only file', 'redis memory', 'redis access', 'redis clock', 'node clocks', 'model digests', 'gateway port', 'data folder', 'redis program'])
    expect({ name, state: of(name)?.state }).toEqual({ name, state: 'ok' })
  expect(of('redis append-only file')?.text).toBe('on, appendfsync everysec')
  expect(of(`engine ${new URL(engine.url).host}`)).toEqual({ name: expect.any(String) as string, state: 'ok', text: 'ollama 0.33.0, 1 models, 0 in memory', step: null })
})

test('a Redis that evicts, with nothing kept on disk, fails, and it is said what to do', async () => {
  const redis = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru', '--appendonly', 'no'] })
  onTestFinished(() => redis.stop())
  const { code, report, of } = await examined({ DROVER_REDIS_URL: redis.url })
  expect({ code, ok: report.ok }).toEqual({ code: 1, ok: false })
  expect(of('redis eviction')).toMatchObject({ state: 'fail', text: expect.stringContaining('allkeys-lru') as string, step: expect.stringContaining('noeviction') as string })
  expect(of('redis append-only file')).toMatchObject({ state: 'warn', step: expect.stringContaining('appendonly yes') as string })
})

test('a Redis that is down fails when it was named, and is no failure where drover up would start one', async () => {
  const down = await examined({ DROVER_REDIS_URL: 'redis://:secret-word@127.0.0.1:1' })
  expect(down.code).toBe(1)
  expect(down.of('redis')).toMatchObject({ state: 'fail', text: expect.stringContaining('ECONNREFUSED') as string })
  expect(JSON.stringify(down.report)).not.toContain('secret-word')
  // What stands at the usual place of this machine is not ours to know; none is no failure.
  const unnamed = await examined({})
  expect(['ok', 'warn']).toContain(unnamed.of('redis')?.state)
})

test('where none is named the private Redis of drover up is looked at', async ({ redis }) => {
  const { of } = await examined({ DROVER_DATA: redis.dir })
  expect(of('redis')).toMatchObject({ state: 'ok', text: expect.stringContaining(redis.dir) as string })
})

test('old engines are told with their holes, and one that is not there with what to do', async ({ redis, scripted }) => {
  const [old, llama] = await Promise.all([scripted({ version: '0.16.3' }), scripted({ kind: 'llama-server' })])
  const { code, of } = await examined({ DROVER_REDIS_URL: redis.url, DROVER_ENGINE: `${old.url},${llama.url},http://127.0.0.1:1` })
  expect(code).toBe(1)
  expect(of(`engine ${new URL(old.url).host}`)).toMatchObject({ state: 'warn', text: expect.stringContaining('CVE-2026-7482') as string, step: expect.stringContaining('update') as string })
  expect(of(`engine ${new URL(llama.url).host}`)).toMatchObject({ state: 'ok', text: expect.stringContaining('llama-server b11669') as string })
  expect(of('engine http://127.0.0.1:1')).toMatchObject({ state: 'fail', text: expect.stringContaining('refused the connection') as string })
})

test('one name for different weights on two nodes is seen', async ({ redis, drover, scripted }) => {
  const [one, other] = await Promise.all([scripted({ models: [{ name: 'm', digest: 'a'.repeat(64) }] }), scripted({ models: [{ name: 'm', digest: 'b'.repeat(64) }] })])
  await Promise.all([drover.worker('one', [one.url]), drover.worker('other', [other.url])])
  const digests = async () => (await examined({ DROVER_REDIS_URL: redis.url, DROVER_PREFIX: drover.prefix })).of('model digests')
  await until('both nodes tell their models', async () => (await digests())?.state === 'warn')
  expect((await digests())?.text).toMatch(/m:latest \(one aaaaaaaaaaaa, other bbbbbbbbbbbb\)/)
})

test('the gateway’s port may be its own, but nobody else’s', async ({ redis, drover }) => {
  const gateway = await drover.gateway()
  const stranger = createServer((_, response) => void response.end('hello')).listen(0, '127.0.0.1')
  await once(stranger, 'listening')
  onTestFinished(() => void stranger.close())
  const address = stranger.address()
  const env = { DROVER_REDIS_URL: redis.url }
  const own = await examined({ ...env, DROVER_PORT: new URL(gateway.url).port })
  expect(own.of('gateway port')).toMatchObject({ state: 'ok', text: expect.stringContaining('Drover’s') as string })
  const taken = await examined({ ...env, DROVER_PORT: String(typeof address === 'object' && address ? address.port : 0) })
  expect(taken.of('gateway port')).toMatchObject({ state: 'fail', step: expect.stringContaining('--port') as string })
})

test('for people each finding is a line with what to do; folders and programs that are wrong are named', async ({ redis }) => {
  const folder = await temporaryFolder('models')
  await mkdir(folder)
  await writeFile(join(folder, 'a.gguf'), '')
  const env = { DROVER_LOOK: 'false', DROVER_REDIS_URL: redis.url, DROVER_PORT: String(await freePort()), DROVER_DATA: await temporaryFolder('data') }
  const wrong = await done(['doctor', '--models-dir', '/nowhere', '--llama-server', '/nowhere/llama-server'], { env })
  expect(wrong.code).toBe(1)
  expect(wrong.output).toMatch(/^fail {2}models folder: \/nowhere cannot be read \(ENOENT\) — make it, or correct DROVER_MODELS_DIR$/m)
  expect(wrong.output).toMatch(/^fail {2}llama-server program: .*correct its path$/m)
  for (const line of wrong.output.trimEnd().split('\n')) expect(line).toMatch(/^(ok  |warn|fail) {2}[^:]+: .+/)
  const right = await done(['doctor', '--models-dir', folder], { env })
  expect(right.output).toMatch(/^ok {4}models folder: \S+, 1 GGUF files$/m)
})

import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { drover, greeted, nothingLeft, temporaryFolder } from '../cli/cli.ts'
import { startScriptedEngine } from '../engine/server.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { freePort } from '../support/program.ts'
import { startRedis } from '../support/redis-server.ts'

const share = async (data: string, port: number, ...more: string[]) => {
  const up = drover(['up', '--data', data, '--port', '0', '--no-worker', '--share', '127.0.0.1', '--share-port', `${port}`, ...more])
  const url = await greeted(up)
  await until('the line is printed', () => /--join drover:\/\/worker/.test(up.output()))
  const [, token = '', password = ''] = /--join (drover:\/\/worker:(\w+)@\S+)/.exec(up.output()) ?? []
  return { up, url, token, password }
}

const client = (port: number, username?: string, password?: string): Redis => {
  const redis = new Redis({ host: '127.0.0.1', port, ...(username && { username }), ...(password && { password }), enableReadyCheck: false, retryStrategy: () => null })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

test('a gateway and a worker join with their tokens, from a file too, and answer; the passwords stay the same over a restart', async () => {
  const engine = await startScriptedEngine({ models: ['tiny:latest'] })
  onTestFinished(() => engine.close())
  const [data, port] = [await temporaryFolder('data'), await freePort()]
  const first = await share(data, port, '--share-gateway')
  expect((await stat(join(data, 'share.json'))).mode & 0o777).toBe(0o600)
  expect((await stat(join(data, 'share-users.acl'))).mode & 0o777).toBe(0o600)
  expect(await readFile(join(data, 'share-users.acl'), 'utf8')).not.toContain(first.password)

  const file = await temporaryFolder('token')
  await writeFile(file, `${first.token}\n`, { mode: 0o600 })
  const worker = drover(['worker', '--node', 'b', '--engine', engine.url], { DROVER_JOIN_FILE: file })
  const [gatewayToken = ''] = /drover:\/\/gateway:\S+/.exec(first.up.output()) ?? []
  const gateway = drover(['gateway', '--port', '0', '--join', gatewayToken])
  await until('the gateway listens', () => gateway.output().includes('"listening"') || !gateway.running())
  const [, url = ''] = /"url":"([^"]+)"/.exec(gateway.output()) ?? []
  await until('the worker is known to both', async () => (await statusOf(url)).nodes.length === 1 && (await statusOf(first.url)).nodes.length === 1)
  const told = await Promise.all([url, first.url].map((at, n) => ask(at, 'openai.chat', { key: `joined-${n}`, model: 'tiny', script: { tokens: 20 } }).told))
  for (const each of told) expect(each).toMatchObject({ status: 200, ended: true, verdict: { ok: true } })
  for (const each of [gateway, worker, first.up]) each.signal('SIGTERM')
  expect(await Promise.all([gateway.exited, worker.exited, first.up.exited])).toEqual([0, 0, 0])
  expect(worker.output() + gateway.output()).not.toContain(first.password)

  await chmod(join(data, 'share.json'), 0o644)
  const second = await share(data, port)
  expect(second.token).toBe(first.token)
  expect(second.up.output()).not.toContain('drover://gateway')
  expect((await stat(join(data, 'share.json'))).mode & 0o777).toBe(0o600)
  // Killed with its guard: the next one, which shares nothing, still ends the Redis that was left behind.
  for (const [pid, line] of await second.up.processes()) if (/redis-guard|cli\/src\/main/.test(line)) process.kill(pid, 'SIGKILL')
  const third = drover(['up', '--data', data, '--port', '0', '--no-worker'])
  await greeted(third)
  expect(third.output()).not.toContain('--join')
  third.signal('SIGTERM')
  expect(await third.exited).toBe(0)
  await Promise.all([second.up, third].map(nothingLeft))
}, 90_000)

test('the worker’s user can do nothing to Redis, nothing outside its keys, and nothing that is a gateway’s', async () => {
  const [data, port] = [await temporaryFolder('data'), await freePort()]
  const { up, password } = await share(data, port)
  const worker = client(port, 'worker', password)
  expect(await worker.ping()).toBe('PONG')
  expect(await worker.hset('{drover}:job:x', 'a', 'b')).toBe(1)
  expect(await worker.publish('{drover}:replies:g', 'x')).toBe(0)
  const refused: [string, ...string[]][] = [
    ['flushall'], ['config', 'get', '*'], ['keys', '*'], ['scan', '0'], ['acl', 'list'], ['shutdown'], ['monitor'], ['client', 'list'],
    ['get', 'elsewhere'], ['set', '{other}:lanes', 'x'], ['get', '{drover}:key:x'], ['hgetall', '{drover}:file:x'], ['hset', '{drover}:gateway:g', 'instance', 'mine'],
    ['set', '{drover}:wire', '9'], ['subscribe', '{drover}:replies:g'], ['subscribe', '{other}:control:n'], ['psubscribe', '*'], ['publish', '{other}:replies:g', 'x'],
    ['eval', "return redis.call('GET', 'elsewhere')", '0'], ['eval', "return redis.call('FLUSHALL')", '0'], ['eval', "return redis.call('HSET', '{drover}:gateway:g', 'a', 'b')", '0'],
  ]
  for (const [command, ...args] of refused) {
    const answer = await worker.call(command, ...args).then((value) => `allowed: ${String(value)}`, (error: Error) => error.message)
    expect([command, ...args, answer].join(' ')).toMatch(/NOPERM|ACL failure in script|can't access at least one of the keys|can't run this command/)
  }
  for (const stranger of [client(port), client(port, 'default', ''), client(port, 'worker', `${password}x`)]) {
    expect(await stranger.ping().catch((error: Error) => error.message)).toMatch(/NOAUTH|WRONGPASS|Connection is closed/)
  }
  up.signal('SIGTERM')
  expect(await up.exited).toBe(0)
})

const one = async (args: string[], env: Record<string, string> = {}) => {
  const command = drover(args, env)
  return { code: await command.exited, said: command.output().trim() }
}

test('what does not fit is one line that says why and what to do', async () => {
  const [data, port] = [await temporaryFolder('data'), await freePort()]
  const { up, token } = await share(data, port)
  const admin = client(port, 'gateway', (JSON.parse(await readFile(join(data, 'share.json'), 'utf8')) as { gateway: string }).gateway)

  const [wrong, away, role, twice, none, nonsense] = await Promise.all([
    one(['worker', '--join', token.replace('worker:', 'worker:x')]),
    // Nobody listens on the first port.
    one(['worker', '--join', 'drover://worker:x@127.0.0.1:1']),
    one(['gateway', '--join', token]),
    one(['worker', '--join', token, '--redis-url', 'redis://127.0.0.1:6379']),
    one(['up', '--data', await temporaryFolder('other'), '--announce']),
    one(['worker', '--join', 'redis://x']),
  ])
  expect(wrong).toMatchObject({ code: 1, said: expect.stringMatching(/^Redis at .* cannot be used: WRONGPASS .*join anew$/) })
  expect(away).toMatchObject({ code: 1, said: expect.stringMatching(/^Redis at .* cannot be used: connect ECONNREFUSED 127\.0\.0\.1:1$/) })
  expect(role).toMatchObject({ code: 2, said: expect.stringMatching(/^the token of --join is one for a worker, and this is a gateway: .*$/) })
  expect(twice).toMatchObject({ code: 2, said: expect.stringMatching(/^--redis-url and --join each say where Redis is: .*$/) })
  expect(none).toMatchObject({ code: 2, said: expect.stringMatching(/^--announce and --share-gateway go with --share: .*$/) })
  expect(nonsense).toMatchObject({ code: 2, said: expect.stringMatching(/flag --join: expected what "drover up --share" prints/) })

  // Gateways of another time write what this one cannot read.
  up.signal('SIGSTOP')
  for (const [pid, line] of await up.processes()) if (line.includes('apps/gateway')) process.kill(pid, 'SIGSTOP')
  await admin.set('{drover}:wire', '9')
  const old = await one(['worker', '--join', token])
  for (const pid of (await up.processes()).keys()) process.kill(pid, 'SIGCONT')
  expect(old).toMatchObject({ code: 2, said: expect.stringMatching(/^this Drover is too old for the gateways there .*: install the same version on both$/) })
  up.signal('SIGTERM')
  expect(await up.exited).toBe(0)

  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  const own = await one(['up', '--data', await temporaryFolder('own'), '--share', '127.0.0.1'], { REDIS_URL: redis.url })
  expect(own).toMatchObject({ code: 2, said: expect.stringMatching(/^--share is for the private Redis, and this one is your own.*docs\/joining\.md.*$/) })
}, 90_000)

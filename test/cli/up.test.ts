import { createServer } from 'node:net'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { askRedis } from '../../apps/cli/src/up/redis-probe.ts'
import { startScriptedEngine } from '../engine/server.ts'
import { until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'
import { drover, greeted, nothingLeft, temporaryFolder } from './cli.ts'

const scripted = async () => {
  const engine = await startScriptedEngine({ models: ['tiny:latest'] })
  onTestFinished(() => engine.close())
  return engine
}

/** What runs, whatever its process ids: the same parts give the same names. */
const namesOf = (processes: Map<number, string>): string[] =>
  [...processes.values()].map((line) => /redis-guard|unixsocket:|apps\/(cli|gateway|worker)\/src\/main/.exec(line)?.[0] ?? line).toSorted()

const EVERYTHING = ['apps/cli/src/main', 'apps/gateway/src/main', 'apps/worker/src/main', 'redis-guard', 'unixsocket:']

test('drover up starts everything, greets with a line that works when pasted, and Ctrl-C ends it in order and leaves nothing', async () => {
  const engine = await scripted()
  const up = drover(['up', '--data', await temporaryFolder('data'), '--port', '0', '--engine', engine.url])
  const url = await greeted(up)
  expect(up.output()).toContain('tiny:latest')

  const [, path = '', body = ''] = /curl -N (\S+) -d '(.*)'/.exec(up.output()) ?? []
  expect(path).toBe(`${url}/api/chat`)
  const answer = await fetch(path, { method: 'POST', body })
  expect(answer.status).toBe(200)
  const lines = (await answer.text()).trim().split('\n')
  expect(JSON.parse(lines.at(-1) ?? '{}')).toMatchObject({ model: 'tiny:latest', done: true })
  expect(lines.length).toBeGreaterThan(1)

  expect(namesOf(await up.processes())).toEqual(EVERYTHING)
  up.signal('SIGINT')
  expect(await up.exited).toBe(0)
  expect(await up.processes()).toEqual(new Map())
  const ended = ['worker  | ', 'gateway | '].map((part) => up.output().lastIndexOf(part))
  expect(ended.toSorted((a, b) => a - b)).toEqual(ended)
  expect(up.errors()).toBe('')
})

test('a second drover up on the same data, and one on a port in use, end with one line that says what to do', async () => {
  const data = await temporaryFolder('data')
  const first = drover(['up', '--data', data, '--port', '0', '--no-worker'])
  const url = await greeted(first)
  const second = drover(['up', '--data', data, '--port', '0'])
  expect(await second.exited).toBe(2)
  expect(second.output()).toMatch(new RegExp(`^another "drover up" \\(process ${first.pid}\\) uses ${data}: .*--data.*\n$`))

  const third = drover(['up', '--data', await temporaryFolder('other'), '--port', new URL(url).port])
  expect(await third.exited).toBe(2)
  expect(third.output()).toMatch(/^port \d+ on 127\.0\.0\.1 is in use: .*--port\n$/)

  first.signal('SIGTERM')
  expect(await first.exited).toBe(0)
  await Promise.all([first, second, third].map(nothingLeft))
})

test('when drover up is killed nothing is left of it', async () => {
  const up = drover(['up', '--data', await temporaryFolder('data'), '--port', '0'])
  await greeted(up)
  expect(namesOf(await up.processes())).toEqual(EVERYTHING)
  up.signal('SIGKILL')
  await up.exited
  await nothingLeft(up)
})

test('after drover up was killed the next one on the same data comes up at once, and its Redis is the only one', async () => {
  const data = await temporaryFolder('data')
  const first = drover(['up', '--data', data, '--port', '0'])
  await greeted(first)
  first.signal('SIGKILL')
  const second = drover(['up', '--data', data, '--port', '0', '--no-worker'])
  await greeted(second)
  await until('the parts of the first are gone', async () => namesOf(await first.processes()).join() === 'unixsocket:', 25_000)
  expect(namesOf(await second.processes()).filter((name) => name === 'unixsocket:')).toHaveLength(1)
  second.signal('SIGTERM')
  expect(await second.exited).toBe(0)
  await Promise.all([first, second].map(nothingLeft))
})

test('a part that crashes is started again, Redis too, and work goes on', async () => {
  const engine = await scripted()
  const up = drover(['up', '--data', await temporaryFolder('data'), '--port', '0', '--engine', engine.url])
  await greeted(up)
  for (const part of ['apps/worker/', 'redis-guard', 'unixsocket:']) {
    const [pid] = [...(await up.processes())].find(([, line]) => line.includes(part)) ?? []
    if (pid === undefined) throw new Error(`no ${part} among ${[...(await up.processes()).values()].join()}`)
    process.kill(pid, 'SIGKILL')
    await until(`${part} runs again`, async () => {
      const now = await up.processes()
      return !now.has(pid) && JSON.stringify(namesOf(now)) === JSON.stringify(EVERYTHING)
    })
  }
  // The gateway was never away, so its address has stayed.
  const [, url = ''] = /Drover is up at (\S+)/.exec(up.output()) ?? []
  const generate = () => fetch(`${url}/api/generate`, { method: 'POST', body: '{"model":"tiny","prompt":"x","stream":false}' })
  await until('an answer comes', async () => (await generate()).status === 200, 30_000)
  up.signal('SIGTERM')
  expect(await up.exited).toBe(0)
  await nothingLeft(up)
}, 120_000)

test('with a Redis of your own none is started, and the folder may have a name too long for a socket', async () => {
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  const up = drover(['up', '--data', await temporaryFolder('x'.repeat(120)), '--port', '0', '--no-worker'], { REDIS_URL: redis.url })
  await greeted(up)
  expect(namesOf(await up.processes())).toEqual(['apps/cli/src/main', 'apps/gateway/src/main'])
  up.signal('SIGTERM')
  expect(await up.exited).toBe(0)

  const own = drover(['up', '--data', await temporaryFolder('y'.repeat(120)), '--port', '0', '--no-worker'])
  await greeted(own)
  own.signal('SIGTERM')
  expect(await own.exited).toBe(0)
  await nothingLeft(own)
})

test('what the private Redis holds is its owner’s alone, and is there again at the next start', async () => {
  const data = await temporaryFolder('data')
  const socket = join(data, 'redis.sock')
  const first = drover(['up', '--data', data, '--port', '0', '--no-worker'])
  await greeted(first)
  expect((await stat(data)).mode & 0o777).toBe(0o700)
  expect((await stat(socket)).mode & 0o777).toBe(0o700)
  expect(await askRedis(socket, 'SET kept yes')).toBe('+OK')
  first.signal('SIGTERM')
  await first.exited
  const second = drover(['up', '--data', data, '--port', '0', '--no-worker'])
  await greeted(second)
  expect(await askRedis(socket, 'SETNX kept no')).toBe(':0')
  second.signal('SIGTERM')
  await second.exited
})

test('a Redis that cannot be had is one line of reason', async () => {
  const missing = drover(['up', '--data', await temporaryFolder('data'), '--redis-server', '/nowhere/redis-server'])
  expect(await missing.exited).toBe(2)
  expect(missing.output()).toMatch(/^\/nowhere\/redis-server .*--redis-server\n$/)
  const away = drover(['up', '--data', await temporaryFolder('data'), '--port', '0', '--redis-url', 'unix:/nowhere/redis.sock'])
  expect(await away.exited).not.toBe(0)
  expect(away.errors().trim()).toMatch(/Redis at unix:\/nowhere\/redis\.sock/)
  await nothingLeft(away)
}, 120_000)

test('all problems of the configuration come in one report', async () => {
  const file = join(await temporaryFolder(), 'drover.yaml')
  await writeFile(file, 'up:\n  dta: x\ngateway:\n  port: many\n')
  const up = drover(['up', '--config', file, '--prot', '1'], { DROVER_REDIS_URL: 'http://x' })
  expect(await up.exited).toBe(2)
  expect(up.output().split('\n')[0]).toBe('4 problems in the configuration:')
  for (const name of ['--prot', 'up.dta', 'up.port', 'DROVER_REDIS_URL']) expect(up.output()).toContain(name)
})

test('status shows what the gateway sees, as lines or as JSON, and says what to do when there is none', async () => {
  const engine = await scripted()
  const up = drover(['up', '--data', await temporaryFolder('data'), '--port', '0', '--engine', engine.url], { DROVER_NODE: 'here', DROVER_API_KEY: 'key-of-the-test' })
  const url = await greeted(up)
  expect(up.output()).toContain('-H "Authorization: Bearer $DROVER_API_KEY"')
  expect(up.output()).not.toContain('key-of-the-test')

  const status = drover(['status', '--url', url], { DROVER_API_KEY: 'key-of-the-test' })
  expect(await status.exited).toBe(0)
  expect(status.output()).toMatch(/^node here: /)
  expect(status.output()).toContain('tiny:latest (0/1 busy')
  const json = drover(['status', '--url', url, '--json'], { DROVER_API_KEY: 'key-of-the-test' })
  expect(await json.exited).toBe(0)
  expect(JSON.parse(json.output())).toMatchObject({ nodes: [{ id: 'here' }] })

  const keyless = drover(['status', '--url', url])
  expect(await keyless.exited).toBe(1)
  expect(keyless.output()).toMatch(/wants a key.*DROVER_API_KEY\n$/)
  up.signal('SIGTERM')
  expect(await up.exited).toBe(0)
  const nobody = drover(['status', '--url', url])
  expect(await nobody.exited).toBe(1)
  expect(nobody.output()).toMatch(/^no gateway answers at .*drover up.*\n$/)
})

test('gateway and worker read the arguments behind their name, and end by themselves when told', async () => {
  const help = drover(['gateway', '--help'])
  expect(await help.exited).toBe(0)
  expect(help.output()).toContain('--lane-limit')
  const wrong = drover(['worker', '--nodee', 'x'])
  expect(await wrong.exited).toBe(2)
  expect(wrong.output()).toContain('flag --nodee: unknown (did you mean --node?)')

  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  const gateway = drover(['gateway', '--port', '0', '--redis-url', redis.url])
  await until('the gateway listens', () => gateway.output().includes('listening') || !gateway.running())
  gateway.signal('SIGTERM')
  expect(await gateway.exited).toBe(0)
})

test('version, and a command that does not exist', async () => {
  const version = drover(['version'])
  expect(await version.exited).toBe(0)
  expect(version.output()).toMatch(/^drover \d+\.\d+\.\d+ \(Node v\d+/)
  const wrong = drover(['stauts'])
  expect(await wrong.exited).not.toBe(0)
  expect(wrong.output()).toContain('status')
})

test('a port that somebody else holds is named, with the address that was asked for', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const up = drover(['up', '--data', await temporaryFolder('data')], { DROVER_PORT: String(port) })
  expect(await up.exited).toBe(2)
  expect(up.output()).toMatch(new RegExp(`^port ${port} on 127\\.0\\.0\\.1 is in use`))
})

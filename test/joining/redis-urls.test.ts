import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../cli/cli.ts'
import { startScriptedEngine } from '../engine/server.ts'
import { ask } from '../support/client.ts'
import { Installation, until } from '../support/drover.ts'
import { findProgram, freePort, startProgram } from '../support/program.ts'
import { redisServerPath, startRedis } from '../support/redis-server.ts'

const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })

/** Authority, certificate for 127.0.0.1 and its key, as files. */
const makeCertificates = async () => {
  const folder = await temporaryFolder()
  const file = (name: string) => join(folder, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Test authority', '-keyout', file('ca.key'), '-out', file('ca.pem'))
  openssl('req', ...key, '-subj', '/CN=redis', '-keyout', file('redis.key'), '-out', file('redis.csr'))
  await writeFile(file('san'), 'subjectAltName=IP:127.0.0.1\n')
  openssl('x509', '-req', '-in', file('redis.csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '2', '-extfile', file('san'), '-out', file('redis.pem'))
  return { ca: file('ca.pem'), cert: file('redis.pem'), key: file('redis.key') }
}

const tlsMissing = (): string | undefined => {
  if (findProgram('DROVER_OPENSSL', ['openssl']) === undefined) return 'openssl is not there to make a certificate'
  const redis = redisServerPath()
  if (redis === undefined) return 'no Redis'
  try {
    // Without TLS in it, it does not know the setting.
    execFileSync(redis, ['--port', '0', '--tls-port', '0', '--dir', '/nowhere'], { stdio: 'pipe', timeout: 5_000 })
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: Buffer; stderr?: Buffer }
    if (/Bad directive|without TLS|not.*TLS/i.test(`${String(stdout)}${String(stderr)}`)) return `${redis} is built without TLS`
  }
  return undefined
}
const noTls = tlsMissing()
if (noTls !== undefined) process.stderr.write(`skipped: rediss:// : ${noTls}\n`)

const scripted = async () => {
  const engine = await startScriptedEngine({ models: ['tiny:latest'] })
  onTestFinished(() => engine.close())
  return engine
}

test.skipIf(noTls !== undefined)('rediss:// works with the authority’s file, and a certificate of nobody known is refused', async () => {
  const { ca, cert, key } = await makeCertificates()
  const port = await freePort()
  const redis = await startRedis({ args: ['--tls-port', `${port}`, '--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', ca, '--tls-auth-clients', 'no'] })
  onTestFinished(() => redis.stop())
  const engine = await scripted()
  const drover = new Installation(`rediss://127.0.0.1:${port}`, { DROVER_REDIS_CA: ca, DROVER_DRAIN_LIMIT: '500ms' })
  onTestFinished(() => drover.stop())
  const gateway = await drover.gateway()
  await drover.worker('n', [engine.url], { gateway })
  const told = await ask(gateway.url, 'ollama.chat', { key: 'tls', model: 'tiny', script: { tokens: 10 } }).told
  expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true } })
  const { code, said } = await drover.refused('worker', { DROVER_REDIS_CA: '' })
  expect(code).toBe(1)
  expect(said).toMatch(/^Redis at rediss:\/\/.* cannot be used: .*(self-signed|certificate).*$/)
  expect((await drover.refused('worker', { DROVER_REDIS_CA: '/nowhere/ca.pem' })).said).toMatch(/^the file of Redis' certificate authority \/nowhere\/ca\.pem cannot be read: .*$/)
}, 60_000)

test('by redis-sentinel:// a fail-over is followed', async () => {
  const program = redisServerPath()
  if (program === undefined) throw new Error('no Redis')
  const master = await startRedis({ tcp: true })
  onTestFinished(() => master.stop())
  const { port: masterPort } = new URL(master.url)
  const replica = await startRedis({ tcp: true, args: ['--replicaof', '127.0.0.1', masterPort] })
  onTestFinished(() => replica.stop())
  const [port, file] = [await freePort(), join(await temporaryFolder(), 'sentinel.conf')]
  const watch = [`monitor drover 127.0.0.1 ${masterPort} 1`, 'down-after-milliseconds drover 1000', 'failover-timeout drover 3000']
  await writeFile(file, [`port ${port}`, 'bind 127.0.0.1', ...watch.map((line) => `sentinel ${line}`), ''].join('\n'))
  const sentinel = await startProgram(program, [file, '--sentinel'])
  onTestFinished(async () => {
    sentinel.signal('SIGKILL')
    await sentinel.exited
  })
  await until('the sentinel knows the replica', () => /\+slave /.test(sentinel.log()), 15_000)

  const engine = await scripted()
  // The first one is not there: the next is asked.
  const drover = new Installation(`redis-sentinel://127.0.0.1:${await freePort()},127.0.0.1:${port}/drover`, { DROVER_DRAIN_LIMIT: '500ms' })
  onTestFinished(() => drover.stop())
  const gateway = await drover.gateway()
  await drover.worker('n', [engine.url], { gateway })
  const turn = (key: string) => ask(gateway.url, 'ollama.chat', { key, model: 'tiny', stream: false, script: { tokens: 5 } }).told
  expect(await turn('before')).toMatchObject({ status: 200, verdict: { ok: true } })
  await master.kill()
  await until('an answer comes through the promoted replica', async () => (await turn(`after-${performance.now()}`).catch(() => undefined))?.status === 200, 30_000)
  expect(sentinel.log()).toMatch(/\+switch-master/)
}, 90_000)

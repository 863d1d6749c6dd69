import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, onTestFinished } from 'vitest'
import { keys, Tickets } from '../../libs/broker/src/index.ts'
import { keepModel } from '../engine/store.ts'
import type { Installation, Part } from '../support/drover.ts'
import { sendBytes } from '../support/raw.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { test } from '../support/world.ts'
import { copiesIn, held, storeNode, temporary, transferLines } from './copy-site.ts'

const MODEL = 'big:7b'
const WEIGHTS = randomBytes(100_000)
const SECRET = 'nobody is to read this'

const originOf = ({ log }: Part): string => {
  const line = log().split('\n').find((each) => each.includes('"hands out model files"')) ?? '{}'
  const { address, port } = JSON.parse(line) as { address: string; port: number }
  return `http://${address}:${port}`
}

/** Tickets as the nodes of an installation have them. */
const ticketsOf = async (redis: RedisServer, { prefix }: Installation): Promise<Tickets> => {
  const client = new Redis(redis.connection)
  const secret = await client.get(keys(prefix).copySecret)
  client.disconnect()
  expect(secret).toMatch(/^[\w-]{43}$/)
  return new Tickets(secret!)
}

/** A request whose path is sent as it stands. */
const ask = async (origin: string, path: string, ticket = '', headers: Record<string, string> = {}, method = 'GET'): Promise<string> => {
  const all = { 'x-drover-ticket': ticket, host: 'node', connection: 'close', ...headers }
  return sendBytes(origin, `${method} ${path} HTTP/1.1\r\n${Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])

test('files go only to those with a ticket, and only those of the models', async ({ drover, scripted, redis }) => {
  const gateway = await drover.gateway()
  let digests: string[] = []
  const a = await storeNode({ drover, scripted }, 'a', {
    fill: async (folder) => {
      digests = await keepModel(folder, MODEL, WEIGHTS)
      await writeFile(join(folder, 'secret'), SECRET)
      await writeFile(join(folder, 'blobs', `sha256-${createHash('sha256').update(SECRET).digest('hex')}`), SECRET)
    },
  })
  await storeNode({ drover, scripted }, 'b')
  await held(gateway, MODEL, 'a')
  // The first copy makes the secret, and has the files described.
  await transferLines(gateway.url, { model: MODEL, to: 'b' }).over
  const origin = originOf(a.worker)
  const tickets = await ticketsOf(redis, drover)
  const file = `/copies/files/${digests[0]}`
  const asked = (path: string, headers: Record<string, string> = {}) => ask(origin, path, tickets.ticket({ node: 'a', method: 'GET', path }), headers)
  expect(await asked(file)).toContain('200 OK')

  for (const ticket of ['', 'x', `${Date.now() + 600_000}.x`, tickets.ticket({ node: 'b', method: 'GET', path: file }), tickets.ticket({ node: 'a', method: 'GET', path: `${file}?` }), new Tickets('guessed').ticket({ node: 'a', method: 'GET', path: file })])
    for (const path of [file, '/copies/models?model=big:7b', '/', '/nothing']) expect(statusOf(await ask(origin, path, ticket)), `${ticket} ${path}`).toBe(403)
  expect(statusOf(await ask(origin, file, tickets.ticket({ node: 'a', method: 'POST', path: file }), {}, 'POST'))).toBe(405)

  const secret = createHash('sha256').update(SECRET).digest('hex')
  for (const path of [
    `/copies/files/${secret}`, '/copies/files/../../secret', '/copies/files/%2e%2e%2f%2e%2e%2fsecret', '/copies/files/..%2fsecret', '/copies/files//etc/passwd', '/copies/files/%2fetc%2fpasswd', '/copies/files/sha256-x',
    `/copies/files/${digests[0]}/../${secret}`, `/copies/files/${digests[0]!.toUpperCase()}`, `/copies/files/${digests[0]}%00`, '/secret', '/../secret', '//copies', '/copies/models', '/copies/models?model=', '/copies/models?model=../secret',
    '/copies/models?model=/etc/passwd', '/copies/models?model=..%2f..%2fsecret', '/copies/models?model=big:..', '/copies/models?model=big:7b%00', '/copies/models?model=nobody', '/copies/models?model=.%2fbig:7b', '/copies/models?model=%E0%A4%A',
  ]) {
    const answer = await asked(path)
    expect([path, statusOf(answer)]).toEqual([path, 404])
    expect(answer).not.toContain(SECRET)
  }
  for (const range of ['bytes=-5', 'bytes=5-1', 'bytes=0-1,2-3', `bytes=${WEIGHTS.length}-`, 'bytes=99999999999999999999-', 'x'])
    expect([range, statusOf(await asked(file, { range }))]).toEqual([range, 416])
  expect(await asked(file, { range: `bytes=${WEIGHTS.length - 1}-` })).toContain(`content-range: bytes ${WEIGHTS.length - 1}-${WEIGHTS.length - 1}/${WEIGHTS.length}`)
  expect(a.worker.log()).not.toContain('unexpected')
})

test('a blob that is a link out of the folder is not sent, and a manifest does not go out of it', async ({ drover, scripted }) => {
  const gateway = await drover.gateway()
  const elsewhere = await temporary()
  await writeFile(join(elsewhere, 'secret'), SECRET)
  const a = await storeNode({ drover, scripted }, 'a', {
    fill: async (folder) => {
      const [weights] = await keepModel(folder, MODEL, Buffer.from(SECRET))
      const blob = join(folder, 'blobs', `sha256-${weights}`)
      await rm(blob)
      await symlink(join(elsewhere, 'secret'), blob)
      await keepModel(folder, 'good:7b', WEIGHTS)
    },
  })
  const b = await storeNode({ drover, scripted }, 'b', {
    fill: async (folder) => {
      await mkdir(join(folder, 'manifests', 'registry.ollama.ai', 'library'), { recursive: true })
      await symlink(elsewhere, join(folder, 'manifests', 'registry.ollama.ai', 'library', 'good'))
    },
  })
  await held(gateway, MODEL, 'a')
  const linked = transferLines(gateway.url, { model: MODEL, to: 'b' })
  await linked.over
  expect(linked.lines.at(-1)?.error).toMatch(/has no files of this model/)
  const out = transferLines(gateway.url, { model: 'good:7b', to: 'b' })
  await out.over
  expect(out.lines.at(-1)?.error).toMatch(/leads out of the folder of models/)
  expect(await readdir(elsewhere)).toEqual(['secret'])
  expect(copiesIn(b.worker)).toEqual([])
  expect(await readFile(join(elsewhere, 'secret'), 'utf8')).toBe(SECRET)
  expect(a.worker.log()).not.toContain('unexpected')
})

test('who answers in the place of a node without its secret is believed nothing', async ({ drover, scripted, redis }) => {
  const gateway = await drover.gateway()
  const a = await storeNode({ drover, scripted }, 'a', { fill: (folder) => keepModel(folder, MODEL, WEIGHTS) })
  const b = await storeNode({ drover, scripted }, 'b')
  await held(gateway, MODEL, 'a')
  const { port } = new URL(originOf(a.worker))
  // Its port cannot be had while it lives: the record is changed instead, of a worker that says no more.
  const seen: string[] = []
  const impostor = createServer((request, response) => {
    seen.push(request.url ?? '')
    const text = JSON.stringify({ model: MODEL, kind: 'gguf', files: [{ name: '../../evil.gguf', digest: '0'.repeat(64), size: 1 }] })
    response.setHeader('x-drover-seal', 'made up')
    response.end(text)
  })
  impostor.listen(0, '127.0.0.1')
  await once(impostor, 'listening')
  onTestFinished(() => void impostor.close().closeAllConnections())
  const client = new Redis(redis.connection)
  onTestFinished(() => client.disconnect())
  const key = keys(drover.prefix).node('a')
  const record = (await client.hget(key, 'record'))!.replace(`"port":${port}`, `"port":${(impostor.address() as { port: number }).port}`)
  a.worker.signal('SIGSTOP')
  onTestFinished(() => a.worker.signal('SIGCONT'))
  // A sign of life that was on its way may still come.
  for (let calm = 0; calm < 20; calm += 1) {
    await client.multi().hset(key, 'record', record, 'instance', 'x').zadd(keys(drover.prefix).nodes, Date.now(), 'a').persist(key).exec()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const copy = transferLines(gateway.url, { model: MODEL, from: 'a', to: 'b' })
  await copy.over
  expect(copy.lines.at(-1)?.error).toMatch(/node a at http:\S+ is somebody else: its answer is not sealed/)
  expect(seen.length).toBeGreaterThan(0)
  expect(await readdir(join(b.folder, 'blobs'))).toEqual([])
})

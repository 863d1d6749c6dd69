import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { fetchFile, fetchText, type FileFetch } from './fetch-file.ts'

const CONTENT = randomBytes(3_000_000)
const digestOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

const folder = async () => {
  const path = await mkdtemp(join(tmpdir(), 'drover-fetch-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

type Answer = (request: IncomingMessage, response: ServerResponse, from: number) => void

/** Sends all from where it is asked to. */
const whole: Answer = (_request, response, from) => {
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': CONTENT.length - from, ...(from > 0 && { 'content-range': `bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}` }) })
  response.end(CONTENT.subarray(from))
}

/** Breaks off behind so many bytes. */
const upTo = (bytes: number): Answer => (_request, response, from) => {
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': CONTENT.length - from, ...(from > 0 && { 'content-range': `bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}` }) })
  response.write(CONTENT.subarray(from, from + bytes), () => response.destroy())
}

const site = async (...answers: Answer[]) => {
  const asked: number[] = []
  const server = createServer((request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    asked.push(from)
    ;(answers[asked.length - 1] ?? answers.at(-1)!)(request, response, from)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close().closeAllConnections())
  const root = await folder()
  const address = server.address() as { port: number }
  const [part, path] = [join(root, 'part'), join(root, 'whole')]
  const told: number[] = []
  const get = (more: Partial<FileFetch> = {}) =>
    fetchFile({ url: `http://127.0.0.1:${address.port}/file`, headers: () => ({}), size: CONTENT.length, digest: digestOf(CONTENT), part, path, signal: new AbortController().signal, onProgress: (bytes) => void told.push(bytes), pauseMs: 1, ...more })
  return { asked, root, part, path, told, get, url: `http://127.0.0.1:${address.port}/file` }
}

test('a file comes whole, and has its name only then', async () => {
  const s = await site(whole)
  expect(await s.get()).toBe(CONTENT.length)
  expect(await readFile(s.path)).toEqual(CONTENT)
  expect(await readdir(s.root)).toEqual(['whole'])
  expect(s.told.at(-1)).toBe(CONTENT.length)
})

test('what breaks off goes on where it was', async () => {
  const s = await site(upTo(500_000), upTo(1_200_000), whole)
  await s.get()
  expect(await readFile(s.path)).toEqual(CONTENT)
  expect(s.asked).toHaveLength(3)
  expect(s.asked[0]).toBe(0)
  expect(s.asked[1]).toBeGreaterThan(0)
  expect(s.asked[2]).toBeGreaterThan(s.asked[1]!)
})

test('what another process has left is the beginning', async () => {
  const s = await site(whole)
  await writeFile(s.part, CONTENT.subarray(0, 1_000_000))
  expect(await s.get()).toBe(2_000_000)
  expect(s.asked).toEqual([1_000_000])
  expect(await readFile(s.path)).toEqual(CONTENT)
})

test('all of it was left: nothing is asked', async () => {
  const s = await site(whole)
  await writeFile(s.part, CONTENT)
  expect(await s.get()).toBe(0)
  expect(s.asked).toEqual([])
})

test('what was left of another file, or is longer, is found out, and the next try begins anew', async () => {
  const s = await site(whole)
  await writeFile(s.part, randomBytes(1_000))
  await expect(s.get()).rejects.toThrow(/^digest mismatch, expected "sha256:/)
  expect(await readdir(s.root)).toEqual([])
  expect(await s.get()).toBe(CONTENT.length)
  await writeFile(s.part, randomBytes(CONTENT.length + 1))
  expect(await s.get()).toBe(CONTENT.length)
  expect(await readFile(s.path)).toEqual(CONTENT)
})

test('a sender that brings nothing is asked five times, one that refuses once', async () => {
  const broken = await site((_request, response) => void response.destroy())
  await expect(broken.get()).rejects.toThrow(/broke off 5 times/)
  expect(broken.asked).toHaveLength(5)
  const refusing = await site((_request, response) => void response.writeHead(404).end('no such file'))
  await expect(refusing.get()).rejects.toThrow(/answered with status 404: no such file/)
  expect(refusing.asked).toHaveLength(1)
})

test('who sends all again instead of the rest, or more than there is, is refused', async () => {
  const again = await site((request, response) => whole(request, response, 0))
  await writeFile(again.part, CONTENT.subarray(0, 10))
  await expect(again.get()).rejects.toThrow(/not with the rest of the file/)
  const more = await site((_request, response) => void response.end(Buffer.concat([CONTENT, CONTENT])))
  await expect(more.get()).rejects.toThrow(/sent more than/)
})

test('who gives up keeps what has come', async () => {
  const s = await site((_request, response) => {
    response.writeHead(200, { 'content-length': CONTENT.length })
    response.write(CONTENT.subarray(0, 2_000_000))
  })
  const abort = new AbortController()
  const over = s.get({ signal: abort.signal, onProgress: (bytes) => bytes > 0 && abort.abort(new Error('given up')) })
  await expect(over).rejects.toThrow('given up')
  expect((await stat(s.part)).size).toBeGreaterThan(0)
  expect(await readdir(s.root)).toEqual(['part'])
})

test('what comes is not written through a link', async () => {
  const s = await site(whole)
  const elsewhere = join(s.root, 'elsewhere')
  await writeFile(elsewhere, '')
  await symlink(elsewhere, s.part)
  await expect(s.get()).rejects.toThrow(/cannot be written: ELOOP/)
  expect((await stat(elsewhere)).size).toBe(0)
})

test('what two want at once is fetched once', async () => {
  const s = await site(whole)
  const both = await Promise.all([s.get({ named: 'by-digest' }), s.get({ named: 'by-digest' })])
  expect(both.toSorted((a, b) => a - b)).toEqual([0, CONTENT.length])
  expect(s.asked).toEqual([0])
  // A name that says nothing of its content is fetched anew, one after the other.
  await Promise.all([s.get(), s.get()])
  expect(s.asked).toEqual([0, 0, 0])
  expect(await readFile(s.path)).toEqual(CONTENT)
})

test('who waits for another to fetch it may give up', async () => {
  const s = await site((_request, response) => void response.writeHead(200, { 'content-length': CONTENT.length }).write('x'))
  const [first, second] = [new AbortController(), new AbortController()]
  const slow = s.get({ signal: first.signal })
  const waiting = s.get({ signal: second.signal })
  second.abort(new Error('given up'))
  await expect(waiting).rejects.toThrow('given up')
  first.abort(new Error('over'))
  await expect(slow).rejects.toThrow('over')
})

test('a small text that is none is not read to its end', async () => {
  const s = await site((_request, response) => void response.end(CONTENT))
  const text = (most: number) => fetchText(s.url, { headers: {}, most, silentMs: 10_000, signal: new AbortController().signal })
  await expect(text(1_000)).rejects.toThrow('it sent more than 1000 bytes')
  expect((await text(CONTENT.length)).status).toBe(200)
})

import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { toFile } from 'openai'
import { expect, onTestFinished, vi } from 'vitest'
import { until } from '../support/drover.ts'
import { expectAccounted } from './accounts.ts'
import { chatLine, clientOf, ended, expectAnswers, expectOnce, resultsOf, submit, uploadText } from './lines.ts'
import { bucketPlace } from './places.ts'
import { startS3Faults, type S3Fault } from './s3-faults.ts'
import { s3Test as test } from './world.ts'

vi.setConfig({ testTimeout: 120_000 })

const faultsOf = async (port: number) => {
  const faults = await startS3Faults(port)
  onTestFinished(() => faults.close())
  return faults
}

test('a bucket that cannot be used is refused at start, in one line, and no secret is told', async ({ drover, s3, place }) => {
  const secret = 'a-secret-that-is-wrong'
  const bad: [Record<string, string>, number, RegExp][] = [
    [{ AWS_SECRET_ACCESS_KEY: secret }, 2, /^the store of files s3:\/\/\S+ at http:\/\/127\.0\.0\.1:\d+ cannot be used: SignatureDoesNotMatch: .*\(HTTP 403\)$/],
    [{ AWS_ACCESS_KEY_ID: 'NOBODY', AWS_SECRET_ACCESS_KEY: secret }, 2, /cannot be used: InvalidAccessKeyId: /],
    [{ DROVER_FILES_S3: 's3://no-such-bucket' }, 2, /^the store of files s3:\/\/no-such-bucket\/ at .* cannot be used: NoSuchBucket: /],
    [{ AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' }, 2, /cannot be used: CredentialsProviderError: /],
    // Not 2: it may come up later, so a supervisor is to try again.
    [{ DROVER_FILES_S3_ENDPOINT: 'http://127.0.0.1:1' }, 1, /^the store of files \S+ at http:\/\/127\.0\.0\.1:1 cannot be used: ECONNREFUSED/],
    [{ DROVER_FILES_S3: '/tmp/files', DROVER_FILES_S3_ENDPOINT: `http://me:${secret}@127.0.0.1` }, 2, /^2 problems in the configuration:\n.*DROVER_FILES_S3: expected s3:\/\/BUCKET.*\n.*DROVER_FILES_S3_ENDPOINT: expected http/],
  ]
  const faults = await faultsOf(s3.port)
  faults.set({ kind: 'refuses', status: 403, code: 'AccessDenied' })
  bad.push([{ DROVER_FILES_S3_ENDPOINT: faults.url }, 2, /cannot be used: AccessDenied: .*; a gateway needs s3:GetObject, .* s3:ListBucket for the bucket$/])
  const slow = await faultsOf(s3.port)
  slow.set({ kind: 'refuses', status: 503, code: 'SlowDown' })
  bad.push([{ DROVER_FILES_S3_ENDPOINT: slow.url }, 1, /cannot be used: SlowDown: /])
  for (const [env, code, told] of bad) {
    const end = await drover.refused('gateway', { ...place.env, ...env })
    expect({ env, code: end.code, said: end.said }).toEqual({ env, code, said: expect.stringMatching(told) })
    expect(end.said).not.toContain(secret)
  }
})

test('a file that is uploaded at one gateway is run by another, and its answers are read at the first', async ({ drover, scripted, place }) => {
  const [one, other] = await Promise.all([drover.gateway(place.env), drover.gateway(place.env)])
  const engine = await scripted({ slots: 4 })
  await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway: one })
  const ids = Array.from({ length: 40 }, (_, i) => `s${i}`)
  const { id: input } = await uploadText(clientOf(one.url), ids.map((id) => chatLine(id)).join(''))
  one.signal('SIGSTOP')
  const { id } = await clientOf(other.url).batches.create({ input_file_id: input, endpoint: '/v1/chat/completions', completion_window: '24h' })
  const batch = await ended(() => clientOf(other.url), id)
  one.signal('SIGCONT')
  await until('it is awake', async () => (await fetch(`${one.url}/readyz`)).ok)
  const results = await resultsOf(clientOf(one.url), batch)
  expectOnce(batch, results, ids)
  expectAnswers(results.output, 5)
})

test('gateways that start at once on an empty bucket have one store, however late one of them writes what it is called', async ({ drover, s3 }) => {
  const faults = await faultsOf(s3.port)
  const place = bucketPlace(s3, faults.url)
  const go = Promise.withResolvers<void>()
  faults.set({ kind: 'holds a write', until: go.promise })
  const late = drover.gateway(place.env)
  await until('it writes', () => faults.met > 0)
  const first = clientOf((await drover.gateway(place.env)).url)
  const { id } = await uploadText(first, chatLine('a'))
  go.resolve()
  const second = clientOf((await late).url)
  expect(await (await second.files.content(id)).text()).toBe(chatLine('a'))
  expect(await (await first.files.content((await uploadText(second, chatLine('b'))).id)).text()).toBe(chatLine('b'))
})

test('a large file is cut into objects and comes back as it was; what one leaves that breaks off is removed', async ({ drover, place, redis }) => {
  const gateway = await drover.gateway(place.env)
  const openai = clientOf(gateway.url)
  const bytes = randomBytes(20 * 1024 * 1024 + 1)
  const { id, bytes: size } = await openai.files.create({ file: await toFile(bytes, 'large.jsonl'), purpose: 'batch' })
  expect(size).toBe(bytes.length)
  expect(await place.contents()).toHaveLength(3)
  expect(Buffer.from(await (await openai.files.content(id)).arrayBuffer()).equals(bytes)).toBe(true)
  const leaving = request(`${gateway.url}/v1/files`, { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=b', 'content-length': 50_000_000 } })
  leaving.on('error', () => undefined)
  leaving.write('--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n')
  leaving.write(bytes)
  await until('some of it is written', async () => (await place.contents()).length > 3)
  leaving.destroy()
  await until('nothing is left of it', async () => (await place.contents()).length === 3, 25_000)
  await expectAccounted(redis, drover.prefix, place)
})

test('while its store is away a gateway refuses files and does all else; of that its log has one line', async ({ drover, scripted, s3, place }) => {
  const gateway = await drover.gateway(place.env)
  const engine = await scripted()
  await drover.worker('n', [engine.url], { gateway })
  const openai = clientOf(gateway.url)
  const { id } = await uploadText(openai, chatLine('a'))
  onTestFinished(() => s3.restart())
  await s3.kill()
  for (let i = 0; i < 2; i += 1) {
    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new Blob(['x']), 'in.jsonl')
    const refused = await fetch(`${gateway.url}/v1/files`, { method: 'POST', body: form })
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([503, true])
    expect(((await refused.json()) as { error: { message: string } }).error.message).toMatch(/where files lie cannot be used just now/)
  }
  await expect(openai.files.content(id)).rejects.toThrow(/503/)
  expect((await openai.files.list()).data).toHaveLength(1)
  expect((await openai.chat.completions.create({ model: 'scripted', messages: [{ role: 'user', content: 'job=z tokens=3' }] })).choices).toHaveLength(1)
  await s3.restart()
  expect(await (await openai.files.content(id)).text()).toBe(chatLine('a'))
  await uploadText(openai, chatLine('b'))
  expect((await openai.files.list()).data).toHaveLength(2)
  expect(gateway.log().match(/"the store of files cannot be used/g)).toHaveLength(1)
  expect(gateway.log()).toMatch(/ECONNREFUSED/)
  expect(gateway.log()).not.toContain('"unexpected"')
  expect(gateway.log()).not.toContain(place.env['AWS_SECRET_ACCESS_KEY'])
})

/** Before each fault all slots are held by these, so that there is something left to write when it comes. */
const gate = (n: number) => [0, 1, 2, 3].map((i) => `z${25 * n + i}`)

test('a batch comes through whatever a store does: slow, busy, silent, forbidding, breaking off, deaf', async ({ drover, scripted, s3, redis }) => {
  const faults = await faultsOf(s3.port)
  const place = bucketPlace(s3, faults.url)
  const gateway = await drover.gateway(place.env)
  const engine = await scripted({ slots: 4, script: { first_ms: 20 } })
  await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
  const openai = clientOf(gateway.url)
  const ids = Array.from({ length: 200 }, (_, i) => `z${i}`)
  for (const n of [1, 2, 3, 4, 5, 6, 7]) for (const key of gate(n)) await engine.admin.set({ hold: 1 }, key)
  const { id } = await submit(openai, ids.map((each) => chatLine(each, { script: `tokens=5 ${'x'.repeat(10_000)}` })).join(''))
  const kinds: S3Fault[] = [
    { kind: 'is slow', ms: 400 },
    { kind: 'refuses', status: 503, code: 'SlowDown' },
    { kind: 'hangs' },
    { kind: 'refuses', status: 403, code: 'AccessDenied' },
    { kind: 'breaks off' },
    { kind: 'answers nobody' },
    { kind: 'refuses', status: 500, code: 'InternalError' },
  ]
  for (const [i, fault] of kinds.entries()) {
    const before = faults.met
    faults.set(fault)
    for (const key of gate(i + 1)) await engine.admin.release(key)
    await until(`a request meets a store that ${fault.kind}`, () => faults.met > before)
    await sleep(500)
    faults.set({ kind: 'none' })
    await sleep(500)
  }
  const batch = await ended(() => openai, id, 90_000)
  const results = await resultsOf(openai, batch)
  expect(batch.status).toBe('completed')
  expectOnce(batch, results, ids)
  expectAnswers(results.output, 5)
  expect((await engine.admin.stats()).requests).toBe(200)
  await expectAccounted(redis, drover.prefix, place)
})

test('credentials of a session are sent with their token', async ({ drover, s3 }) => {
  const faults = await faultsOf(s3.port)
  const place = bucketPlace(s3, faults.url)
  const gateway = await drover.gateway({ ...place.env, AWS_SESSION_TOKEN: 'the-token-of-the-session' })
  const { id } = await uploadText(clientOf(gateway.url), chatLine('a'))
  expect(faults.seen['x-amz-security-token']).toBe('the-token-of-the-session')
  expect(await (await clientOf(gateway.url).files.content(id)).text()).toBe(chatLine('a'))
  expect(gateway.log()).not.toContain('the-token-of-the-session')
})

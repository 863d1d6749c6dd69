import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { openGateway } from '@drover/broker'
import { almighty, LOCAL } from '@drover/core'
import { Redis } from 'ioredis'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { chatLine, clientOf, ended, expectAnswers, expectOnce, resultsOf, submit, uploadText } from '../batches/lines.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

/** `full`: as if twice as much were used as may be. `limit`: sets Redis' memory limit to what it uses now, times so much; 0: none. `info`: one number of its INFO. */
const test = world.extend('memory', async ({ redis }, { onCleanup }) => {
  const owner = new Redis(redis.connection)
  onCleanup(async () => {
    await owner.config('SET', 'maxmemory', '0')
    owner.disconnect()
  })
  const info = async (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(await owner.info())?.[1])
  const limit = async (times: number) => void (await owner.config('SET', 'maxmemory', String(times === 0 ? 0 : Math.max(1, Math.round((await info('used_memory')) * times)))))
  return { info, limit, full: () => limit(0.5) }
})

const ready = async (url: string) => send(`${url}/readyz`, { method: 'GET' })

/** How a call of the client was refused: status, whether it is told when to come again, why. */
const refusedBy = async (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(() => 'taken', (error: unknown) => (error instanceof OpenAI.APIError ? [error.status, Number(error.headers?.get('retry-after')) > 1, error.message] : error))

test('from a share of its limit on Redis takes no new work, and what is there is done; it recovers by itself', async ({ drover, memory, scripted }) => {
  const engine = await scripted({ slots: 2 })
  await engine.admin.set({ tokens: 30, stall_at: 5 })
  const gateway = await drover.gateway()
  await drover.worker('n1', [engine.url], { gateway, env: { DROVER_SLOTS: '2' } })
  const accepted = Array.from({ length: 6 }, (_, i) => ask(gateway.url, 'ollama.chat', { key: `a${i}`, script: { tokens: 30, rate: 60 } }))
  await until('all are accepted', async () => (await statusOf(gateway.url)).gateway.following === 6)
  await memory.limit(1.05)
  await until('the gateway has seen it', async () => (await ready(gateway.url)).status === 503)
  expect((await ready(gateway.url)).text).toMatch(/memory/)
  expect((await statusOf(gateway.url)).redis).toMatchObject({ memory_full: true })
  expect((await send(`${gateway.url}/metrics`, { method: 'GET' })).text).toMatch(/redis_memory_full 1/)
  for (const { dialect, stream } of BOTH_WAYS) {
    const answer = await post(gateway.url, dialect, smallest(dialect, 'job=refused', { stream }))
    expect([answer.status, Number(answer.headers['retry-after']) > 1]).toEqual([503, true])
    expect(errorTextOf(dialect, answer)).toMatch(/busy.*memory/)
  }
  await engine.admin.release()
  for (const { told } of accepted) expect(await told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 30 } })
  await memory.limit(0)
  await until('the gateway takes requests', async () => (await ready(gateway.url)).status === 200)
  expect(await ask(gateway.url, 'openai.chat', { key: 'after', script: { tokens: 3 } }).told).toMatchObject({ status: 200, ended: true })
  expect((await engine.admin.job('refused')).requests).toBe(0)
  const log = gateway.log().match(/little memory|memory again/g)
  expect(log).toEqual(['little memory', 'memory again'])
})

test('at its limit Redis refuses new jobs only: those that run and wait end, are cancelled and come back from workers that leave', async ({ drover, memory, scripted }) => {
  const engines = [await scripted({ slots: 2 }), await scripted({ slots: 2 })] as const
  for (const { admin } of engines) await admin.set({ tokens: 40, stall_at: 5 })
  const gateway = await drover.gateway({ DROVER_TIMEOUT: '30s' })
  const [first] = [await drover.worker('n1', [engines[0].url], { gateway, env: { DROVER_SLOTS: '2', DROVER_DRAIN_LIMIT: '100ms' } })]
  const accepted = Array.from({ length: 12 }, (_, i) =>
    ask(gateway.url, i % 2 === 0 ? 'ollama.chat' : 'openai.chat', { key: `a${i}`, stream: i % 3 > 0, script: { tokens: 40, rate: 40 } }),
  )
  const leaves = ask(gateway.url, 'ollama.chat', { key: 'leaves' })
  leaves.told.catch(() => undefined)
  await until('all are accepted', async () => (await statusOf(gateway.url)).gateway.following === 13)
  await drover.worker('n2', [engines[1].url], { gateway, env: { DROVER_SLOTS: '2' } })
  await memory.full()
  // Before the gateway has looked, it hears it from Redis itself; and of all that is there nothing ends meanwhile.
  const refused = await Promise.all(BOTH_WAYS.map(async ({ dialect, stream }) => ({ dialect, answer: await post(gateway.url, dialect, smallest(dialect, 'job=refused', { stream })) })))
  for (const { dialect, answer } of refused) {
    expect([answer.status, Number(answer.headers['retry-after']) > 1]).toEqual([503, true])
    expect(errorTextOf(dialect, answer)).toMatch(/busy.*memory/)
  }
  leaves.leave()
  await until('it has left', async () => (await statusOf(gateway.url)).gateway.following === 12)
  // What this one has not finished goes back to the lane.
  await first.stop()
  await engines[1].admin.release()
  for (const { told } of accepted) expect(await told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 40 } })
  expect(await memory.info('used_memory')).toBeGreaterThan(await memory.info('maxmemory'))
  expect((await statusOf(gateway.url)).nodes.map(({ id }) => id)).toEqual(['n2'])
  await memory.limit(0)
  await until('the gateway takes requests', async () => (await ready(gateway.url)).status === 200)
  expect(await ask(gateway.url, 'ollama.chat', { key: 'after', script: { tokens: 3 } }).told).toMatchObject({ status: 200, ended: true })
  await until('nothing is left in the lane', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running, bytes }) => waiting === 0 && running === 0 && bytes === 0))
  for (const { admin } of engines) expect((await admin.job('refused')).requests + (await admin.job('leaves')).requests).toBe(0)
  expect(await memory.info('evicted_keys')).toBe(0)
})

test('at its limit Redis takes no file, no batch and no webhook, in the words of each API; batches that run end, cancelled or when there is memory again', async ({ drover, memory, redis, scripted }) => {
  const gateway = await drover.gateway({ DROVER_FILES_DIR: await mkdtemp(join(redis.dir, 'files-')), DROVER_WEBHOOK_PRIVATE: 'true' })
  const engine = await scripted({ slots: 2 })
  await drover.worker('n1', [{ url: engine.url, slots: 2 }], { gateway })
  const openai = clientOf(gateway.url)
  const webhook = { url: 'http://127.0.0.1:9/hook' }
  const registered = JSON.parse((await send(`${gateway.url}/api/webhooks`, { body: JSON.stringify(webhook) })).text) as { id: string }
  const ids = Array.from({ length: 30 }, (_, i) => `m${i}`)
  const lines = ids.map((id) => chatLine(id, { script: 'tokens=20 rate=20' })).join('')
  const [goesOn, givenUp, file] = [await submit(openai, lines), await submit(openai, lines), await uploadText(openai, lines)]
  await until('both run', async () => (await engine.admin.stats()).running === 2 && (await openai.batches.retrieve(givenUp.id)).status === 'in_progress')
  await memory.full()
  await until('the gateway has seen it', async () => (await ready(gateway.url)).status === 503)

  const words = expect.stringMatching(/busy.*memory/) as string
  expect(await refusedBy(uploadText(openai, lines))).toEqual([503, true, words])
  expect(await refusedBy(openai.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }))).toEqual([503, true, words])
  const messages = await send(`${gateway.url}/v1/messages/batches`, { body: JSON.stringify({ requests: [{ custom_id: 'a', params: { model: 'scripted', max_tokens: 4, messages: [{ role: 'user', content: 'hello' }] } }] }) })
  expect([messages.status, Number(messages.headers['retry-after']) > 1, JSON.parse(messages.text)]).toEqual([503, true, { type: 'error', error: expect.objectContaining({ message: words }) as object, request_id: expect.any(String) as string }])
  const another = await send(`${gateway.url}/api/webhooks`, { body: JSON.stringify(webhook) })
  expect([another.status, Number(another.headers['retry-after']) > 1, JSON.parse(another.text)]).toEqual([503, true, { error: words }])
  // What takes away goes on.
  expect((await send(`${gateway.url}/api/webhooks/${registered.id}`, { method: 'DELETE' })).status).toBe(200)
  expect((await openai.files.delete(file.id)).deleted).toBe(true)
  expect((await openai.batches.cancel(givenUp.id)).status).toBe('cancelling')
  const cancelled = await ended(() => openai, givenUp.id)
  expect(cancelled.status).toBe('cancelled')
  expectOnce(cancelled, await resultsOf(openai, cancelled), ids)
  // What ran meanwhile counts.
  await until('some of the other is answered', async () => ((await openai.batches.retrieve(goesOn.id)).request_counts?.completed ?? 0) > 0)
  expect(await memory.info('used_memory')).toBeGreaterThan(await memory.info('maxmemory'))
  await memory.limit(0)
  const batch = await ended(() => openai, goesOn.id)
  const results = await resultsOf(openai, batch)
  expect([batch.status, results.errors]).toEqual(['completed', []])
  expectOnce(batch, results, ids)
  expectAnswers(results.output, 20)
})

test('Redis itself refuses what is new and runs what ends something, before any gateway has looked at its memory', async ({ drover, memory, redis }) => {
  const broker = await openGateway('test', { url: redis.urlFor?.('gateway') ?? redis.url, prefix: drover.prefix, laneLimit: 10, onError: () => undefined })
  try {
    const { files, batches, webhooks, claims, keyChanges } = broker
    const caller = almighty(LOCAL)
    const entrance = { hasOperator: true, opensWithoutKeys: false }
    const hook = { owner: LOCAL, url: 'https://example.com/', events: [], secret: 'whsec_x' }
    const file = (id: string) => files.add({ id, owner: LOCAL, purpose: 'batch', name: 'in.jsonl', bytes: 1, store: 's', parts: [[id, 1]], expiresMs: undefined })
    const batch = (id: string) => batches.add(id, caller, { view: 'openai', endpoint: '/v1/chat/completions', dialect: 'openai.chat', input: 'f1', inputParts: [['f1', 1]], output: 'o', errors: 'e', window: '24h', metadata: null, filesKeepMs: 60_000, seed: 's' }, 60_000)
    await file('f1')
    expect(await batch('b1')).toBe('added')
    const { id } = (await webhooks.add(hook))!
    const { key } = await keyChanges.add({ name: 'k', scopes: ['infer'], priority_ceiling: 5, batch_share: 1 }, entrance)
    await memory.full()
    const full = { code: 'queue_full', status: 503, message: expect.stringMatching(/memory/) as string }
    await expect(file('f2')).rejects.toMatchObject(full)
    await expect(batch('b2')).rejects.toMatchObject(full)
    await expect(webhooks.add(hook)).rejects.toMatchObject(full)
    await expect(claims.claim({ name: 'c', fingerprint: 'f', id: 'i', keepMs: 60_000 })).rejects.toMatchObject(full)
    // What a batch needs to end, and its content.
    await files.begin('s', 'content')
    await files.abandon('s', 'content')
    const lease = (await batches.claim('token', 's'))!
    expect(await batches.turn(lease, 'validating', 'in_progress', 's', { total: 1, plan: { models: ['m'], index: 'x' } })).toBe('in_progress')
    expect(await batches.commit(lease, 's', { grown: [{ before: ['out', 0], after: ['out', 1] }], ends: { completed: 1, failed: 0, cancelled: 0, expired: 0 }, lines: [0] })).toBe('ok')
    expect(await batches.turn(lease, 'in_progress', 'finalizing', 's')).toBe('finalizing')
    const whole = (await batches.read('b1'))!
    expect(await batches.finish(lease, whole, 'completed', { output: { id: 'o', name: 'o', parts: [['out', 1]], bytes: 1 }, failures: { id: 'e', name: 'e', parts: [], bytes: 0 } })).toBe('ok')
    expect(await batches.get('b1', caller)).toMatchObject({ state: 'completed', counts: { total: 1, completed: 1 } })
    await webhooks.remove({ id, owner: LOCAL })
    expect(await keyChanges.revoke(key.id, entrance)).toBe(true)
    expect(await files.drop('f1', caller)).toBe(true)
    await memory.limit(0)
    await file('f2')
  } finally {
    await broker.close()
  }
})

test('a gateway starts although Redis is full, and what it is configured to describe is described when there is room', async ({ drover, memory }) => {
  await memory.full()
  const gateway = await drover.gateway({ DROVER_MODELS: '{"m": {}}' })
  const described = async () => (JSON.parse((await send(`${gateway.url}/api/models/desired`, { method: 'GET' })).text) as { version: number; desired: { models: object } })
  expect(await described()).toMatchObject({ version: 0, desired: { models: {} } })
  expect(gateway.log()).toMatch(/"level":40[^\n]*"models of the configuration cannot be described yet"/)
  await memory.limit(0)
  await until('it is described', async () => (await described()).version === 1)
  expect(await described()).toMatchObject({ desired: { models: { m: {} } } })
})

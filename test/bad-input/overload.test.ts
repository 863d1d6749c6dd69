import OpenAI from 'openai'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { BOTH_WAYS, DIALECTS, test } from '../support/world.ts'

test('a full lane refuses with 503 and Retry-After in every dialect, and takes jobs again when it has room', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['scripted', 'other'] })
  const gateway = await drover.gateway({ DROVER_LANE_LIMIT: '2' })
  await drover.worker('n1', [engine.url], { gateway })
  const waiting = async () => (await statusOf(gateway.url)).lanes.find(({ model }) => model === 'scripted:latest')?.waiting
  const running = ask(gateway.url, 'ollama.chat', { key: 'on', script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const queued = []
  for (const i of [0, 1]) {
    queued.push(ask(gateway.url, 'ollama.chat', { key: `queued${i}`, script: { tokens: 3 } }))
    await until('it waits', async () => (await waiting()) === i + 1)
  }
  for (const { dialect, stream } of BOTH_WAYS) {
    const answer = await post(gateway.url, dialect, smallest(dialect, 'job=refused', { stream }))
    expect(answer.status).toBe(503)
    expect(errorTextOf(dialect, answer)).toBe('server busy, please try again.  maximum pending requests exceeded')
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
  }
  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 })
  await expect(openai.chat.completions.create({ model: 'scripted', messages: [{ role: 'user', content: 'job=refused' }] })).rejects.toMatchObject({ status: 503 })
  expect(await waiting()).toBe(2)
  // Another model's lane is not full.
  const other = await ask(gateway.url, 'openai.chat', { key: 'other', model: 'other', script: { tokens: 3 } }).told
  expect(other).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
  await engine.admin.release()
  for (const { told } of [running, ...queued]) expect(await told).toMatchObject({ ended: true, verdict: { ok: true } })
  expect(await engine.admin.job('refused')).toMatchObject({ requests: 0 })
  const after = await ask(gateway.url, 'openai.chat', { key: 'after', script: { tokens: 3 } }).told
  expect(after).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
})

test('too many open answers are refused before anything is queued', async ({ drover, scripted }) => {
  const engine = await scripted({ slots: 1 })
  const gateway = await drover.gateway({ DROVER_MAX_OPEN: '2' })
  await drover.worker('n1', [engine.url], { gateway })
  const open = [0, 1].map((i) => ask(gateway.url, 'ollama.chat', { key: `open${i}`, script: { tokens: 20, stall_at: 5 } }))
  await until('both are open', async () => (await statusOf(gateway.url)).gateway.open_answers === 2)
  for (const dialect of DIALECTS) {
    const answer = await post(gateway.url, dialect, smallest(dialect, 'job=refused'))
    expect([answer.status, Number(answer.headers['retry-after']) > 0]).toEqual([503, true])
    expect(errorTextOf(dialect, answer)).toMatch(/busy/)
  }
  await until('both have been let go', async () => {
    await engine.admin.release()
    return (await statusOf(gateway.url)).gateway.open_answers === 0
  })
  for (const { told } of open) expect(await told).toMatchObject({ ended: true, verdict: { ok: true, count: 20 } })
  expect((await engine.admin.job('refused')).requests).toBe(0)
})

test('while Redis is away new requests are refused within 2.5 s, streams under way wait, and all goes on by itself', async ({ drover, redis, scripted }) => {
  const engine = await scripted({ slots: 8 })
  const gateway = await drover.gateway()
  await drover.worker('n1', [engine.url], { gateway, env: { DROVER_SLOTS: '8' } })
  const running = ask(gateway.url, 'ollama.chat', { key: 'on', script: { tokens: 300, rate: 60 } })
  await running.tokens(5)
  await redis.kill()
  for (let round = 0; round < 2; round += 1) {
    const since = performance.now()
    const answers = await Promise.all(BOTH_WAYS.map(async ({ dialect, stream }) => ({ dialect, answer: await post(gateway.url, dialect, smallest(dialect, 'job=away', { stream })) })))
    expect(performance.now() - since).toBeLessThan(2_500)
    for (const { dialect, answer } of answers) {
      expect([answer.status, Number(answer.headers['retry-after']) > 0]).toEqual([503, true])
      expect(errorTextOf(dialect, answer)).toMatch(/queue cannot be reached/)
    }
  }
  expect((await send(`${gateway.url}/readyz`, { method: 'GET' })).status).toBe(503)
  expect((await send(`${gateway.url}/livez`, { method: 'GET' })).status).toBe(200)
  await redis.restart()
  await until('the gateway is ready', async () => (await send(`${gateway.url}/readyz`, { method: 'GET' })).status === 200)
  await until('requests are answered', async () => (await post(gateway.url, 'ollama.chat', smallest('ollama.chat', 'job=back tokens=3'))).status === 200)
  expect(await running.told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 300 } })
  // Nothing that was refused is run later.
  expect((await engine.admin.job('away')).requests).toBe(0)
  await until('nothing is left in the lane', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running: now }) => waiting === 0 && now === 0))
})

import OpenAI from 'openai'
import { expect } from 'vitest'
import { ask, type Told } from '../support/client.ts'
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

test('what waits for a model is bounded in bytes, and the bytes are counted once whatever is sent twice', async ({ drover, scripted }) => {
  const engine = await scripted()
  const gateway = await drover.gateway({ DROVER_LANE_BYTES: '1mb', DROVER_SEND_TWICE: '0.5' })
  await drover.worker('n1', [engine.url], { gateway, env: { DROVER_SEND_TWICE: '0.5' } })
  const bytes = async () => (await statusOf(gateway.url)).lanes.find(({ model }) => model === 'scripted:latest')?.bytes
  const large = (key: string, size: number) => ask(gateway.url, 'ollama.generate', { key, script: { tokens: 3 }, fields: { system: 'x'.repeat(size) } })
  // A lane with nothing in it takes a request of any size.
  expect(await large('alone', 2_000_000).told).toMatchObject({ status: 200, verdict: { ok: true } })
  await until('its bytes are gone', async () => (await bytes()) === 0)
  const running = ask(gateway.url, 'ollama.chat', { key: 'on', script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const small = (await bytes())!
  expect(small).toBeGreaterThan(100)
  const waits = large('waits', 600_000)
  const leaves = large('leaves', 300_000)
  leaves.told.catch(() => undefined)
  await until('both wait', async () => (await bytes())! > 900_000)
  expect(await bytes()).toBeLessThan(905_000)
  const refused = await large('refused', 300_000).told
  expect(refused).toMatchObject({ status: 503, error: 'server busy, please try again.  the requests that wait for this model are too large together' })
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
  leaves.leave()
  await until('what left is no longer counted', async () => (await bytes())! < 605_000)
  const takesItsPlace = large('takes-its-place', 300_000)
  await until('it waits', async () => (await bytes())! > 900_000)
  await engine.admin.release()
  for (const { told } of [running, waits, takesItsPlace]) expect(await told).toMatchObject({ ended: true, verdict: { ok: true } })
  await until('nothing is counted', async () => (await bytes()) === 0)
  expect((await engine.admin.job('refused')).requests + (await engine.admin.job('leaves')).requests).toBe(0)
})

test('who would wait longer than is allowed is refused at once, and told when there is room', async ({ drover, scripted }) => {
  const engine = await scripted({ slots: 1 })
  const gateway = await drover.gateway({ DROVER_MAX_WAIT: '2s' })
  await drover.worker('n1', [engine.url], { gateway })
  const lane = async () => (await statusOf(gateway.url)).lanes.find(({ model }) => model === 'scripted:latest')
  // Some 600 ms each.
  const learnt = { tokens: 30, rate: 50 }
  for (const i of [0, 1]) expect(await ask(gateway.url, 'ollama.chat', { key: `learn${i}`, script: learnt }).told).toMatchObject({ ended: true })
  const running = ask(gateway.url, 'ollama.chat', { key: 'on', script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const queued: Told[] = []
  const open = []
  const refused: Told[] = []
  for (let i = 0; i < 24; i += 1) {
    const { head, told } = ask(gateway.url, 'ollama.chat', { key: `q${i}`, stream: i % 2 === 0, script: { tokens: 3 } })
    head.catch(() => undefined)
    open.push(told.then((each) => (each.status === 503 ? refused : queued).push(each)))
  }
  await until('most are refused', () => refused.length >= 20)
  const { waiting, expected_wait_ms: expected } = (await lane())!
  expect(waiting).toBe(24 - refused.length)
  expect(waiting).toBeGreaterThan(0)
  expect(expected).toBeGreaterThan(1_500)
  for (const { error, headers } of refused) {
    expect(error).toMatch(/busy.*too long/)
    const [seconds, ms] = [Number(headers['retry-after']), Number(headers['retry-after-ms'])]
    expect(seconds).toBe(Math.ceil(ms / 1_000))
    expect(ms).toBeGreaterThanOrEqual(800)
  }
  // They do not all come back at once: each is told of the places that come free after those of the others.
  const told = refused.map(({ headers }) => Number(headers['retry-after-ms'])).toSorted((a, b) => a - b)
  expect(told.at(-1)!).toBeGreaterThan(5 * told[0]!)
  expect(new Set(told).size).toBeGreaterThan(15)
  await engine.admin.release()
  await Promise.all(open)
  expect(await running.told).toMatchObject({ ended: true })
  expect(queued.every(({ ended, verdict }) => ended && verdict.ok)).toBe(true)
  // A free slot takes anything, however long jobs have been.
  await until('the lane is empty', async () => (await lane())?.running === 0)
  expect(await ask(gateway.url, 'openai.chat', { key: 'after', script: { tokens: 3 } }).told).toMatchObject({ status: 200, ended: true })
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

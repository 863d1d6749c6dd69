import OpenAI from 'openai'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { errorTextOf, post, send, smallest, type RawAnswer } from '../support/raw.ts'
import { DIALECTS, test as world } from '../support/world.ts'
import { bearer, get, makeKey, OPERATOR_KEY, setKey } from './making.ts'

/** Three gateways before one node. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ models: [{ name: 'scripted:latest', slots: 8 }] })
  const gateways = await Promise.all([1, 2, 3].map(() => house.gateway({ DROVER_API_KEY: OPERATOR_KEY })))
  const urls = gateways.map(({ url }) => url)
  await house.worker('n1', [{ url: engine.url, slots: 8 }])
  for (const url of urls) await expect.poll(async () => (await get(url, '/v1/models/scripted', OPERATOR_KEY)).status, { timeout: 20_000 }).toBe(200)
  /** A key that all of them know. */
  const keyWith = async (limits: object): Promise<string> => {
    const { key } = await makeKey(urls[0]!, { limits })
    for (const url of urls) await expect.poll(async () => (await get(url, '/api/version', key)).status, { interval: 5, timeout: 5_000 }).toBe(200)
    return key
  }
  return { urls, engine, keyWith }
})

const chat = (url: string, key: string, prompt = 'job=l tokens=1', fields: object = {}): Promise<RawAnswer> => post(url, 'openai.chat', { ...smallest('openai.chat', prompt), ...fields }, bearer(key))

test('requests a minute are held over three gateways, whoever is asked', async ({ site: { urls, keyWith } }) => {
  const key = await keyWith({ requests_per_minute: 100 })
  const statuses: number[] = []
  const asking = Array.from({ length: 24 }, async (_, i) => {
    for (let n = 0; n < 8; n += 1) statuses.push((await chat(urls[(i + n) % 3]!, key)).status)
  })
  await Promise.all(asking)
  expect(statuses.filter((status) => status === 429).length).toBe(92)
  expect(statuses.filter((status) => status === 200).length).toBe(100)
})

test('a limit is set, changed and taken away while its key is used', async ({ site: { urls, keyWith } }) => {
  const key = await keyWith({ concurrent: 4 })
  const [first, second] = urls as [string, string]
  const id = key.split('_')[1]!
  const set = async (limits: object | null) => expect((await setKey(first, id, { limits })).status).toBe(200)
  const asks = async (url = first) => (await chat(url, key)).status
  expect([await asks(), await asks()]).toEqual([200, 200])
  await set({ requests_per_minute: 1 })
  // It counts from then on.
  expect([await asks(), await asks()]).toEqual([200, 429])
  await expect.poll(async () => (await chat(second, key)).headers['x-ratelimit-limit-requests'], { interval: 5, timeout: 5_000 }).toBe('1')
  await set({ requests_per_minute: 1_000 })
  expect(await asks()).toBe(200)
  await set({ requests_per_minute: null })
  const free = await chat(first, key)
  expect([free.status, free.headers['x-ratelimit-limit-requests']]).toEqual([200, undefined])
  await set({ requests_per_minute: 1, tokens_per_day: 1_000_000 })
  expect(await asks()).toBe(429)
  await set(null)
  expect(await asks()).toBe(200)
  await expect.poll(() => asks(second), { interval: 5, timeout: 5_000 }).toBe(200)
})

test('an answer says how the key stands, before its first byte; one without limits says nothing', async ({ site: { urls, keyWith } }) => {
  const key = await keyWith({ requests_per_minute: 10, tokens_per_day: 100_000 })
  for (const [i, stream] of [false, true, false].entries()) {
    const { status, headers } = await chat(urls[i]!, key, 'job=h tokens=3', { stream })
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'x-ratelimit-limit-requests': '10', 'x-ratelimit-remaining-requests': String(9 - i), 'x-ratelimit-reset-requests': '61s',
      'ratelimit-policy': '"requests";q=10;w=60, "day";q=100000;w=86400', ratelimit: expect.stringMatching(new RegExp(`^"requests";r=${9 - i};t=61, "day";r=\\d+;t=\\d+$`)) as string,
    })
  }
  expect(Object.keys((await chat(urls[0]!, OPERATOR_KEY)).headers).filter((name) => name.includes('ratelimit'))).toEqual([])
})

test.for(DIALECTS)('who has used up a minute is told so in the words of the API, and when to come again: %s', async (dialect, { site: { urls, keyWith } }) => {
  const key = await keyWith({ requests_per_minute: 1 })
  expect((await post(urls[0]!, dialect, smallest(dialect, 'job=once tokens=1'), bearer(key))).status).toBe(200)
  const refused = await post(urls[1]!, dialect, smallest(dialect, 'job=twice tokens=1'), bearer(key))
  expect([refused.status, errorTextOf(dialect, refused)]).toEqual([429, 'rate limit reached for this API key: 1 requests per minute'])
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(50)
  expect(refused.headers['x-ratelimit-remaining-requests']).toBe('0')
})

test('clients know the errors by their own classes', async ({ site: { urls, keyWith } }) => {
  const openai = new OpenAI({ baseURL: `${urls[0]}/v1`, apiKey: await keyWith({ tokens_per_day: 1 }), maxRetries: 0 })
  const create = () => openai.chat.completions.create({ model: 'scripted', messages: [{ role: 'user', content: 'job=q tokens=2' }] })
  await create()
  await expect(create()).rejects.toMatchObject({ status: 429, code: 'insufficient_quota', type: 'insufficient_quota' })
  await expect(create()).rejects.toBeInstanceOf(OpenAI.RateLimitError)
  const key = await keyWith({ requests_per_minute: 1 })
  const messages = () => send(`${urls[2]}/v1/messages`, { body: JSON.stringify({ model: 'scripted', max_tokens: 2, messages: [{ role: 'user', content: 'job=m tokens=1' }] }), headers: { 'x-api-key': key } })
  await messages()
  const refused = await messages()
  expect([refused.status, JSON.parse(refused.text)]).toMatchObject([429, { type: 'error', error: { type: 'rate_limit_error' } }])
})

/** Of 100,000 tokens a minute, those used. */
const usedOf = ({ headers }: RawAnswer) => 100_000 - Number(headers['x-ratelimit-remaining-tokens'])

test('tokens are settled with what was really used, also where nobody reads the answer', async ({ site: { urls, keyWith } }) => {
  const key = await keyWith({ tokens_per_minute: 100_000 })
  const expected = usedOf(await chat(urls[0]!, key, 'job=t1 tokens=7'))
  expect(expected).toBeGreaterThan(500)
  // Now it is known; the next one is charged as the first was.
  const used = usedOf(await chat(urls[1]!, key, 'job=t2 tokens=7')) - expected
  expect(used).toBeGreaterThanOrEqual(7)
  expect(used).toBeLessThan(50)
  const handed = await post(urls[2]!, 'openai.chat', smallest('openai.chat', 'job=t3 tokens=7'), { ...bearer(key), prefer: 'respond-async' })
  expect(handed.status).toBe(202)
  const { id } = JSON.parse(handed.text) as { id: string }
  await expect.poll(async () => (JSON.parse((await get(urls[0]!, `/api/jobs/${id}`, key)).text) as { state: string }).state, { timeout: 10_000 }).toBe('completed')
  expect(usedOf(await chat(urls[1]!, key, 'job=t4 tokens=7')) - expected).toBe(3 * used)
})

test('jobs at once are held over three gateways, until each has ended, however it ends', async ({ site: { urls, engine, keyWith } }) => {
  const key = await keyWith({ concurrent: 3 })
  const begin = (i: number) => ask(urls[i % 3]!, 'openai.chat', { key: `c${i}`, script: { tokens: 8, stall_at: 2 }, headers: bearer(key) })
  const first = [0, 1, 2].map(begin)
  await Promise.all(first.map((asking) => asking.tokens(2)))
  const refused = await Promise.all(urls.map((url) => chat(url, key)))
  expect(refused.map(({ status, headers }) => [status, headers['retry-after']])).toEqual(urls.map(() => [429, '1']))
  expect(errorTextOf('openai.chat', refused[0]!)).toBe('rate limit reached for this API key: 3 jobs at once')
  // One leaves: there is room for one.
  first[0]!.leave()
  await first[0]!.told.catch(() => undefined)
  await expect.poll(async () => (await chat(urls[1]!, key)).status, { timeout: 10_000 }).toBe(200)
  await engine.admin.release()
  await Promise.all(first.slice(1).map(({ told }) => told))
  const again = [3, 4, 5].map(begin)
  await Promise.all(again.map((asking) => asking.tokens(2)))
  expect((await chat(urls[0]!, key)).status).toBe(429)
  await engine.admin.release()
  expect((await Promise.all(again.map(({ told }) => told))).map(({ ended }) => ended)).toEqual([true, true, true])
})

test('waiting jobs are held; one that a node has begun is none', async ({ site: { urls, engine, keyWith } }) => {
  const key = await keyWith({ queued: 2 })
  const begin = (i: number) => ask(urls[i % 3]!, 'openai.chat', { key: `w${i}`, script: { tokens: 4, stall_at: 1 }, headers: bearer(key) })
  // One after the other: each is begun before the next comes.
  const running: ReturnType<typeof begin>[] = []
  for (let i = 0; i < 8; i += 1) {
    running.push(begin(i))
    await running.at(-1)!.tokens(1)
  }
  const waiting = [begin(8), begin(9)]
  await expect.poll(async () => (await get(urls[0]!, '/api/status', OPERATOR_KEY)).text.includes('"waiting":2'), { timeout: 10_000 }).toBe(true)
  expect(errorTextOf('openai.chat', await chat(urls[2]!, key))).toBe('rate limit reached for this API key: 2 waiting jobs')
  await engine.admin.release()
  await Promise.all(running.map(({ told }) => told))
  await Promise.all(waiting.map((asking) => asking.tokens(1)))
  await engine.admin.release()
  expect((await Promise.all(waiting.map(({ told }) => told))).map(({ verdict }) => verdict.ok)).toEqual([true, true])
})

test('many inputs that are shared out are one request and one job', async ({ site: { urls, keyWith } }) => {
  const key = await keyWith({ requests_per_minute: 2, concurrent: 1 })
  const input = Array.from({ length: 32 }, (_, i) => `job=e${i}`)
  const answer = await send(`${urls[0]}/v1/embeddings`, { body: JSON.stringify({ model: 'scripted', input }), headers: bearer(key) })
  expect([answer.status, Number(answer.headers['x-drover-pieces'])]).toEqual([200, expect.any(Number)])
  expect((await chat(urls[1]!, key)).headers['x-ratelimit-remaining-requests']).toBe('0')
})

import { Redis } from 'ioredis'
import { expect } from 'vitest'
import { verifyText } from '../engine/tokens.ts'
import { bearer, makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { until } from '../support/drover.ts'
import { readEvents } from '../support/event-stream.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { ASYNC, handIn, listOf, postTo, resultOf, show, untilState, type Shown } from './asking.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ slots: 16, models: ['scripted', 'other:1b'] })
  const a = await house.gateway()
  await house.worker('n1', [{ url: engine.url, slots: 16 }], { gateway: a })
  return { a, engine, another: (env: Record<string, string> = {}) => house.gateway(env) }
})

/** An installation of its own with two keys and two gateways. */
const keyed = world.extend('site', async ({ drover, scripted }) => {
  const engine = await scripted({ slots: 8 })
  const env = { DROVER_API_KEY: OPERATOR_KEY, DROVER_MOST_KEPT: '4' }
  const [a, b] = await Promise.all([drover.gateway(env), drover.gateway(env)])
  await drover.worker('n1', [{ url: engine.url, slots: 8 }])
  await until('the model is there', async () => (await send(`${a.url}/v1/models/scripted:latest`, { method: 'GET', headers: bearer(OPERATOR_KEY) })).status === 200)
  await until('the model is there', async () => (await send(`${b.url}/v1/models/scripted:latest`, { method: 'GET', headers: bearer(OPERATOR_KEY) })).status === 200)
  const [mine, theirs] = await Promise.all([makeKey(a.url, {}), makeKey(a.url, {})])
  for (const { key } of [mine, theirs]) await until('the key opens', async () => (await send(`${b.url}/api/tags`, { method: 'GET', headers: bearer(key) })).status === 200)
  return { a: a.url, b: b.url, engine, mine, theirs }
})

const CHAT = '/v1/chat/completions'
const chat = (key: string, script = 'tokens=4', fields: Record<string, unknown> = {}) => smallest('openai.chat', `job=${key} ${script}`, fields)

interface Chunk {
  choices: { delta: { content?: string | null } }[]
}
const textOf = (data: readonly string[]) => data.map((each) => (each === '[DONE]' ? '' : ((JSON.parse(each) as Chunk).choices[0]?.delta.content ?? ''))).join('')

test('a job outlives the gateway that took it; its stream is read on at another one, each event once', async ({ site: { a, engine, another } }) => {
  const doomed = await another()
  const id = await handIn(doomed.url, CHAT, chat('outlives', 'tokens=120 rate=60', { stream: true }))
  const first = await readEvents(`${doomed.url}/api/jobs/${id}/stream`)
  await first.read(30)
  doomed.signal('SIGKILL')
  expect(await first.over).toBe(false)
  const second = await readEvents(`${a.url}/api/jobs/${id}/stream`, first.last)
  expect(await second.over).toBe(true)
  const data = [...first.events, ...second.events].map((event) => event.data)
  expect(verifyText('outlives', textOf(data))).toEqual({ ok: true, count: 120 })
  expect(data.filter((each) => each === '[DONE]')).toEqual([data.at(-1)])
  expect((await engine.admin.job('outlives')).requests).toBe(1)
  // What is kept is the same stream.
  expect((await resultOf(a.url, id)).text).toBe(data.map((each) => `data: ${each}\n\n`).join(''))
  const again = await readEvents(`${a.url}/api/jobs/${id}/stream`)
  await again.over
  expect(again.events.map((event) => event.data)).toEqual(data)
})

test('a job that waits is run after the gateway has gone that took it', async ({ site: { a, engine, another } }) => {
  const doomed = await another()
  await engine.admin.set({ hold: 1, tokens: 3 }, 'waits')
  const id = await handIn(doomed.url, CHAT, chat('waits'))
  doomed.signal('SIGKILL')
  await doomed.exited
  await engine.admin.release('waits')
  expect((await resultOf(a.url, id)).status).toBe(200)
})

test('what is kept goes after its time, and its place in the list with it', async ({ site: { a, another, engine }, redis, house }) => {
  const short = await another({ DROVER_KEEP_RESULTS: '1s' })
  for (const key of ['short', 'asked']) await engine.admin.set({ tokens: 4, hold: 1 }, key)
  const ids = [await handIn(short.url, CHAT, chat('short')), await handIn(a.url, CHAT, chat('asked'), { 'x-drover-keep': '1s' })]
  const stays = await handIn(a.url, CHAT, chat('stays'))
  expect((await resultOf(a.url, stays)).status).toBe(200)
  // Who reads while they run has their answers, however soon they go.
  const readers = await Promise.all(ids.map((id) => readEvents(`${a.url}/api/jobs/${id}/stream`)))
  await until('both run', async () => (await Promise.all(['short', 'asked'].map((key) => engine.admin.job(key)))).every(({ running }) => running === 1))
  await Promise.all(['short', 'asked'].map((key) => engine.admin.release(key)))
  for (const reader of readers) expect([await reader.over, reader.events.length]).toEqual([true, 1])
  for (const id of ids) await until('it has gone', async () => (await send(`${a.url}/api/jobs/${id}`, { method: 'GET' })).status === 404)
  const client = new Redis(redis.connection)
  try {
    // Nothing is left that nobody would ever take away.
    await until('the lists have forgotten them', async () => (await client.zcard(`${house.prefix}:jobs:until`)) === (await client.zcard(`${house.prefix}:jobs:all`)) && (await client.zscore(`${house.prefix}:jobs:all`, ids[0]!)) === null && (await client.zscore(`${house.prefix}:jobs:all`, ids[1]!)) === null)
    expect(await client.zscore(`${house.prefix}:jobs:of:local`, stays)).not.toBe(null)
    expect(await client.zscore(`${house.prefix}:jobs:of:local`, ids[0]!)).toBe(null)
  } finally {
    client.disconnect()
  }
})

test('the list goes from the newest to the oldest, page by page, and by state, model and time', async ({ site: { a, engine } }) => {
  const before = new Date().toISOString()
  await engine.admin.set({ hold: 1, tokens: 3 }, 'listed6')
  const ids: string[] = []
  for (let i = 0; i < 7; i += 1) ids.push(await handIn(a.url, CHAT, { ...chat(`listed${i}`, i === 5 ? 'fail=400' : 'tokens=4'), ...(i % 2 === 1 && { model: 'other:1b' }) }))
  for (const id of ids.slice(0, 6)) await resultOf(a.url, id)
  await untilState(a.url, ids[6]!, 'running')
  const newest = ids.toReversed()
  const paged: string[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page = await listOf(a.url, { limit: '2', after: before, ...(cursor && { cursor }) })
    expect(page.jobs.length).toBeLessThanOrEqual(2)
    paged.push(...page.jobs.map(({ id }) => id))
    cursor = page.next_cursor
  }
  expect(paged).toEqual(newest)
  const listed = async (query: Record<string, string>) => (await listOf(a.url, { after: before, ...query })).jobs.map(({ id }) => id)
  expect(await listed({ state: 'failed' })).toEqual([ids[5]])
  expect(await listed({ state: 'running' })).toEqual([ids[6]])
  expect(await listed({ model: 'other:1b' })).toEqual([ids[5], ids[3], ids[1]])
  expect(await listed({ model: 'OTHER:1b', state: 'completed', limit: '1' })).toEqual([ids[3]])
  expect(await listed({ before })).toEqual([])
  const [job] = (await listOf(a.url, { limit: '1' })).jobs
  expect(job).toEqual(await show(a.url, ids[6]!))
  // A job that a client left is in it, one that was waited for is not.
  const left = await postTo(a.url + CHAT, chat('left'), { 'x-drover-on-disconnect': 'continue' })
  await post(a.url, 'openai.chat', chat('plain'))
  expect(await listed({ limit: '1' })).toEqual([left.headers['x-drover-job']])
  for (const query of ['limit=0', 'limit=101', 'state=done', 'after=yesterday', 'cursor=x', 'more=1']) {
    const answer = await send(`${a.url}/api/jobs?${query}`, { method: 'GET' })
    expect([query, answer.status, errorTextOf('ollama.chat', answer)]).toEqual([query, 400, expect.stringContaining(query.split('=')[0]!)])
  }
  await engine.admin.release('listed6')
})

test('pages are whole though hundreds of jobs have come in one moment', async ({ site: { a, engine }, redis, house }) => {
  await engine.admin.set({ tokens: 1 })
  const ids = await Promise.all(Array.from({ length: 230 }, (_, i) => handIn(a.url, CHAT, chat(`moment${i}`))))
  const client = new Redis(redis.connection)
  try {
    const at = Date.now() + 10_000
    for (const list of ['jobs:all', 'jobs:of:local']) await client.zadd(`${house.prefix}:${list}`, 'XX', ...ids.flatMap((id) => [at, id]))
    for (const limit of ['100', '7']) {
      const paged: string[] = []
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page = await listOf(a.url, { limit, after: new Date(at).toISOString(), ...(cursor && { cursor }) })
        paged.push(...page.jobs.map(({ id }) => id))
        cursor = page.next_cursor
      }
      expect(paged).toEqual(ids.toSorted().toReversed())
    }
  } finally {
    client.disconnect()
    await engine.admin.set(undefined)
  }
})

keyed('nobody sees, reads, cancels or repeats another’s job, by id, list or key; who may do everything sees all', async ({ site: { a, b, engine, mine, theirs } }) => {
  const body = chat('owned', 'tokens=4', { stream: true })
  const own = await handIn(a, CHAT, body, { ...bearer(mine.key), 'idempotency-key': 'same' })
  await until('it has ended', async () => (JSON.parse((await send(`${b}/api/jobs/${own}`, { method: 'GET', headers: bearer(mine.key) })).text) as Shown).state === 'completed')
  for (const [path, method] of [['', 'GET'], ['/result', 'GET'], ['/stream', 'GET'], ['', 'DELETE']] as const) {
    const theirsIs = await send(`${b}/api/jobs/${own}${path}`, { method, headers: bearer(theirs.key) })
    const nobodys = await send(`${b}/api/jobs/0-${'x'.repeat(22)}${path}`, { method, headers: bearer(theirs.key) })
    expect([theirsIs.status, theirsIs.text.replace(own, '')]).toEqual([404, nobodys.text.replace(`0-${'x'.repeat(22)}`, '')])
    expect((await send(`${b}/api/jobs/${own}${path}`, { method })).status).toBe(401)
  }
  const listed = async (key: string, query = {}) => (await listOf(b, query, bearer(key))).jobs.map(({ id, owner }) => [id, owner])
  expect(await listed(mine.key)).toEqual([[own, mine.id]])
  expect(await listed(theirs.key)).toEqual([])
  expect(await listed(theirs.key, { owner: mine.id })).toEqual([])
  // The same key is another's name for another thing.
  const others = await handIn(b, CHAT, body, { ...bearer(theirs.key), 'idempotency-key': 'same' })
  expect(others).not.toBe(own)
  expect(await listed(theirs.key)).toEqual([[others, theirs.id]])
  expect(await listed(OPERATOR_KEY)).toEqual([[others, theirs.id], [own, mine.id]])
  expect(await listed(OPERATOR_KEY, { owner: mine.id })).toEqual([[own, mine.id]])
  expect((await send(`${a}/api/jobs/${own}/result`, { method: 'GET', headers: bearer(OPERATOR_KEY) })).status).toBe(200)
  expect((await engine.admin.job('owned')).requests).toBe(2)
})

keyed('one owner has only so many kept jobs; what is deleted makes room, and others have their own', async ({ site: { a, b, mine, theirs } }) => {
  const ids: string[] = []
  for (let i = 0; i < 4; i += 1) ids.push(await handIn(i % 2 ? a : b, CHAT, chat(`full${i}`), bearer(mine.key)))
  const refused = await postTo(a + CHAT, chat('full'), { ...ASYNC, ...bearer(mine.key) })
  expect([refused.status, errorTextOf('openai.chat', refused)]).toEqual([429, expect.stringContaining('too many of your jobs are kept')])
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
  expect((await postTo(a + CHAT, chat('plain'), bearer(mine.key))).status).toBe(200)
  await handIn(a, CHAT, chat('theirs'), bearer(theirs.key))
  await until('it has ended', async () => (await send(`${a}/api/jobs/${ids[0]!}/result`, { method: 'GET', headers: bearer(mine.key) })).status === 200)
  expect((await send(`${a}/api/jobs/${ids[0]!}`, { method: 'DELETE', headers: bearer(mine.key) })).status).toBe(204)
  await handIn(b, CHAT, chat('room'), bearer(mine.key))
})

import { expect } from 'vitest'
import { errorTextOf, send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { ASYNC, essence, handIn, leaving, postTo, resultOf, show, untilState, type Shown } from './asking.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ slots: 8, models: [{ name: 'scripted', capabilities: ['completion', 'embedding'] }] })
  const single = await engines({ slots: 1, models: ['single'] })
  const [a, b] = await Promise.all([house.gateway(), house.gateway()])
  await house.worker('n1', [{ url: engine.url, slots: 8 }, { url: single.url, slots: 1 }], { gateway: a })
  return { a: a.url, b: b.url, engine, single }
})

const user = (content: string) => [{ role: 'user', content }]
const chat = (content: string, fields: Record<string, unknown> = {}) => ({ model: 'scripted', messages: user(content), ...fields })

/** A streamed request for the engine with one slot. */
const single = (key: string, script = 'tokens=5') => ({ model: 'single', messages: user(`job=${key} ${script}`), stream: true })

/** One request for each format, streamed and not. */
const FORMATS: { dialect: string; path: string; body: (key: string) => Record<string, unknown>; streams: boolean }[] = [
  { dialect: 'ollama.chat', path: '/api/chat', body: (key) => chat(`job=${key} tokens=12`), streams: true },
  { dialect: 'ollama.generate', path: '/api/generate', body: (key) => ({ model: 'scripted', prompt: `job=${key} tokens=12` }), streams: true },
  { dialect: 'openai.chat', path: '/v1/chat/completions', body: (key) => chat(`job=${key} tokens=12`), streams: true },
  { dialect: 'openai.completions', path: '/v1/completions', body: (key) => ({ model: 'scripted', prompt: `job=${key} tokens=12` }), streams: true },
  { dialect: 'openai.responses', path: '/v1/responses', body: (key) => ({ model: 'scripted', input: `job=${key} tokens=12` }), streams: true },
  { dialect: 'anthropic.messages', path: '/v1/messages', body: (key) => chat(`job=${key} tokens=12`, { max_tokens: 100 }), streams: true },
  { dialect: 'openai.embeddings', path: '/v1/embeddings', body: (key) => ({ model: 'scripted', input: [key, 'two'] }), streams: false },
  { dialect: 'ollama.embed', path: '/api/embed', body: (key) => ({ model: 'scripted', input: [key, 'two'] }), streams: false },
]
const WAYS = FORMATS.flatMap((format) => (format.streams ? [true, false] : [undefined]).map((stream) => ({ ...format, stream, way: stream === undefined ? 'whole' : stream ? 'streamed' : 'one body' })))

test.for(WAYS)('what was handed in has the answer that waiting for it has: $dialect, $way', async ({ dialect, path, body, stream }, { site }) => {
  const asked = { ...body('same'), ...(stream !== undefined && { stream }) }
  const accepted = await postTo(site.a + path, asked, ASYNC)
  expect(accepted.status).toBe(202)
  const { id, ...more } = JSON.parse(accepted.text) as { id: string }
  expect(more).toEqual({ state: 'queued', url: `/api/jobs/${id}`, result_url: `/api/jobs/${id}/result`, stream_url: `/api/jobs/${id}/stream` })
  expect(accepted.headers).toMatchObject({ location: `/api/jobs/${id}`, 'preference-applied': 'respond-async', 'x-drover-job': id, 'x-drover-model': 'scripted:latest' })
  const result = await resultOf(site.b, id)
  expect(essence(result)).toEqual(essence(await postTo(site.a + path, asked)))
  expect(result.headers).toMatchObject({ 'x-drover-job': id, 'x-drover-model': 'scripted:latest', 'x-drover-node': 'n1', 'x-drover-attempts': '1' })
  // As often as it is asked for.
  expect((await resultOf(site.a, id)).text).toBe(result.text)
  expect(await show(site.b, id)).toMatchObject({ id, dialect, state: 'completed', stream: stream ?? false, background: true, attempts: 1, node: 'n1' })
})

test('a job tells where it stands, and when it waited, began and ended', async ({ site }) => {
  const first = await handIn(site.a, '/v1/chat/completions', single('held', 'tokens=5 hold=1'))
  await untilState(site.b, first, 'running')
  const second = await handIn(site.a, '/v1/chat/completions', single('behind'))
  const third = await handIn(site.b, '/v1/chat/completions', single('last'))
  const waits = { state: 'queued', node: null, attempts: 0, started_at: null, first_token_at: null, ended_at: null, expires_at: null, usage: null, error: null }
  expect(await show(site.b, second)).toMatchObject({ ...waits, position: 0 })
  expect(await show(site.a, third)).toMatchObject({ ...waits, position: 1, owner: 'local', class: 'interactive', model: 'single:latest' })
  expect(await show(site.a, first)).toMatchObject({ state: 'running', node: 'n1', attempts: 1, position: null, ended_at: null })
  const unready = await send(`${site.a}/api/jobs/${first}/result`, { method: 'GET' })
  expect(unready).toMatchObject({ status: 409, headers: { 'retry-after': '1' } })
  expect(errorTextOf('ollama.chat', unready)).toBe(`job '${first}' has not ended: it is running`)
  await site.single.admin.release('held')
  await untilState(site.a, third, 'completed')
  const ended = await show(site.a, first)
  expect(ended).toMatchObject({ state: 'completed', position: null, usage: { completion_tokens: 5 }, error: null })
  const [created, started, said, over, expires] = [ended.created_at, ended.started_at, ended.first_token_at, ended.ended_at, ended.expires_at].map((time) => Date.parse(time ?? ''))
  expect([created, started, said, over].toSorted((x, y) => x! - y!)).toEqual([created, started, said, over])
  expect(expires! - over!).toBeGreaterThan(24 * 3_600_000 - 1_000)
  expect(expires! - over!).toBeLessThan(24 * 3_600_000 + 1_000)
  // It is the same each time it is looked at.
  expect(await show(site.b, first)).toEqual(ended)
})

test('a job that fails answers with its own error, in its format and with its status', async ({ site }) => {
  const cases = [
    { path: '/v1/messages', body: chat('job=refused1 fail=400', { max_tokens: 9, stream: true }), form: { type: 'error', error: { type: 'invalid_request_error' } } },
    { path: '/v1/chat/completions', body: chat('job=refused2 fail=400'), form: { error: { message: expect.stringContaining('scripted failure') as string } } },
    { path: '/api/chat', body: chat('job=refused3 fail=400'), form: { error: expect.stringContaining('scripted failure') as string } },
  ]
  for (const { path, body, form } of cases) {
    const id = await handIn(site.a, path, body)
    const result = await resultOf(site.b, id)
    expect(result.status).toBe(400)
    expect(JSON.parse(result.text)).toMatchObject(form)
    expect(await show(site.a, id)).toMatchObject({ state: 'failed', error: { code: 'engine_refused', status: 400 } })
  }
})

test('a request by the name of its format, or by its path, is the same as on its route', async ({ site }) => {
  const whole = await postTo(`${site.a}/api/chat`, chat('job=ordered tokens=4', { stream: false }))
  for (const how of [{ dialect: 'ollama.chat' }, { url: '/api/chat' }]) {
    const accepted = await postTo(`${site.a}/api/jobs`, { ...how, body: chat('job=ordered tokens=4', { stream: false }) })
    expect(accepted.status).toBe(202)
    expect(accepted.headers).not.toHaveProperty('preference-applied')
    expect(essence(await resultOf(site.b, (JSON.parse(accepted.text) as Shown).id))).toEqual(essence(whole))
  }
  const refused = [
    [{ body: {} }, 'one of dialect and url is needed'], [{ url: '/api/chat', dialect: 'ollama.chat', body: {} }, 'one of dialect and url is needed'], [{ url: '/api/tags', body: {} }, 'url: one of'],
    [{ dialect: 'ollama', body: {} }, 'dialect: one of'], [{ url: '/api/chat' }, 'body'], [{ url: '/api/chat', body: {}, more: 1 }, 'more'], ['no', 'the request body'],
  ] as const
  for (const [order, why] of refused) {
    const answer = await postTo(`${site.a}/api/jobs`, order)
    expect([answer.status, errorTextOf('ollama.chat', answer)]).toEqual([400, expect.stringContaining(why)])
  }
  const missing = await postTo(`${site.a}/api/jobs`, { url: '/v1/chat/completions', body: { model: 'nowhere', messages: user('hi') } })
  expect([missing.status, errorTextOf('ollama.chat', missing)]).toEqual([404, expect.stringContaining('nowhere')])
})

test('what is wrong with a request is said at once, in the form of its route', async ({ site }) => {
  expect((await postTo(`${site.a}/v1/chat/completions`, { model: 'nowhere', messages: user('hi') }, ASYNC)).status).toBe(404)
  expect((await postTo(`${site.a}/api/chat`, { model: 'scripted', messages: 'no' }, ASYNC)).status).toBe(400)
  for (const keep of ['0s', '8d', 'long', '5']) {
    const answer = await postTo(`${site.a}/api/chat`, chat('job=kept'), { ...ASYNC, 'x-drover-keep': keep })
    expect([answer.status, errorTextOf('ollama.chat', answer)]).toEqual([400, expect.stringContaining('x-drover-keep')])
  }
})

test('a waiting job is cancelled and never reaches an engine; a running one is stopped', async ({ site }) => {
  const running = await handIn(site.a, '/api/chat', single('stopped', 'tokens=500 rate=20'))
  await untilState(site.a, running, 'running')
  const waiting = await handIn(site.a, '/api/chat', single('never'))
  for (const id of [waiting, running]) {
    const answer = await send(`${site.b}/api/jobs/${id}`, { method: 'DELETE' })
    expect(answer.status).toBe(200)
    expect(JSON.parse(answer.text)).toMatchObject({ id, state: 'cancelled', position: null })
    expect(await resultOf(site.a, id)).toMatchObject({ status: 499 })
  }
  await expect.poll(async () => (await site.single.admin.job('stopped')).aborts).toBe(1)
  expect((await site.single.admin.job('never')).requests).toBe(0)
  // What is kept of it goes the same way.
  expect((await send(`${site.a}/api/jobs/${running}`, { method: 'DELETE' })).status).toBe(204)
  for (const path of ['', '/result', '/stream']) expect((await send(`${site.b}/api/jobs/${running}${path}`, { method: 'GET' })).status).toBe(404)
  expect((await send(`${site.b}/api/jobs/${running}`, { method: 'DELETE' })).status).toBe(404)
})

test('a plain request can be looked at, too, while it runs', async ({ site }) => {
  const { answer, leave } = leaving(`${site.a}/api/chat`, chat('job=plain tokens=500 rate=50', { stream: true }))
  const id = String((await answer).headers['x-drover-job'])
  expect(await show(site.b, id)).toMatchObject({ state: 'running', background: false })
  leave()
  await untilState(site.b, id, 'cancelled')
})

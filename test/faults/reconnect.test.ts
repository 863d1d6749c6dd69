import type OpenAI from 'openai'
import { Stream } from 'openai/streaming'
import { EventSource, request } from 'undici'
import { expect } from 'vitest'
import { expectedText, verifyText } from '../engine/tokens.ts'
import { ollamaTurn, startCannedEngine } from '../support/canned-engine.ts'
import { until } from '../support/drover.ts'
import { readEvents, type EventReader, type ServerEvent } from '../support/event-stream.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { DIALECTS, PATHS, test as world, type DialectName } from '../support/world.ts'

/** For the one test that waits until it is over. */
const KEEP_MS = 6_000

/** More than the buffers of a connection hold; and one event that is longer than a frame. */
const LONG = [...Array.from({ length: 300 }, (_, i) => `${i}:${'x'.repeat(12_000)}`), `é${'😀'.repeat(70_000)}`, 'last']

const test = world
  .extend('canned', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const engine = await startCannedEngine('ollama', 'long:latest')
    onCleanup(() => engine.close())
    const said = LONG.map((content) => ({ model: 'long:latest', created_at: '2026-11-20T12:00:00Z', message: { role: 'assistant', content }, done: false }))
    engine.answers('/api/chat', { answer: [...said, ...ollamaTurn({})] })
    return engine
  })
  .extend('site', { scope: 'file' }, async ({ house, engines, canned }) => {
    const engine = await engines({ slots: 16 })
    const [a, b] = await Promise.all([house.gateway(), house.gateway({ DROVER_KEEP_ALIVE: '300ms', DROVER_RESUME: 'false' })])
    await house.worker('n1', [{ url: engine.url, slots: 16 }, { url: canned.url, slots: 4 }], { gateway: a })
    return { a, b, engine, another: (env: Record<string, string> = {}) => house.gateway({ ...env, DROVER_DRAIN_LIMIT: '300ms' }) }
  })

const CONTINUE = { 'x-drover-on-disconnect': 'continue' }

/** A request whose job is known as soon as its header is there. */
const begin = async (url: string, dialect: DialectName, marker: string, { headers = {}, fields = {} }: { headers?: Record<string, string>; fields?: Record<string, unknown> } = {}) => {
  const abort = new AbortController()
  const answer = await request(url + PATHS[dialect], {
    method: 'POST', body: JSON.stringify(smallest(dialect, marker, { stream: true, ...fields })), headers: { 'content-type': 'application/json', ...headers }, signal: abort.signal,
  })
  const text = answer.body.text()
  text.catch(() => undefined)
  return { status: answer.statusCode, job: String(answer.headers['x-drover-job']), text, leave: () => abort.abort() }
}

const path = (job: string) => `/api/jobs/${job}/stream`

interface Said {
  choices?: { delta?: { content?: string | null } }[]
  message?: { content: string }
  response?: string
}
const isEnd = (dialect: DialectName, { data }: ServerEvent) => (dialect === 'openai.chat' ? data === '[DONE]' : (JSON.parse(data) as { done?: boolean }).done === true)
const textOf = (events: readonly ServerEvent[]) =>
  events.map(({ data }) => {
    if (data === '[DONE]') return ''
    const said = JSON.parse(data) as Said
    return said.choices?.map(({ delta }) => delta?.content ?? '').join('') ?? said.message?.content ?? said.response ?? ''
  }).join('')

/** The body that the events make in their own dialect. */
const bodyOf = (dialect: DialectName, events: readonly ServerEvent[]) => events.map(({ data }) => (dialect === 'openai.chat' ? `data: ${data}\n\n` : `${data}\n`)).join('')

test('streams that are read on a gateway which is killed go on at another one, exactly', async ({ site }) => {
  const doomed = await site.another()
  const streams = await Promise.all(
    DIALECTS.map(async (dialect, i) => {
      const key = `kill${i}`
      const client = await begin(doomed.url, dialect, `job=${key} tokens=120 rate=60`, { headers: CONTINUE })
      const first = await readEvents(doomed.url + path(client.job))
      expect(first).toMatchObject({ status: 200, headers: { 'content-type': 'text/event-stream', 'x-drover-job': client.job } })
      await first.read(30)
      return { dialect, key, client, first }
    }),
  )
  doomed.signal('SIGKILL')
  for (const { dialect, key, client, first } of streams) {
    expect(await first.over).toBe(false)
    await expect(client.text).rejects.toThrow()
    const second = await readEvents(site.b.url + path(client.job), first.last)
    expect(await second.over).toBe(true)
    const events = [...first.events, ...second.events]
    expect(verifyText(key, textOf(events))).toEqual({ ok: true, count: 120 })
    expect(events.filter((event) => isEnd(dialect, event))).toEqual([events.at(-1)])
    expect((await site.engine.admin.job(key)).requests).toBe(1)
    expect(await readEvents(site.b.url + path(client.job), second.last)).toMatchObject({ status: 204 })
  }
})

test.for(DIALECTS)('who comes back again and again, to either gateway, reads each event once: %s', async (dialect, { site }) => {
  const seed = Math.floor(Math.random() * 2 ** 31)
  let state = seed
  const below = (n: number) => (state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff) % n
  const client = await begin(site.a.url, dialect, 'job=again tokens=700 rate=500')
  const events: ServerEvent[] = []
  let last = ''
  for (let visits = 0; visits < 20; visits += 1) {
    const reader = await readEvents(`${(below(2) ? site.a : site.b).url}${path(client.job)}?after=0`, last)
    expect(reader.status, `seed ${seed}`).toBe(200)
    const count = 1 + below(30)
    await reader.read(count)
    reader.leave()
    // What came behind these is lost with the connection.
    events.push(...reader.events.slice(0, count))
    last = events.at(-1)!.id
  }
  const rest = await readEvents(site.b.url + path(client.job), last)
  await rest.over
  events.push(...rest.events)
  expect(bodyOf(dialect, events), `seed ${seed}`).toBe(await client.text)
  expect(events.every(({ named }) => named)).toBe(true)
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length)
  // From behind any of them the rest is the same, now that all of it lies in the log.
  for (let i = 0; i < 8; i += 1) {
    const at = below(events.length - 1)
    const later = await readEvents(`${site.a.url}${path(client.job)}?after=${events[at]!.id}`)
    await later.over
    expect(later.events, `seed ${seed}`).toEqual(events.slice(at + 1))
  }
})

test('an EventSource reads an answer to its end, and does not come again', async ({ site }) => {
  const { job, text } = await begin(site.a.url, 'openai.chat', 'job=page tokens=40 rate=200')
  const source = new EventSource(site.b.url + path(job), { node: { reconnectionTime: 50 } })
  const data: string[] = []
  source.addEventListener('message', (event) => void data.push(String(event.data)))
  await until('it gives up', () => source.readyState === EventSource.CLOSED)
  expect(data.map((each) => `data: ${each}\n\n`).join('')).toBe(await text)
})

test('OpenAI’s own client reads the stream of a job', async ({ site }) => {
  const { job } = await begin(site.a.url, 'openai.chat', 'job=own tokens=40')
  const controller = new AbortController()
  const response = await fetch(site.b.url + path(job))
  const chunks = Stream.fromSSEResponse<OpenAI.Chat.Completions.ChatCompletionChunk>(response, controller)
  let text = ''
  for await (const chunk of chunks) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toBe(expectedText('own', 40))
})

test('readers of one job do not disturb each other, and it goes on while any of them is there', async ({ site }) => {
  const client = await begin(site.a.url, 'ollama.chat', 'job=many tokens=2000 rate=50')
  const readers: EventReader[] = []
  for (const { url } of [site.a, site.a, site.b]) readers.push(await readEvents(url + path(client.job)))
  const [first, second, third] = readers as [EventReader, EventReader, EventReader]
  await Promise.all(readers.map((reader) => reader.read(10)))
  first.leave()
  await second.read(second.events.length + 10)
  client.leave()
  third.leave()
  await second.read(second.events.length + 30)
  expect((await site.engine.admin.job('many')).running).toBe(1)
  expect(verifyText('many', textOf(second.events)).ok).toBe(true)
  second.leave()
  await until('the engine is stopped', async () => (await site.engine.admin.job('many')).running === 0, 3_000)
})

test('a job that is to go on does so without anybody, and is kept for a while', async ({ site }) => {
  const forgetful = await site.another({ DROVER_KEEP: `${KEEP_MS}ms` })
  const { job, leave } = await begin(forgetful.url, 'ollama.generate', 'job=alone tokens=60 rate=60', { headers: CONTINUE })
  leave()
  await until('its answer is whole', async () => (await site.engine.admin.job('alone')).running === 0)
  const reader = await readEvents(site.b.url + path(job))
  await reader.over
  expect(verifyText('alone', textOf(reader.events))).toEqual({ ok: true, count: 60 })
  await until('it is forgotten', async () => (await send(site.a.url + path(job), { method: 'GET' })).status === 404, 2 * KEEP_MS)
})

test('a plain request, and one that says so, ends with its client', async ({ site }) => {
  for (const [key, headers] of [['plain', {}], ['said', { 'x-drover-on-disconnect': 'cancel' }]] as const) {
    const { job, leave } = await begin(site.a.url, 'ollama.chat', `job=${key} tokens=2000 rate=50`, { headers })
    leave()
    await until('the engine is stopped', async () => (await site.engine.admin.job(key)).running === 0, 3_000)
    const reader = await readEvents(site.b.url + path(job))
    await reader.over
    expect(JSON.parse(reader.events.at(-1)!.data)).toEqual({ error: 'request canceled' })
  }
})

test.for(DIALECTS)('an answer that is no stream is one event at its end, with or without its client: %s', async (dialect, { site }) => {
  const asking = (key: string, headers = {}) => post(site.a.url, dialect, smallest(dialect, `job=${key} tokens=30`, { stream: false }), headers)
  const { text, headers } = await asking('whole')
  const reader = await readEvents(site.b.url + path(String(headers['x-drover-job'])))
  await reader.over
  expect(reader.events.map(({ data }) => data)).toEqual([text.trimEnd()])
  expect((await readEvents(site.a.url + path(String(headers['x-drover-job'])), reader.last)).status).toBe(204)
})

test.for(DIALECTS)('a job that fails ends with the error that its client gets, once: %s', async (dialect, { site }) => {
  const client = await begin(site.a.url, dialect, 'job=fails tokens=40 rate=100 error_at=20', { headers: { 'x-drover-resume': 'never' } })
  const reader = await readEvents(site.b.url + path(client.job))
  await reader.over
  expect(bodyOf(dialect, reader.events)).toBe(await client.text)
  expect(reader.events.at(-1)!.data).toContain('"error"')
  expect((await readEvents(site.b.url + path(client.job), reader.last)).status).toBe(204)
  const again = await readEvents(site.b.url + path(client.job), reader.events.at(-2)!.id)
  await again.over
  expect(again.events).toEqual(reader.events.slice(-1))
})

test('an answer that was taken up goes on for all its readers, and is counted', async ({ site }) => {
  await site.engine.admin.set({ tokens: 60, rate: 100, cut_at: 20, times: 1 }, 'seam')
  const client = await begin(site.a.url, 'openai.chat', 'job=seam tokens=60 rate=100', { fields: { temperature: 0 } })
  const [early, slow] = await Promise.all([readEvents(site.b.url + path(client.job)), readEvents(site.a.url + path(client.job))])
  slow.leave()
  await early.over
  expect(verifyText('seam', textOf(early.events))).toEqual({ ok: true, count: 60 })
  expect(bodyOf('openai.chat', early.events)).toBe(await client.text)
  const late = await readEvents(site.a.url + path(client.job), early.events[9]!.id)
  await late.over
  expect(late.events).toEqual(early.events.slice(10))
  expect((await send(`${site.a.url}/metrics`, { method: 'GET' })).text).toMatch(/drover_resumed_total\{model="scripted:latest",rung="(continue|replay)"\} 1/)
})

test('an answer is not taken up where its client, or the gateway, does not want it', async ({ site }) => {
  for (const [key, url, headers] of [['never', site.a.url, { 'x-drover-resume': 'never' }], ['off', site.b.url, {}]] as const) {
    await site.engine.admin.set({ tokens: 60, rate: 100, cut_at: 20, times: 1 }, key)
    const client = await begin(url, 'openai.chat', `job=${key}`, { headers, fields: { temperature: 0 } })
    const reader = await readEvents(site.a.url + path(client.job))
    await reader.over
    expect(bodyOf('openai.chat', reader.events)).toBe((await client.text).replaceAll(': waiting\n\n', ''))
    expect(verifyText(key, textOf(reader.events.slice(0, -1)))).toEqual({ ok: true, count: 20 })
    expect(JSON.parse(reader.events.at(-1)!.data)).toHaveProperty('error')
  }
})

test('a request that the engine refuses ends its stream with that error', async ({ site }) => {
  const client = await begin(site.a.url, 'ollama.chat', 'job=refused fail=400')
  expect(client.status).toBe(400)
  const reader = await readEvents(site.b.url + path(client.job))
  await reader.over
  expect(reader).toMatchObject({ status: 200, events: [{ data: JSON.stringify(JSON.parse(await client.text)) }] })
})

test('a reader that takes nothing for a while loses nothing, and keeps nobody from anything', async ({ site }) => {
  const client = await begin(site.a.url, 'ollama.chat', '', { fields: { model: 'long' } })
  const slow = await readEvents(site.a.url + path(client.job))
  slow.pause(true)
  const quick = await readEvents(site.a.url + path(client.job))
  await Promise.all([quick.over, client.text])
  expect(bodyOf('ollama.chat', quick.events)).toBe(await client.text)
  expect(slow.events.length).toBeLessThan(LONG.length)
  slow.pause(false)
  await slow.over
  expect(slow.events.map(({ id }) => id)).toEqual(quick.events.map(({ id }) => id))
  expect(textOf(slow.events)).toBe(LONG.join(''))
  for (const at of [150, 299, 300]) {
    const later = await readEvents(site.b.url + path(client.job), quick.events[at]!.id)
    await later.over
    expect(later.events.map(({ data }) => data)).toEqual(quick.events.slice(at + 1).map(({ data }) => data))
  }
})

test('a reader that waits is told that we are here', async ({ site }) => {
  const { job } = await begin(site.a.url, 'ollama.chat', 'job=waits tokens=3 stall_at=2')
  const reader = await readEvents(site.b.url + path(job))
  await until('it is told', () => reader.comments.includes('waiting'))
  await site.engine.admin.release('waits')
  await reader.over
  expect(textOf(reader.events)).toBe(expectedText('waits', 3))
})

test('a gateway that is stopped lets its readers go, and they go on elsewhere', async ({ site }) => {
  const stopped = await site.another()
  const client = await begin(stopped.url, 'openai.chat', 'job=moves tokens=150 rate=60', { headers: CONTINUE })
  const first = await readEvents(stopped.url + path(client.job))
  await first.read(10)
  stopped.signal('SIGTERM')
  expect(await first.over).toBe(true)
  expect(first.comments.at(-1)).toContain('shutting down')
  const second = await readEvents(site.a.url + path(client.job), first.last)
  await second.over
  expect(verifyText('moves', textOf([...first.events, ...second.events]))).toEqual({ ok: true, count: 150 })
})

test('what is no job, no place or no wish is refused in the form of its API', async ({ site }) => {
  const get = (job: string, headers = {}) => send(site.a.url + path(job), { method: 'GET', headers })
  for (const job of ['0-AAAAAAAAAAAAAAAAAAAAAA', 'nonsense']) {
    const answer = await get(job)
    expect([answer.status, errorTextOf('ollama.chat', answer)]).toEqual([404, `job '${job}' not found: it may have ended too long ago`])
  }
  const asked = await send(site.a.url + path('0-AAAAAAAAAAAAAAAAAAAAAA'), { method: 'OPTIONS', headers: { origin: 'http://localhost:3000' } })
  for (const name of ['last-event-id', 'x-drover-on-disconnect', 'x-drover-resume']) expect(asked.headers['access-control-allow-headers']).toContain(name)
  const odd = await get('0-AAAAAAAAAAAAAAAAAAAAAA', { 'last-event-id': 'x' })
  expect([odd.status, errorTextOf('ollama.chat', odd)]).toEqual([400, expect.stringContaining('Last-Event-ID')])
  for (const dialect of DIALECTS)
    for (const name of ['x-drover-resume', 'x-drover-on-disconnect']) {
      const answer = await post(site.a.url, dialect, smallest(dialect, 'job=odd'), { [name]: 'perhaps' })
      expect([answer.status, errorTextOf(dialect, answer)]).toEqual([400, expect.stringContaining(name)])
    }
})

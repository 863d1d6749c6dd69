import OpenAI from 'openai'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { until } from '../support/drover.ts'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { BOTH_WAYS, PATHS, test as world } from '../support/world.ts'
import { ASYNC, handIn, leaving, listOf, postTo, resultOf, untilState } from './asking.ts'

/** Half of what gateway and worker say to Redis is sent twice: a repetition must not be told from that. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ slots: 16, models: [{ name: 'scripted', capabilities: ['completion', 'embedding'] }] })
  const env = { DROVER_SEND_TWICE: '0.5' }
  const [a, b] = await Promise.all([house.gateway(env), house.gateway(env)])
  await house.worker('n1', [{ url: engine.url, slots: 16 }], { gateway: a, env })
  return { a: a.url, b: b.url, engine }
})

const keyed = (key: string, more: Record<string, string> = {}) => ({ 'idempotency-key': key, ...more })
const chat = (prompt: string, fields: Record<string, unknown> = {}) => smallest('openai.chat', prompt, fields)

test.for(BOTH_WAYS)('of requests with one key that come at the same moment on two gateways one is run, and all are answered by it: $dialect, $way', async ({ dialect, stream }, { site }) => {
  const key = `moment-${dialect.replace('.', '-')}-${stream}`
  const body = smallest(dialect, `job=${key} tokens=30 rate=100`, { stream })
  const answers = await Promise.all([site.a, site.b, site.a, site.b].map((url) => post(url, dialect, body, keyed(key))))
  for (const answer of answers) expect(answer).toMatchObject({ status: 200, text: answers[0]!.text, headers: { 'x-drover-job': answers[0]!.headers['x-drover-job'] } })
  expect((await site.engine.admin.job(key)).requests).toBe(1)
  // The same after the end.
  const later = await post(site.b, dialect, body, keyed(key))
  expect(later).toMatchObject({ status: 200, text: answers[0]!.text, headers: { 'idempotent-replayed': 'true' } })
  expect((await site.engine.admin.job(key)).requests).toBe(1)
})

test('a stream that is joined is read from its first event on', async ({ site }) => {
  const body = chat('job=joined tokens=40 stall_at=20', { stream: true })
  const first = post(site.a, 'openai.chat', body, keyed('joined'))
  await until('the engine runs it', async () => (await site.engine.admin.job('joined')).running === 1)
  const second = post(site.b, 'openai.chat', body, keyed('joined'))
  const third = post(site.a, 'openai.chat', body, keyed('joined'))
  await until('all follow it', async () => {
    const counts = await Promise.all([site.a, site.b].map(async (url) => ((await (await fetch(`${url}/api/status`)).json()) as { gateway: { open_answers: number } }).gateway.open_answers))
    return counts[0] === 2 && counts[1] === 1
  })
  await site.engine.admin.release('joined')
  const [text, ...others] = await Promise.all([first, second, third].map(async (answer) => (await answer).text))
  expect(others).toEqual([text, text])
  expect((await site.engine.admin.job('joined')).requests).toBe(1)
})

test('spaces and the order of fields make no other request; anything else does, and is refused in the form of its route', async ({ site }) => {
  const prompt = 'job=other tokens=4'
  const first = await post(site.a, 'openai.chat', chat(prompt), keyed('other'))
  const messages = [{ content: prompt, role: 'user' }]
  expect((await post(site.b, 'openai.chat', JSON.stringify({ messages, model: 'scripted' }, null, 2), keyed('other'))).text).toBe(first.text)
  const refused = await post(site.b, 'openai.chat', chat(prompt, { temperature: 0.5 }), keyed('other'))
  expect([refused.status, errorTextOf('openai.chat', refused)]).toEqual([422, 'this Idempotency-Key was used for another request'])
  // The same body means something else on another route.
  const elsewhere = await post(site.b, 'ollama.chat', chat(prompt), keyed('other'))
  expect([elsewhere.status, errorTextOf('ollama.chat', elsewhere)]).toEqual([422, 'this Idempotency-Key was used for another request'])
  const anthropic = await postTo(`${site.a}/v1/messages`, chat(prompt, { max_tokens: 9 }), keyed('other'))
  expect([anthropic.status, JSON.parse(anthropic.text)]).toMatchObject([422, { type: 'error', error: { type: 'invalid_request_error' } }])
  const ordered = await postTo(`${site.a}/api/jobs`, { url: '/api/chat', body: chat(prompt) }, keyed('other'))
  expect([ordered.status, errorTextOf('ollama.chat', ordered)]).toEqual([422, 'this Idempotency-Key was used for another request'])
  expect((await site.engine.admin.job('other')).requests).toBe(1)
})

test('a request with another’s key that is running is told nothing of that one', async ({ site }) => {
  const running = post(site.a, 'openai.chat', chat('job=running tokens=20 stall_at=10', { stream: true }), keyed('running'))
  await until('the engine runs it', async () => (await site.engine.admin.job('running')).running === 1)
  const refused = await post(site.a, 'openai.chat', chat('something else', { stream: true }), keyed('running'))
  expect(refused.status).toBe(422)
  await site.engine.admin.release('running')
  expect((await running).text.endsWith('data: [DONE]\n\n')).toBe(true)
})

test('a key is 1 to 255 printable characters', async ({ site }) => {
  for (const key of ['x'.repeat(256), 'tab\there', 'é', '']) {
    const answer = await post(site.a, 'ollama.chat', smallest('ollama.chat', 'job=never'), keyed(key))
    expect([key.length, answer.status, errorTextOf('ollama.chat', answer)]).toEqual([key.length, 400, expect.stringContaining('Idempotency-Key')])
  }
  expect((await post(site.a, 'ollama.chat', smallest('ollama.chat', 'job=long tokens=2'), keyed('k'.repeat(255)))).status).toBe(200)
})

test('a request that was handed in is one job, on its route and as an order, also for who waits for it', async ({ site }) => {
  const body = chat('job=handed tokens=6', { stream: false })
  const ids = await Promise.all([
    handIn(site.a, PATHS['openai.chat'], body, keyed('handed')),
    handIn(site.b, PATHS['openai.chat'], body, keyed('handed')),
    postTo(`${site.b}/api/jobs`, { dialect: 'openai.chat', body }, keyed('handed')).then(({ text }) => (JSON.parse(text) as { id: string }).id),
  ])
  expect(new Set(ids).size).toBe(1)
  const result = await resultOf(site.a, ids[0])
  expect((await post(site.b, 'openai.chat', body, keyed('handed'))).text).toBe(result.text)
  const again = await postTo(site.a + PATHS['openai.chat'], body, keyed('handed', ASYNC))
  expect(again).toMatchObject({ status: 202, headers: { 'idempotent-replayed': 'true' } })
  expect(JSON.parse(again.text)).toMatchObject({ id: ids[0], state: 'completed' })
  expect((await site.engine.admin.job('handed')).requests).toBe(1)
  expect((await listOf(site.b)).jobs.filter(({ id }) => id === ids[0]).length).toBe(1)
})

test('a job that a client waits for goes on without it once it was handed in as well', async ({ site }) => {
  const body = chat('job=upgraded tokens=20 stall_at=10', { stream: true })
  const { answer, leave } = leaving(site.a + PATHS['openai.chat'], body, keyed('upgraded'))
  await answer
  await until('the engine runs it', async () => (await site.engine.admin.job('upgraded')).running === 1)
  const id = await handIn(site.b, PATHS['openai.chat'], body, keyed('upgraded'))
  leave()
  await until('its gateway has noticed', async () => ((await (await fetch(`${site.a}/api/status`)).json()) as { gateway: { following: number } }).gateway.following === 0)
  await site.engine.admin.release('upgraded')
  expect((await resultOf(site.b, id)).text.endsWith('data: [DONE]\n\n')).toBe(true)
  expect((await site.engine.admin.job('upgraded')).requests).toBe(1)
})

test('a request whose client has left is cancelled, and made anew when it comes again', async ({ site }) => {
  const body = chat('job=left tokens=20 stall_at=10', { stream: true })
  const jobs: string[] = []
  for (let turn = 0; turn < 3; turn += 1) {
    const { answer, leave } = leaving(site.a + PATHS['openai.chat'], body, keyed('left'))
    jobs.push(String((await answer).headers['x-drover-job']))
    leave()
    await untilState(site.b, jobs.at(-1)!, 'cancelled')
  }
  await site.engine.admin.set({ stall_at: 1_000, tokens: 20 }, 'left')
  const twice = await Promise.all([site.a, site.b].map((url) => post(url, 'openai.chat', body, keyed('left'))))
  jobs.push(String(twice[0]!.headers['x-drover-job']))
  expect(twice[1]).toMatchObject({ text: twice[0]!.text, headers: { 'x-drover-job': jobs.at(-1) } })
  expect(new Set(jobs).size).toBe(4)
  expect((await site.engine.admin.job('left')).requests).toBe(4)
  // And so after it was deleted.
  expect((await send(`${site.a}/api/jobs/${jobs.at(-1)}`, { method: 'DELETE' })).status).toBe(204)
  const anew = await post(site.b, 'openai.chat', body, keyed('left'))
  expect(jobs).not.toContain(anew.headers['x-drover-job'])
})

test('a request over many inputs is one job when it has a key', async ({ site }) => {
  const input = Array.from({ length: 40 }, (_, i) => `${i} ${'many '.repeat(800)}`)
  const body = { model: 'scripted', input }
  const whole = await postTo(`${site.a}/v1/embeddings`, body)
  expect(Number(whole.headers['x-drover-pieces'])).toBeGreaterThan(1)
  const one = await postTo(`${site.a}/v1/embeddings`, body, keyed('many'))
  expect(one.headers).not.toHaveProperty('x-drover-pieces')
  expect((JSON.parse(one.text) as { data: unknown }).data).toEqual((JSON.parse(whole.text) as { data: unknown }).data)
  expect((await postTo(`${site.b}/v1/embeddings`, body, keyed('many'))).text).toBe(one.text)
})

test('a response that is stored, in the background or not, is one response', async ({ site }) => {
  for (const [key, wish] of [['stored', { store: true }], ['background', { background: true }], ['both', { background: true, stream: true }]] as const) {
    const body = { model: 'scripted', input: `job=${key} tokens=6`, ...wish }
    const answers = await Promise.all([site.a, site.b, site.a].map((url) => postTo(`${url}/v1/responses`, body, keyed(key))))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    const ids = answers.map(({ headers }) => String(headers['x-drover-job']))
    expect(new Set(ids).size).toBe(1)
    const stored = async () => JSON.parse((await send(`${site.b}/v1/responses/resp_${ids[0]}`, { method: 'GET' })).text) as { id: string; status: string }
    await until('it has ended', async () => (await stored()).status === 'completed')
    expect((await site.engine.admin.job(key)).requests).toBe(1)
    const later = await postTo(`${site.b}/v1/responses`, body, keyed(key))
    expect(later).toMatchObject({ status: 200, headers: { 'idempotent-replayed': 'true' } })
    if (key === 'background') expect(JSON.parse(later.text)).toMatchObject({ id: (await stored()).id, status: 'completed' })
    expect((await postTo(`${site.a}/v1/responses`, { ...body, input: 'other' }, keyed(key))).status).toBe(422)
    expect(await stored()).toMatchObject({ status: 'completed' })
    expect((await site.engine.admin.job(key)).requests).toBe(1)
  }
})

test('OpenAI’s client that tries again with a key of its own gets the one answer', async ({ site }) => {
  let sent = 0
  const openai = new OpenAI({
    baseURL: `${site.a}/v1`, apiKey: 'unused', maxRetries: 2,
    // The first answer is lost on its way, after it was made.
    fetch: async (url, options) => {
      sent += 1
      const answer = await fetch(url as string, options as RequestInit)
      if (sent > 1) return answer
      await answer.text()
      throw new TypeError('the connection broke')
    },
  })
  const body = { model: 'scripted', messages: [{ role: 'user' as const, content: 'job=retried tokens=8' }] }
  const { choices } = await openai.chat.completions.create(body, { headers: keyed('retried') })
  expect(choices[0]?.message.content).toBe(expectedText('retried', 8))
  expect(sent).toBe(2)
  expect((await site.engine.admin.job('retried')).requests).toBe(1)
})

import OpenAI from 'openai'
import { expect, onTestFinished } from 'vitest'
import { openGateway } from '../../libs/broker/src/index.ts'
import { LOCAL } from '@drover/core'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { post, send, smallest } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { hooksOf, startSink, verified, type Heard } from './sink.ts'

const GOES_ON = { 'x-drover-on-disconnect': 'continue' }

const test = world
  .override('settings', { redis: {}, engine: {}, env: { DROVER_WEBHOOK_PRIVATE: 'true', DROVER_WEBHOOK_WAITS: '20ms,20ms,20ms', DROVER_DRAIN_LIMIT: '500ms' } })
  .extend('site', { scope: 'file' }, async ({ house, engines }) => {
    const engine = await engines()
    const gateway = await house.gateway()
    await house.worker('n1', [engine.url], { gateway })
    return { gateway, url: gateway.url, engine, house }
  })

/** A sink, and a webhook that tells it; both are gone after the test. */
const hooked = async (url: string, { answer, ...body }: { answer?: Parameters<typeof startSink>[0]; events?: string[]; secret?: string } = {}) => {
  const sink = await startSink(answer)
  const hooks = hooksOf(url)
  const { id, secret = body.secret ?? '' } = await hooks.add({ url: sink.url, ...body })
  onTestFinished(async () => {
    await hooks.remove(id)
    sink.close()
  })
  return { sink, id, secret, hooks }
}

/** Runs a job that goes on without its client, to its end. */
const run = async (url: string, key: string, { script = {}, headers = {} }: { script?: Record<string, number>; headers?: Record<string, string> } = {}): Promise<string> => {
  const told = await ask(url, 'openai.chat', { key, script: { tokens: 3, ...script }, headers: { ...GOES_ON, ...headers } }).told
  return String(told.headers['x-drover-job'])
}

test('the end of a job that goes on without its client is told, signed, with ids and no answer; that of a plain request is not', async ({ site: { url } }) => {
  const { sink, secret } = await hooked(url)
  await ask(url, 'openai.chat', { key: 'plain', script: { tokens: 3 } }).told
  const job = await run(url, 'told')
  await sink.told(1)
  const [told] = sink.heard as [Heard]
  const event = verified(told, secret)
  expect(event).toEqual({ id: `msg_${job}`, object: 'event', type: 'job.completed', timestamp: new Date(event.timestamp).toISOString(), created_at: Math.floor(Date.parse(event.timestamp) / 1000), data: { id: job } })
  expect(told.headers['webhook-id']).toBe(event.id)
  expect(told.headers['content-type']).toBe('application/json')
  const openai = new OpenAI({ apiKey: 'k', baseURL: `${url}/v1` })
  expect(await openai.webhooks.unwrap(told.body, told.headers as Record<string, string>, secret)).toEqual(event)
  await expect(openai.webhooks.unwrap(`${told.body} `, told.headers as Record<string, string>, secret)).rejects.toThrow(OpenAI.InvalidWebhookSignatureError)
  expect(sink.heard).toHaveLength(1)
})

test('how a job ended is the type of its event, and a webhook is told of the types it was registered for', async ({ site: { url, house } }) => {
  const hasty = await house.gateway({ DROVER_TIMEOUT: '1s' })
  const all = await hooked(url)
  const failures = await hooked(url, { events: ['job.failed'], secret: `whsec_${Buffer.alloc(24, 7).toString('base64')}` })
  // One gateway tells all: what it says of itself is looked at.
  onTestFinished(async () => void (await hasty.stop()))
  const failed = await run(url, 'fails', { script: { fail: 400 } })
  const expired = await run(hasty.url, 'expires', { script: { silent: 1 } })
  await run(url, 'completes')
  await all.sink.told(3)
  const types = Object.fromEntries(all.sink.heard.map((heard) => verified(heard, all.secret)).map(({ type, data }) => [data.id, type]))
  expect(types).toMatchObject({ [failed]: 'job.failed', [expired]: 'job.expired' })
  expect(Object.values(types).toSorted()).toEqual(['job.completed', 'job.expired', 'job.failed'])
  await failures.sink.told(1)
  expect(failures.sink.heard.map((heard) => verified(heard, failures.secret).data.id)).toEqual([failed])
})

test('what is answered with 500 is told again, under the same id with a new time and signature', async ({ site: { url } }) => {
  const { sink, id, secret, hooks } = await hooked(url, { answer: (response, before) => void response.writeHead(before < 2 ? 500 : 200).end('x'.repeat(100_000)) })
  const job = await run(url, 'flaky')
  await sink.told(3)
  const delivery = await hooks.delivery(id, 'delivered')
  expect(delivery).toMatchObject({ id: `msg_${job}`, type: 'job.completed', attempts: 3, last_status: 200, last_error: null, next_attempt_at: null })
  expect(new Set(sink.heard.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([`msg_${job}`]))
  expect(new Set(sink.heard.map(({ body }) => body)).size).toBe(1)
  for (const heard of sink.heard) verified(heard, secret)
  // It is counted once Redis has it, and may be read there before.
  const metrics = async () => (await send(`${url}/metrics`, { method: 'GET' })).text
  await expect.poll(metrics).toMatch(/drover_webhook_deliveries_total\{outcome="delivered"\} [1-9]/)
  expect(await metrics()).toMatch(/drover_webhook_deliveries_total\{outcome="retried"\} [2-9]/)
})

test('an event is given up after the last wait, stands in the log, and can be begun anew', async ({ site: { url, gateway } }) => {
  let well = false
  const { sink, id, hooks, secret } = await hooked(url, { answer: (response) => void response.writeHead(well ? 200 : 503).end() })
  await run(url, 'given-up')
  const { id: delivery, ...failed } = await hooks.delivery(id, 'failed')
  expect(failed).toMatchObject({ attempts: 4, last_status: 503, last_error: 'answered 503', next_attempt_at: null })
  expect(sink.heard).toHaveLength(4)
  // Its line is written once Redis has it, and comes another way.
  const line = () => gateway.log().split('\n').slice(0, -1).find((each) => each.includes('webhook given up') && each.includes(delivery))
  await until('its line is there', () => line() !== undefined)
  expect(JSON.parse(line() ?? '')).toMatchObject({ level: 40, webhook: id, event: delivery, type: 'job.completed', tries: 4, reason: 'answered 503' })
  well = true
  expect((await hooks.retry(id, delivery)).status).toBe(202)
  await sink.told(5)
  expect(await hooks.delivery(id, 'delivered')).toMatchObject({ id: delivery, attempts: 5 })
  expect(verified(sink.heard[4]!, secret).id).toBe(delivery)
  expect(await hooks.retry(id, 'msg_nothing')).toMatchObject({ status: 404, error: "delivery 'msg_nothing' not found" })
})

test('an endpoint that answers 410 is told nothing more, and what waited for it is over', async ({ site: { url } }) => {
  const { sink, id, hooks } = await hooked(url, { answer: (response, before) => void response.writeHead(before === 0 ? 503 : 410).end() })
  await run(url, 'gone')
  await hooks.delivery(id, 'failed')
  expect(await hooks.get(id)).toMatchObject({ disabled: 'gone' })
  await run(url, 'gone-more')
  const other = await hooked(url)
  await run(url, 'behind')
  await other.sink.told(1)
  expect(sink.heard).toHaveLength(2)
  expect(await hooks.deliveries(id)).toHaveLength(1)
  expect((await hooks.test(id)).status).toBe(409)
  expect((await hooks.retry(id, (await hooks.deliveries(id))[0]!.id)).status).toBe(409)
})

test('a redirect is not followed', async ({ site: { url } }) => {
  const elsewhere = await startSink()
  onTestFinished(elsewhere.close)
  const { sink, id, hooks } = await hooked(url, { answer: (response) => void response.writeHead(307, { location: elsewhere.url }).end() })
  await run(url, 'redirected')
  expect(await hooks.delivery(id, 'failed')).toMatchObject({ attempts: 4, last_status: 307, last_error: 'redirected (307), which is not followed' })
  expect(sink.heard).toHaveLength(4)
  expect(elsewhere.heard).toHaveLength(0)
})

test('a sink that is down is tried, and its log says so', async ({ site: { url } }) => {
  const { sink, id, hooks } = await hooked(url)
  sink.close()
  await run(url, 'down')
  expect(await hooks.delivery(id, 'failed')).toMatchObject({ attempts: 4, last_status: null, last_error: 'the request failed (ECONNREFUSED)' })
})

test('sinks that never answer have four events under way each, and delay neither jobs nor other sinks', async ({ site: { url } }) => {
  const silent = await Promise.all([0, 1, 2].map(() => hooked(url, { answer: () => undefined })))
  const good = await hooked(url)
  const jobs = await Promise.all(Array.from({ length: 12 }, (_, i) => run(url, `many${i}`)))
  await good.sink.told(12)
  expect(good.sink.heard.map((heard) => verified(heard, good.secret).data.id).toSorted()).toEqual(jobs.toSorted())
  for (const { sink, id, hooks } of silent) {
    await sink.told(4)
    expect(sink.heard).toHaveLength(4)
    const deliveries = await hooks.deliveries(id)
    expect(deliveries.map(({ state }) => state)).toEqual(Array(12).fill('pending'))
    expect(deliveries.filter(({ attempts }) => attempts === 0)).toHaveLength(8)
    expect(await hooks.deliveries(id, 5)).toHaveLength(5)
  }
})

test('a request may name the one webhook that is told of its job, of its own, if it goes on without its client', async ({ site: { url } }) => {
  const [named, other] = [await hooked(url, { events: ['batch.completed'] }), await hooked(url)]
  const job = await run(url, 'named', { headers: { 'x-drover-webhook': named.id } })
  const next = await run(url, 'unnamed')
  await Promise.all([named.sink.told(1), other.sink.told(1)])
  expect(named.sink.heard.map((heard) => verified(heard, named.secret).data.id)).toEqual([job])
  expect(other.sink.heard.map((heard) => verified(heard, other.secret).data.id)).toEqual([next])
  const refused = (headers: Record<string, string>) => post(url, 'openai.chat', smallest('openai.chat', 'job=refused tokens=1'), headers)
  for (const headers of [{ ...GOES_ON, 'x-drover-webhook': 'wh_AAAAAAAAAAAAAAAAAAAAAA' }, { ...GOES_ON, 'x-drover-webhook': 'x' }, { 'x-drover-webhook': named.id }]) {
    const answer = await refused(headers)
    expect([answer.status, answer.text]).toEqual([400, expect.stringContaining('x-drover-webhook')])
  }
})

test('a test event is sent once, to its webhook alone', async ({ site: { url } }) => {
  const [tested, other] = [await hooked(url, { events: ['batch.failed'], answer: (response) => void response.writeHead(500).end() }), await hooked(url)]
  const { status, delivery } = await tested.hooks.test(tested.id)
  expect(status).toBe(202)
  expect(await tested.hooks.delivery(tested.id, 'failed')).toMatchObject({ id: delivery, type: 'webhook.test', attempts: 1, last_status: 500 })
  expect(verified(tested.sink.heard[0]!, tested.secret)).toMatchObject({ type: 'webhook.test', data: { id: tested.id } })
  expect([tested.sink.heard.length, other.sink.heard.length]).toEqual([1, 0])
})

test('a secret is shown once, and stands in no other answer and no log line', async ({ site: { url, gateway } }) => {
  const { id, secret, hooks } = await hooked(url)
  expect(Buffer.from(secret.slice('whsec_'.length), 'base64')).toHaveLength(32)
  await hooks.test(id)
  await hooks.delivery(id, 'delivered')
  const own = `whsec_${Buffer.alloc(40, 9).toString('base64')}`
  const given = await hooks.add({ url: 'http://127.0.0.1:9/', secret: own })
  expect(given).toMatchObject({ status: 201, owner: 'local', disabled: null, lost: 0 })
  const texts = [JSON.stringify([given, await hooks.list(), await hooks.get(id), await hooks.deliveries(id)]), gateway.log()]
  for (const text of texts) for (const each of [secret, own]) expect(text).not.toContain(each)
  expect(await hooks.remove(given.id)).toMatchObject({ status: 200, deleted: true })
  expect((await hooks.get(given.id)).status).toBe(404)
})

test('what is no webhook is refused, and the answer says why', async ({ site: { url } }) => {
  const { add } = hooksOf(url)
  const refused: [unknown, RegExp][] = [
    [{}, /^url: is missing$/], [{ url: 'ftp://example.com/' }, /^url: expected https/], [{ url: 'nothing' }, /^url: /], [{ url: 'https://u:p@example.com/' }, /^url: it must not have a user/],
    [{ url: `https://example.com/${'x'.repeat(2_100)}` }, /^url: /], [{ url: 'https://example.com/', events: ['job.begun'] }, /^events/],
    [{ url: 'https://example.com/', secret: 'whsec_c2hvcnQ=' }, /^secret: expected whsec_/], [{ url: 'https://example.com/', secret: 'x' }, /^secret: /], [{ url: 'https://example.com/', more: 1 }, /^the request body: /],
  ]
  for (const [body, why] of refused) expect(await add(body)).toMatchObject({ status: 400, error: expect.stringMatching(why) as string })
})

test('an owner has at most 20 webhooks', async ({ drover, scripted }) => {
  await scripted()
  const { url } = await drover.gateway()
  const { add, list } = hooksOf(url)
  const answers = await Promise.all(Array.from({ length: 25 }, () => add({ url: 'https://example.com/' })))
  expect(answers.map(({ status }) => status).toSorted()).toEqual([...Array<number>(20).fill(201), ...Array<number>(5).fill(409)])
  expect((await list()).webhooks).toHaveLength(20)
})

test('what ends is told once, however often a gateway says that it has ended', async ({ site: { url, house }, redis }) => {
  const { sink, secret } = await hooked(url)
  const errors: unknown[] = []
  const broker = await openGateway('test', { url: redis.urlFor?.('gateway') ?? redis.url, prefix: house.prefix, laneLimit: 10, onError: (error) => errors.push(error) })
  onTestFinished(() => broker.close())
  for (let i = 0; i < 3; i += 1) await broker.webhooks.emit({ type: 'batch.completed', owner: LOCAL, id: 'batch_1' })
  await sink.told(1)
  await broker.webhooks.emit({ type: 'batch.completed', owner: LOCAL, id: 'batch_1' })
  await broker.webhooks.emit({ type: 'batch.failed', owner: LOCAL, id: 'batch_2' })
  await sink.told(2)
  expect(sink.heard.map((heard) => verified(heard, secret)).map(({ type, data }) => [type, data.id])).toEqual([['batch.completed', 'batch_1'], ['batch.failed', 'batch_2']])
  expect(errors).toEqual([])
})

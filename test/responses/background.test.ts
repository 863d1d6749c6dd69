import { Redis } from 'ioredis'
import OpenAI from 'openai'
import type { Response, ResponseStreamEvent } from 'openai/resources/responses/responses'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { statusOf, until } from '../support/drover.ts'
import { all, test as world } from '../support/world.ts'

type Responses = OpenAI['responses']

const client = (url: string): Responses => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 }).responses

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ kind: 'llama-server', models: ['small'], slots: 8 })
  const [a, b] = await Promise.all([house.gateway(), house.gateway({ DROVER_SEND_TWICE: '0.5' })])
  await house.worker('n1', [{ url: engine.url, slots: 8, kind: 'llama-server' }], { gateway: a })
  await until('the other gateway knows it, too', async () => (await statusOf(b.url)).nodes.length > 0)
  return { engine, house, a: client(a.url), b: client(b.url) }
})

const over = async (responses: Responses, id: string): Promise<Response> => {
  let response = await responses.retrieve(id)
  await until('the response has ended', async () => !['queued', 'in_progress'].includes((response = await responses.retrieve(id)).status ?? ''))
  return response
}

const textOf = (events: readonly ResponseStreamEvent[]) => events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('')
const numbersOf = (events: readonly ResponseStreamEvent[]) => events.map((event) => event.sequence_number)
const upTo = (last: number) => Array.from({ length: last + 1 }, (_, number) => number)

test('a background response is there at once, and any gateway tells how far it is until it is complete', async ({ site }) => {
  const { a, b, engine } = site
  const begun = await a.create({ model: 'small', input: 'job=bg1 tokens=20 stall_at=10', background: true, instructions: 'Be brief.', metadata: { a: 'b' } })
  expect(begun).toMatchObject({ object: 'response', status: 'queued', background: true, store: true, model: 'small', output: [], usage: null, metadata: { a: 'b' }, instructions: 'Be brief.' })
  await until('it runs', async () => (await b.retrieve(begun.id)).status === 'in_progress')
  // What has not come to the engine yet is not let go.
  await until('the engine runs it', async () => (await engine.admin.job('bg1')).running === 1)
  await engine.admin.release('bg1')
  const ended = await over(b, begun.id)
  const { status: _status, output: _output, usage: _usage, completed_at: _at, output_text: _text, ...same } = begun
  expect(ended).toMatchObject({ ...same, status: 'completed', output_text: expectedText('bg1', 20), usage: { output_tokens: 20 }, error: null, incomplete_details: null })
  expect(await a.retrieve(begun.id)).toEqual(ended)
})

test('a background stream that is cut goes on at another gateway, every event once and in order', async ({ site }) => {
  const { a, b, engine } = site
  const events: ResponseStreamEvent[] = []
  const stream = await a.create({ model: 'small', input: 'job=bg2 tokens=40 stall_at=12', background: true, stream: true })
  for await (const event of stream) if (events.push(event) && textOf(events).length >= expectedText('bg2', 8).length) break
  stream.controller.abort()
  const [created, queued, begun] = events
  expect(created).toMatchObject({ type: 'response.created', sequence_number: 0, response: { status: 'queued', background: true } })
  expect(queued).toMatchObject({ type: 'response.queued', sequence_number: 1 })
  expect(begun).toMatchObject({ type: 'response.in_progress', sequence_number: 2 })
  const id = created?.type === 'response.created' ? created.response.id : ''
  const rest = b.retrieve(id, { stream: true, starting_after: events.at(-1)?.sequence_number ?? 0 })
  await engine.admin.release('bg2')
  events.push(...(await all(await rest)))
  expect(textOf(events)).toBe(expectedText('bg2', 40))
  expect(numbersOf(events)).toEqual(upTo(events.length - 1))
  const last = events.at(-1)
  expect(last?.type).toBe('response.completed')
  // Once more from the beginning, after the end, and from behind any event.
  const again = await all(await a.retrieve(id, { stream: true }))
  expect(again).toEqual(events)
  for (const after of [0, 1, 2, 7, events.length - 2]) expect(await all(await b.retrieve(id, { stream: true, starting_after: after }))).toEqual(events.slice(after + 1))
  expect(await all(await b.retrieve(id, { stream: true, starting_after: events.length - 1 }))).toEqual([])
  const told = last?.type === 'response.completed' ? last.response : undefined
  expect({ ...(await b.retrieve(id)), output_text: undefined }).toEqual({ ...told, output_text: undefined })
  expect((await engine.admin.job('bg2')).aborts).toBe(0)
})

test('the helper of the openai client puts together a background stream that it did not begin', async ({ site }) => {
  const { a, b } = site
  const begun = await a.create({ model: 'small', input: 'job=bg3 tokens=15', background: true, stream: true })
  let id = ''
  for await (const event of begun) {
    if (event.type !== 'response.created') continue
    id = event.response.id
    break
  }
  const heard: number[] = []
  const stream = b.stream({ response_id: id, starting_after: 4 })
  stream.on('event', ({ sequence_number: number }) => heard.push(number))
  expect(await stream.finalResponse()).toMatchObject({ id, status: 'completed', output_text: expectedText('bg3', 15) })
  expect(heard[0]).toBe(5)
})

test('of a response that is not streamed there are no events', async ({ site }) => {
  const { id } = await site.a.create({ model: 'small', input: 'job=bg4 tokens=3', background: true })
  await expect(site.b.retrieve(id, { stream: true })).rejects.toMatchObject({ status: 400, param: 'stream' })
  await over(site.b, id)
})

test('when the gateway that took it is killed, a background response is made to its end, and told by another', async ({ site, redis }) => {
  const { house, b, engine } = site
  const doomed = await house.gateway()
  await until('it knows the node', async () => (await statusOf(doomed.url)).nodes.length > 0)
  const c = client(doomed.url)
  const whole = await c.create({ model: 'small', input: 'job=bg5 tokens=20 stall_at=10', background: true })
  const stream = await c.create({ model: 'small', input: 'job=bg6 tokens=20 stall_at=10', background: true, stream: true })
  const events: ResponseStreamEvent[] = []
  const broken = (async () => {
    for await (const event of stream) events.push(event)
  })()
  await until('it has begun', () => textOf(events) !== '')
  doomed.signal('SIGKILL')
  await expect(broken).rejects.toThrow()
  await engine.admin.release('bg5')
  await engine.admin.release('bg6')
  // Until somebody asks for it, its job is all that there is: that is kept as long as the response.
  const admin = new Redis(redis.connection)
  const job = `${house.prefix}:job:${whole.id.slice(5)}`
  await until('its job has ended', async () => (await admin.hexists(job, 'rec')) === 1)
  expect(await admin.hexists(`${house.prefix}:response:${whole.id.slice(5)}`, 'out')).toBe(0)
  expect(await admin.pttl(job)).toBeGreaterThan(23 * 3_600_000)
  admin.disconnect()
  expect(await over(b, whole.id)).toMatchObject({ status: 'completed', output_text: expectedText('bg5', 20), usage: { output_tokens: 20 } })
  const id = events[0]?.type === 'response.created' ? events[0].response.id : ''
  events.push(...(await all(await b.retrieve(id, { stream: true, starting_after: events.length - 1 }))))
  expect([textOf(events), events.at(-1)?.type]).toEqual([expectedText('bg6', 20), 'response.completed'])
  expect(numbersOf(events)).toEqual(upTo(events.length - 1))
})

test('when the node dies in the middle of a background stream the next one goes on with it, and with its numbers', async ({ drover, scripted }) => {
  const gateway = await drover.gateway()
  const [dying, next] = await Promise.all([0, 1].map(() => scripted({ kind: 'llama-server', models: ['two'] })))
  await drover.worker('n1', [{ url: dying!.url, kind: 'llama-server' }], { gateway })
  const responses = client(gateway.url)
  const events: ResponseStreamEvent[] = []
  const stream = await responses.create({ model: 'two', input: 'job=nd1 tokens=30 stall_at=10', background: true, stream: true })
  for await (const event of stream) if (events.push(event) && textOf(events).length >= expectedText('nd1', 10).length) break
  stream.controller.abort()
  await drover.worker('n2', [{ url: next!.url, kind: 'llama-server' }], { gateway })
  await next!.admin.release()
  await dying!.admin.die()
  const id = events[0]?.type === 'response.created' ? events[0].response.id : ''
  const rest = responses.retrieve(id, { stream: true, starting_after: events.at(-1)?.sequence_number ?? 0 })
  await until('the next one runs', async () => (await next!.admin.job('nd1')).requests > 0)
  await next!.admin.release('nd1')
  events.push(...(await all(await rest)))
  expect([textOf(events), events.at(-1)?.type]).toEqual([expectedText('nd1', 30), 'response.completed'])
  expect(numbersOf(events)).toEqual(upTo(events.length - 1))
  expect(new Set(events.flatMap((event) => ('response' in event ? [event.response.created_at] : []))).size).toBe(1)
})

test('a background response that is cancelled stops its engine, and keeps what it had said', async ({ site }) => {
  const { a, b, engine } = site
  const stream = await a.create({ model: 'small', input: 'job=bg7 tokens=100000 rate=50', background: true, stream: true })
  const events: ResponseStreamEvent[] = []
  let cancelled: Promise<Response> | undefined
  for await (const event of stream) {
    events.push(event)
    if (textOf(events) !== '' && events[0]?.type === 'response.created') cancelled ??= b.cancel(events[0].response.id)
  }
  const response = await cancelled!
  expect(response).toMatchObject({ status: 'cancelled', error: null, output: [{ type: 'message', status: 'incomplete', content: [{ text: textOf(events) }] }] })
  expect(events.at(-1)).toMatchObject({ type: 'response.failed', response: { id: response.id, status: 'cancelled' }, sequence_number: events.length - 1 })
  expect(await b.retrieve(response.id)).toEqual({ ...response, output_text: textOf(events) })
  expect(await b.cancel(response.id)).toEqual(response)
  expect(await all(await a.retrieve(response.id, { stream: true, starting_after: 3 }))).toEqual(events.slice(4))
  // The client's own accumulation takes it for the end, and for cancelled.
  expect(await a.stream({ response_id: response.id }).finalResponse()).toMatchObject({ id: response.id, status: 'cancelled', output_text: textOf(events) })
  await expect.poll(async () => (await engine.admin.job('bg7')).aborts, { timeout: 10_000, interval: 20 }).toBe(1)
})

test('one that waits and is cancelled never reaches an engine', async ({ drover, scripted }) => {
  const engine = await scripted({ kind: 'llama-server', models: ['one'], slots: 1 })
  const gateway = await drover.gateway()
  await drover.worker('n1', [{ url: engine.url, slots: 1, kind: 'llama-server' }], { gateway })
  const responses = client(gateway.url)
  const first = await responses.create({ model: 'one', input: 'job=w1 tokens=4 stall_at=2', background: true })
  await until('it runs', async () => (await responses.retrieve(first.id)).status === 'in_progress')
  const second = await responses.create({ model: 'one', input: 'job=w2 tokens=4', background: true })
  expect((await responses.retrieve(second.id)).status).toBe('queued')
  expect(await responses.cancel(second.id)).toMatchObject({ id: second.id, status: 'cancelled', output: [] })
  await engine.admin.release('w1')
  expect((await over(responses, first.id)).status).toBe('completed')
  expect((await engine.admin.job('w2')).requests).toBe(0)
})

test('a background response that fails says so and why, in its stream and when it is asked for', async ({ site }) => {
  const { a, b } = site
  const events = await all(await a.create({ model: 'small', input: 'job=bg8 fail=400', background: true, stream: true }))
  expect(events.map(({ type }) => type)).toEqual(['response.created', 'response.queued', 'response.failed'])
  const last = events.at(-1)
  const told = last?.type === 'response.failed' ? last.response : undefined
  expect(told).toMatchObject({ status: 'failed', error: { code: 'invalid_prompt', message: expect.stringContaining('scripted failure') as string }, output: [] })
  expect(await b.retrieve(told?.id ?? '')).toMatchObject({ ...told })
})

test('one that its limit cuts is incomplete, with what it had said', async ({ site }) => {
  const { id } = await site.a.create({ model: 'small', input: 'job=bg9 tokens=30', max_output_tokens: 5, background: true })
  expect(await over(site.b, id)).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, output_text: expectedText('bg9', 5) })
})

test('what is refused leaves nothing behind', async ({ site }) => {
  await expect(site.a.create({ model: 'nobody-has-this', input: 'hello', background: true })).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(site.a.create({ model: 'small', input: 'hello', background: true, store: false })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('background needs store') as string })
})

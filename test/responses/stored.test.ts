import OpenAI from 'openai'
import type { Response, ResponseCreateParamsNonStreaming } from 'openai/resources/responses/responses'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { statusOf, until } from '../support/drover.ts'
import { all, test as world } from '../support/world.ts'

const client = (url: string): OpenAI['responses'] => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 }).responses

const test = world
  .extend('site', { scope: 'file' }, async ({ house, engines }) => {
    const engine = await engines({ kind: 'llama-server', models: ['small'], slots: 8 })
    const [a, b] = await Promise.all([house.gateway({ DROVER_SEND_TWICE: '0.5' }), house.gateway()])
    await house.worker('n1', [{ url: engine.url, slots: 8, kind: 'llama-server' }], { gateway: a })
    await until('the other gateway knows it, too', async () => (await statusOf(b.url)).nodes.length > 0)
    return { engine, house, a: client(a.url), b: client(b.url) }
  })
  .extend('asked', async ({ site }) => {
    /** What the engine was given as its conversation: the request whose marker this is. */
    return async (key: string) => {
      const { last } = await site.engine.admin.stats()
      const bodies = last.filter((seen) => seen.key === key).map(({ body }) => JSON.parse(body) as { messages: unknown })
      expect(bodies).toHaveLength(1)
      return bodies[0]?.messages
    }
  })

/** What both a live answer and one that is asked for later have. */
const plain = ({ output_text: _text, ...rest }: Response) => ({ ...rest })

test('a response that is to be stored is told by any gateway as it was', async ({ site }) => {
  const { a, b } = site
  const whole = await a.create({ model: 'small', input: 'job=st1 tokens=12', store: true, temperature: 0.5, user: 'u' })
  expect(whole).toMatchObject({ status: 'completed', store: true, background: false, output_text: expectedText('st1', 12) })
  expect(await b.retrieve(whole.id)).toEqual(whole)
  const events = await all(await a.create({ model: 'small', input: 'job=st2 tokens=12', store: true, stream: true }))
  const last = events.at(-1)
  const told = last?.type === 'response.completed' ? last.response : undefined
  expect(events[0]).toMatchObject({ type: 'response.created', sequence_number: 0, response: { id: told?.id, status: 'in_progress', store: true } })
  expect(plain(await b.retrieve(told?.id ?? ''))).toEqual(told)
})

test.for<Partial<ResponseCreateParamsNonStreaming>>([{ store: false }, {}])('a response with %j is nowhere afterwards', async (more, { site }) => {
  const answer = await site.a.create({ model: 'small', input: 'job=st3 tokens=2', ...more })
  expect(answer).toMatchObject({ status: 'completed', store: false })
  const { a, b } = site
  for (const gone of [() => a.retrieve(answer.id), () => b.cancel(answer.id), () => b.delete(answer.id), () => a.inputItems.list(answer.id)])
    await expect(gone()).rejects.toMatchObject({ status: 404, type: 'invalid_request_error', message: expect.stringContaining(`Response with id '${answer.id}' not found`) as string })
  const next = site.b.create({ model: 'small', input: 'hello', previous_response_id: answer.id })
  await expect(next).rejects.toMatchObject({ status: 404, code: 'previous_response_not_found', param: 'previous_response_id', type: 'invalid_request_error' })
})

test('a conversation of three turns goes on at any gateway: the engine is given all of it, but for earlier instructions', async ({ site, asked }) => {
  const { a, b } = site
  const first = await a.create({ model: 'small', input: 'job=ch1 tokens=3', instructions: 'One.', store: true })
  const second = await b.create({ model: 'small', input: [{ role: 'user', content: [{ type: 'input_text', text: 'job=ch2 tokens=4' }] }], instructions: 'Two.', previous_response_id: first.id })
  expect(second).toMatchObject({ store: true, previous_response_id: first.id, instructions: 'Two.', output_text: expectedText('ch2', 4) })
  const { id } = await a.create({ model: 'small', input: 'job=ch3 tokens=5', previous_response_id: second.id, background: true })
  await until('it has ended', async () => (await b.retrieve(id)).status === 'completed')
  expect(await asked('ch2')).toEqual([
    { role: 'system', content: 'Two.' },
    { role: 'user', content: 'job=ch1 tokens=3' },
    { role: 'assistant', content: expectedText('ch1', 3) },
    { role: 'user', content: 'job=ch2 tokens=4' },
  ])
  expect(await asked('ch3')).toEqual([
    { role: 'user', content: 'job=ch1 tokens=3' },
    { role: 'assistant', content: expectedText('ch1', 3) },
    { role: 'user', content: 'job=ch2 tokens=4' },
    { role: 'assistant', content: expectedText('ch2', 4) },
    { role: 'user', content: 'job=ch3 tokens=5' },
  ])
  // Not stored, it is the last of its line.
  const last = await b.create({ model: 'small', input: 'job=ch4 tokens=1', previous_response_id: id, store: false })
  expect(last).toMatchObject({ store: false, previous_response_id: id })
  expect(await asked('ch4')).toHaveLength(7)
  await expect(a.retrieve(last.id)).rejects.toMatchObject({ status: 404 })
})

test('items of stored responses can be named instead of given, but those of others are not there', async ({ site, asked }) => {
  const { a, b } = site
  const first = await a.create({ model: 'small', input: 'job=rf1 tokens=3', store: true })
  const next = await b.create({ model: 'small', input: [{ role: 'user', content: 'before' }, { type: 'item_reference', id: first.output[0]?.id ?? '' }, { role: 'user', content: 'job=rf2 tokens=2' }] })
  const given = [{ role: 'user', content: 'before' }, { role: 'assistant', content: expectedText('rf1', 3) }, { role: 'user', content: 'job=rf2 tokens=2' }]
  expect(await asked('rf2')).toEqual(given)
  // What was named is kept with what names it.
  await a.delete(first.id)
  const last = await a.create({ model: 'small', input: 'job=rf3 tokens=1', previous_response_id: next.id, store: false })
  expect(await asked('rf3')).toEqual([...given, { role: 'assistant', content: expectedText('rf2', 2) }, { role: 'user', content: 'job=rf3 tokens=1' }])
  for (const id of [first.output[0]?.id ?? '', last.output[0]?.id ?? '', `msg_${next.id.slice(5)}_9`, 'msg_1'])
    await expect(b.create({ model: 'small', input: [{ type: 'item_reference', id }] })).rejects.toMatchObject({ status: 404, param: 'input', message: expect.stringContaining(id) as string })
})

test('where a response of the conversation was deleted, it does not go on', async ({ site }) => {
  const { a, b } = site
  const first = await a.create({ model: 'small', input: 'job=de1 tokens=3', store: true })
  const second = await a.create({ model: 'small', input: 'job=de2 tokens=3', previous_response_id: first.id })
  expect(await b.delete(first.id)).toEqual({ id: first.id, object: 'response', deleted: true })
  await expect(a.retrieve(first.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  expect((await a.retrieve(second.id)).status).toBe('completed')
  const next = a.create({ model: 'small', input: 'hello', previous_response_id: second.id })
  await expect(next).rejects.toMatchObject({ status: 404, code: 'previous_response_not_found', message: expect.stringContaining(first.id) as string })
})

test('one that has not ended, or not well, is not gone on from', async ({ site }) => {
  const { a, b, engine } = site
  const { id } = await a.create({ model: 'small', input: 'job=no1 tokens=9 stall_at=3', background: true })
  await expect(b.create({ model: 'small', input: 'hello', previous_response_id: id })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('has not ended yet') as string })
  await b.cancel(id)
  await expect(a.create({ model: 'small', input: 'hello', previous_response_id: id })).rejects.toMatchObject({ status: 400, message: expect.stringContaining('is cancelled') as string })
  await engine.admin.release('no1')
})

test('deleting a background response that runs stops its engine, and nothing of it is there any more', async ({ site }) => {
  const { a, b, engine } = site
  const begun = await b.create({ model: 'small', input: 'job=de4 tokens=100000 rate=50', background: true })
  await until('it runs', async () => (await a.retrieve(begun.id)).status === 'in_progress')
  await a.delete(begun.id)
  await expect(b.retrieve(begun.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect.poll(async () => (await engine.admin.job('de4')).aborts, { timeout: 10_000, interval: 20 }).toBe(1)
})

test('a request with a key is one response, however often it comes', async ({ site }) => {
  const { a, b, engine } = site
  const once = { headers: { 'Idempotency-Key': 'responses-1' } }
  const asked = { model: 'small', input: 'job=id1 tokens=6 stall_at=3', background: true } as const
  const first = await a.create(asked, once)
  expect(await b.create(asked, once)).toMatchObject({ id: first.id, created_at: first.created_at })
  await expect(b.create({ ...asked, input: 'something else' }, once)).rejects.toMatchObject({ status: 422 })
  await engine.admin.release('id1')
  await until('it has ended', async () => (await b.retrieve(first.id)).status === 'completed')
  expect(plain(await a.create(asked, once))).toEqual(plain(await b.retrieve(first.id)))
  const stored = { model: 'small', input: 'job=id2 tokens=6', store: true } as const
  const whole = await a.create(stored, { headers: { 'Idempotency-Key': 'responses-2' } })
  expect(await b.create(stored, { headers: { 'Idempotency-Key': 'responses-2' } })).toEqual(whole)
  // What was not stored under a key is not stored by another request with that key.
  const other = { headers: { 'Idempotency-Key': 'responses-3' } }
  const not = await a.create({ model: 'small', input: 'job=id3 tokens=2', store: false }, other)
  await expect(b.create({ model: 'small', input: 'job=id3 tokens=2', store: true }, other)).rejects.toMatchObject({ status: 422 })
  await expect(a.retrieve(not.id)).rejects.toMatchObject({ status: 404 })
  expect((await engine.admin.job('id1')).requests + (await engine.admin.job('id2')).requests).toBe(2)
})

test('a background stream with a key is joined from its first event on', async ({ site }) => {
  const { a, b } = site
  const asked = { model: 'small', input: 'job=id4 tokens=8', background: true, stream: true } as const
  const once = { headers: { 'Idempotency-Key': 'responses-4' } }
  const events = await all(await a.create(asked, once))
  expect(events.at(-1)?.type).toBe('response.completed')
  expect(await all(await b.create(asked, once))).toEqual(events)
})

test('what a response was given is listed, a page at a time', async ({ site }) => {
  const { a, b } = site
  const texts = ['one', 'two', 'job=in1 tokens=2']
  const { id } = await a.create({ model: 'small', input: texts.map((text) => ({ role: 'user' as const, content: text })), store: true })
  const items = await all(b.inputItems.list(id, { order: 'asc', limit: 2 }))
  expect(items.map((item) => ('content' in item ? item.content : undefined))).toEqual(texts.map((text) => [{ type: 'input_text', text }]))
  expect(new Set(items.map((item) => item.id)).size).toBe(3)
  const page = await b.inputItems.list(id, { limit: 1 })
  expect(page).toMatchObject({ has_more: true, data: [{ type: 'message', role: 'user', status: 'completed', content: [{ text: texts[2] }] }] })
  for (const wrong of [{ limit: 0 }, { limit: 101 }, { after: 'nobody' }]) await expect(b.inputItems.list(id, wrong)).rejects.toBeInstanceOf(OpenAI.BadRequestError)
})

test('a response that is not in the background is its client’s: it is not cancelled from elsewhere, and ends when its client leaves', async ({ site }) => {
  const { a, b } = site
  const stream = await a.create({ model: 'small', input: 'job=cl1 tokens=100000 rate=50', store: true, stream: true })
  let id = ''
  for await (const event of stream) {
    if (event.type === 'response.created') ({ id } = event.response)
    if (event.type !== 'response.output_text.delta') continue
    await expect(b.cancel(id)).rejects.toMatchObject({ status: 400, message: expect.stringContaining('Cannot cancel a synchronous response') as string })
    await expect(b.retrieve(id, { stream: true })).rejects.toMatchObject({ status: 400 })
    expect((await b.retrieve(id)).status).toBe('in_progress')
    break
  }
  stream.controller.abort()
  await until('it is over', async () => (await b.retrieve(id)).status === 'cancelled')
})

test('beyond its bound an owner stores no more, until something goes', async ({ drover, scripted }) => {
  const engine = await scripted({ kind: 'llama-server', models: ['small'] })
  const gateway = await drover.gateway({ DROVER_RESPONSE_BYTES: '1mb', DROVER_STORE_RESPONSES: 'true' })
  await drover.worker('n1', [{ url: engine.url, kind: 'llama-server' }], { gateway })
  const responses = client(gateway.url)
  const large = `${'x'.repeat(600_000)} job=fu1 tokens=1`
  const first = await responses.create({ model: 'small', input: large })
  expect(first).toMatchObject({ store: true })
  await expect(responses.create({ model: 'small', input: large })).rejects.toMatchObject({ status: 429, code: 'stored_responses_full' })
  expect((await responses.create({ model: 'small', input: large, store: false })).status).toBe('completed')
  await responses.delete(first.id)
  expect(await responses.create({ model: 'small', input: large })).toMatchObject({ store: true })
})

import { expect, onTestFinished } from 'vitest'
import { test } from '../batches/world.ts'
import { chatLine, clientOf, ended, submit } from '../batches/lines.ts'
import { until } from '../support/drover.ts'
import { post, send, smallest } from '../support/raw.ts'
import { hooksOf, startSink, verified } from './sink.ts'

test('a batch is told of once, when it has ended, and its lines are not; a response in the background is told of as the job that it is', async ({ drover, scripted, place }) => {
  const sink = await startSink()
  onTestFinished(sink.close)
  const [engine, gateway] = [await scripted(), await drover.gateway({ ...place.env, DROVER_WEBHOOK_PRIVATE: 'true' })]
  await drover.worker('n1', [engine.url], { gateway })
  const { secret = '' } = await hooksOf(gateway.url).add({ url: sink.url })
  const openai = clientOf(gateway.url)
  const wrong = await submit(openai, 'no line')
  const right = await submit(openai, chatLine('a') + chatLine('b') + chatLine('c'))
  await Promise.all([wrong, right].map(({ id }) => ended(() => openai, id)))
  await sink.told(2)
  const response = await openai.responses.create({ model: 'scripted', input: 'job=back tokens=2', background: true })
  await sink.told(3)
  const told = sink.heard.map((heard) => verified(heard, secret))
  expect(told.map(({ type, data }) => [type, data.id]).toSorted()).toEqual([['batch.completed', right.id], ['batch.failed', wrong.id], ['job.completed', response.id.replace(/^resp_/, '')]])
  expect(told.map(({ id }) => id)).toEqual(told.map(({ data }) => `msg_${data.id}`))
})

test('a job that was handed in and is cancelled is told of, also to the one webhook that it named', async ({ drover, scripted }) => {
  const [one, all] = [await startSink(), await startSink()]
  onTestFinished(() => (one.close(), all.close()))
  const [engine, gateway] = [await scripted(), await drover.gateway({ DROVER_WEBHOOK_PRIVATE: 'true' })]
  await drover.worker('n1', [engine.url], { gateway })
  const hooks = hooksOf(gateway.url)
  const named = await hooks.add({ url: one.url, events: ['job.failed'] })
  const { secret = '' } = await hooks.add({ url: all.url })
  const handIn = async (key: string, headers: Record<string, string> = {}) => {
    const answer = await post(gateway.url, 'ollama.chat', smallest('ollama.chat', `job=${key} silent=1`), { prefer: 'respond-async', ...headers })
    expect(answer.status).toBe(202)
    return String(answer.headers['x-drover-job'])
  }
  const [first, second] = [await handIn('first'), await handIn('second', { 'x-drover-webhook': named.id })]
  for (const job of [first, second]) expect((await send(`${gateway.url}/api/jobs/${job}`, { method: 'DELETE' })).status).toBe(200)
  await Promise.all([one.told(1), all.told(1)])
  expect(one.heard.map((heard) => verified(heard, named.secret ?? ''))).toMatchObject([{ type: 'job.cancelled', data: { id: second } }])
  expect(all.heard.map((heard) => verified(heard, secret))).toMatchObject([{ type: 'job.cancelled', data: { id: first } }])
})

test('while Redis does not answer nothing is promised, and what waits is told when it does', async ({ drover, redis }) => {
  let well = false
  const sink = await startSink((response) => void response.writeHead(well ? 200 : 503).end())
  onTestFinished(sink.close)
  const gateway = await drover.gateway({ DROVER_WEBHOOK_PRIVATE: 'true' })
  const hooks = hooksOf(gateway.url)
  const { id, secret = '' } = await hooks.add({ url: sink.url })
  // A test event is not tried again: it is begun anew by hand.
  const { delivery = '' } = await hooks.test(id)
  await hooks.delivery(id, 'failed')
  redis.signal('SIGSTOP')
  onTestFinished(() => redis.signal('SIGCONT'))
  const unavailable = { status: 503, error: expect.stringContaining('cannot be reached') as string }
  for (const answer of await Promise.all([hooks.add({ url: sink.url }), hooks.list(), hooks.get(id), hooks.test(id), hooks.retry(id, delivery)])) expect(answer).toMatchObject(unavailable)
  well = true
  redis.signal('SIGCONT')
  await until('a gateway answers again', async () => (await hooks.list()).status === 200)
  // What was refused is not there either.
  expect((await hooks.list()).webhooks.map((each) => each.id)).toEqual([id])
  await hooks.retry(id, delivery)
  await hooks.delivery(id, 'delivered')
  for (const heard of sink.heard) verified(heard, secret)
})

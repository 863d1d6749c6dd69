import Anthropic from '@anthropic-ai/sdk'
import { expect } from 'vitest'
import { verifyText } from '../engine/tokens.ts'
import { statusOf, until } from '../support/drover.ts'
import { all } from '../support/world.ts'
import { clientOf } from './lines.ts'
import { test } from './world.ts'

const clients = (url: string) => ({ anthropic: new Anthropic({ baseURL: url, apiKey: 'unused', maxRetries: 0 }), openai: clientOf(url) })
const request = (id: string, script = 'tokens=5', model = 'scripted') => ({ custom_id: id, params: { model, max_tokens: 100, messages: [{ role: 'user' as const, content: `job=${id} ${script}` }] } })

const endedBatch = async (anthropic: Anthropic, id: string) => {
  let batch = await anthropic.messages.batches.retrieve(id)
  await until('it has ended', async () => (batch = await anthropic.messages.batches.retrieve(id)).processing_status === 'ended', 30_000)
  return batch
}

test('the anthropic client creates, polls, reads and deletes a batch of messages', async ({ drover, scripted, place }) => {
  const gateway = await drover.gateway(place.env)
  const engine = await scripted({ slots: 4 })
  await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
  const { anthropic, openai } = clients(gateway.url)
  const ids = Array.from({ length: 30 }, (_, i) => `m${i}`)
  const made = await anthropic.messages.batches.create({ requests: [...ids.map((id) => request(id)), request('wrong', 'tokens=5', 'nobody-has-it'), request('refused', 'fail=400')] })
  expect(made).toMatchObject({ type: 'message_batch', processing_status: 'in_progress', request_counts: { processing: 32, succeeded: 0, errored: 0, canceled: 0, expired: 0 }, ended_at: null, results_url: null })
  await expect(anthropic.messages.batches.delete(made.id)).rejects.toThrow(/400 .*has not ended/)
  const batch = await endedBatch(anthropic, made.id)
  expect(batch.request_counts).toEqual({ processing: 0, succeeded: 30, errored: 2, canceled: 0, expired: 0 })
  const results = await all(await anthropic.messages.batches.results(made.id))
  expect(results.map(({ custom_id: id }) => id).toSorted()).toEqual([...ids, 'refused', 'wrong'].toSorted())
  for (const { custom_id: id, result } of results) {
    if (result.type === 'succeeded') {
      const [block] = result.message.content
      expect({ id, verdict: verifyText(id, block?.type === 'text' ? block.text : '') }).toMatchObject({ verdict: { ok: true, count: 5 } })
      expect(result.message).toMatchObject({ type: 'message', role: 'assistant', model: 'scripted' })
    } else expect({ id, result }).toMatchObject({ result: { type: 'errored', error: { type: 'error', error: { type: id === 'wrong' ? 'not_found_error' : expect.any(String), message: expect.any(String) } } } })
  }
  // Neither its requests nor itself are to be seen through the other API; its results are files.
  expect((await openai.files.list({ purpose: 'batch' })).data).toEqual([])
  expect((await openai.batches.list()).data).toEqual([])
  await expect(openai.batches.retrieve(made.id)).rejects.toThrow(/404/)
  expect((await all(await anthropic.messages.batches.list({ limit: 1 }))).map(({ id }) => id)).toEqual([made.id])
  expect(await anthropic.messages.batches.delete(made.id)).toEqual({ id: made.id, type: 'message_batch_deleted' })
  await expect(anthropic.messages.batches.retrieve(made.id)).rejects.toThrow(/404/)
  expect((await openai.files.list()).data).toEqual([])
})

test('a batch of messages that is cancelled tells of every request', async ({ drover, scripted, place }) => {
  const gateway = await drover.gateway(place.env)
  const engine = await scripted({ slots: 2 })
  await drover.worker('n', [{ url: engine.url, slots: 2 }], { gateway })
  const { anthropic } = clients(gateway.url)
  const made = await anthropic.messages.batches.create({ requests: Array.from({ length: 40 }, (_, i) => request(`k${i}`, i < 4 ? undefined : 'tokens=1000 rate=5')) })
  await until('four are answered', async () => (await anthropic.messages.batches.retrieve(made.id)).request_counts.succeeded >= 4)
  expect(await anthropic.messages.batches.cancel(made.id)).toMatchObject({ processing_status: 'canceling', cancel_initiated_at: expect.any(String) })
  const batch = await endedBatch(anthropic, made.id)
  expect(batch.request_counts).toEqual({ processing: 0, succeeded: 4, errored: 0, canceled: 36, expired: 0 })
  const results = await all(await anthropic.messages.batches.results(made.id))
  expect(results).toHaveLength(40)
  expect(new Set(results.map(({ result }) => result.type))).toEqual(new Set(['succeeded', 'canceled']))
  await until('no lane holds a job', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running }) => waiting + running === 0))
  // Also one that nobody had looked at yet.
  await Promise.all([1, 2, 3].map(async () => {
    const { id } = await anthropic.messages.batches.create({ requests: [request('a', 'tokens=1000 rate=5'), request('b', 'tokens=1000 rate=5')] })
    await anthropic.messages.batches.cancel(id)
    expect((await endedBatch(anthropic, id)).request_counts).toEqual({ processing: 0, succeeded: 0, errored: 0, canceled: 2, expired: 0 })
    expect((await all(await anthropic.messages.batches.results(id))).map(({ result }) => result.type)).toEqual(['canceled', 'canceled'])
  }))
})

test('what is no list of requests is refused in the words of its API', async ({ drover, place }) => {
  const gateway = await drover.gateway({ ...place.env, DROVER_BATCH_LINES: '3' })
  const { anthropic, openai } = clients(gateway.url)
  for (const [requests, told] of [
    [[], /400 .*requests: at least one/],
    [[request('a'), request('a')], /400 .*requests.1.custom_id/],
    [[{ ...request('a'), custom_id: 'not one' }], /400 .*requests.0.custom_id/],
    [[{ custom_id: 'a' }], /400 .*requests.0.params/],
    [[1], /400 .*requests: each of them is an object/],
    [['a', 'b', 'c', 'd'].map((id) => request(id)), /400 .*requests: at most 3/],
  ] as const) await expect(anthropic.messages.batches.create({ requests: requests as unknown as Anthropic.Messages.BatchCreateParams['requests'] })).rejects.toThrow(told)
  expect((await openai.files.list()).data).toEqual([])
})

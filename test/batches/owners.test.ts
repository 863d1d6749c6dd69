import OpenAI from 'openai'
import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { bearer, makeKey, OPERATOR_KEY, setKey } from '../keys/making.ts'
import { chatLine, ended, expectOnce, resultsOf, submit } from './lines.ts'
import { test } from './world.ts'

test('files and batches are their owner’s alone; one with all rights sees everybody’s', async ({ drover, scripted, place }) => {
  const { url } = await drover.gateway({ ...place.env, DROVER_API_KEY: OPERATOR_KEY })
  const engine = await scripted({ slots: 4, models: ['scripted', 'other'] })
  await drover.worker('n', [{ url: engine.url, slots: 4 }])
  const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
  const [mine, theirs, limited] = await Promise.all([makeKey(url, {}), makeKey(url, {}), makeKey(url, { models: ['other:*'] })])
  const [me, other, few, all] = [mine, theirs, limited, { key: OPERATOR_KEY }].map(({ key }) => clientOf(key)) as [OpenAI, OpenAI, OpenAI, OpenAI]
  await until('the model is there', async () => (await me.models.list()).data.length > 1, 30_000)

  const batch = await ended(() => me, (await submit(me, chatLine('a') + chatLine('b'))).id)
  expectOnce(batch, await resultsOf(me, batch), ['a', 'b'])
  const { input_file_id: input, output_file_id: output } = batch
  for (const file of [input, output ?? '']) {
    await expect(other.files.retrieve(file)).rejects.toThrow(/404 No such File/)
    await expect(other.files.content(file)).rejects.toThrow(/404 No such File/)
    await expect(other.files.delete(file)).rejects.toThrow(/404 No such File/)
    expect((await all.files.retrieve(file)).id).toBe(file)
  }
  await expect(other.batches.retrieve(batch.id)).rejects.toThrow(/404 No batch/)
  await expect(other.batches.cancel(batch.id)).rejects.toThrow(/404 No batch/)
  await expect(other.batches.create({ input_file_id: input, endpoint: '/v1/chat/completions', completion_window: '24h' })).rejects.toThrow(/400 input_file_id: there is no file/)
  expect((await fetch(`${url}/api/batches/${batch.id}/results`, { headers: { authorization: `Bearer ${theirs.key}` } })).status).toBe(404)
  expect([(await other.files.list()).data, (await other.batches.list()).data, (await other.batches.list({ after: batch.id })).data]).toEqual([[], [], []])
  expect((await all.batches.list()).data.map(({ id }) => id)).toEqual([batch.id])
  // A model that its key may not use is to a batch one that is not there.
  const refused = await ended(() => few, (await submit(few, chatLine('a') + chatLine('b', { model: 'other' }))).id)
  expect(refused).toMatchObject({ status: 'failed', errors: { data: [{ code: 'model_not_found', line: 1 }] } })
})

test.for<[string, (url: string, key: string) => Promise<{ status: number }>]>([
  ['is revoked', (url, key) => send(`${url}/api/keys/${key}`, { method: 'DELETE', headers: bearer(OPERATOR_KEY) })],
  ['may make batches no more', (url, key) => setKey(url, key, { scopes: ['infer'] })],
])('a batch whose key %s is cancelled', async ([, end], { drover, scripted, place }) => {
  const { url } = await drover.gateway({ ...place.env, DROVER_API_KEY: OPERATOR_KEY })
  const engine = await scripted({ slots: 2 })
  await drover.worker('n', [{ url: engine.url, slots: 2 }])
  const { id: key, key: secret } = await makeKey(url, {})
  const [me, all] = [secret, OPERATOR_KEY].map((apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })) as [OpenAI, OpenAI]
  await until('the model is there', async () => (await me.models.list()).data.length > 0, 30_000)
  const ids = ['a', 'b', 'c', 'd']
  const { id } = await submit(me, ids.map((each) => chatLine(each, { script: 'tokens=1000 rate=5' })).join(''))
  await until('it runs', async () => (await engine.admin.stats()).running > 0)
  expect((await end(url, key)).status).toBe(200)
  const batch = await ended(() => all, id)
  expect(batch).toMatchObject({ status: 'cancelled', request_counts: { total: 4, completed: 0, failed: 0, cancelled: 4, expired: 0 } })
  expectOnce(batch, await resultsOf(all, batch), ids)
  await until('no engine works on', async () => (await engine.admin.stats()).running === 0)
})

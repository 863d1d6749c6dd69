import { expect } from 'vitest'
import { bearer, makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { ask } from '../support/client.ts'
import { post, smallest } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { hooksOf, startSink, verified } from './sink.ts'

const GOES_ON = { 'x-drover-on-disconnect': 'continue' }

const test = world.extend('site', async ({ drover, scripted }, { onCleanup }) => {
  const [engine, gateway, sink] = [await scripted(), await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY, DROVER_WEBHOOK_PRIVATE: 'true' }), await startSink()]
  onCleanup(sink.close)
  await drover.worker('n1', [engine.url])
  const [anna, bert] = await Promise.all([makeKey(gateway.url, { scopes: ['infer'] }), makeKey(gateway.url, { scopes: ['infer'] })])
  return { url: gateway.url, sink, anna: bearer(anna.key), bert: bearer(bert.key), operator: bearer(OPERATOR_KEY), annaId: anna.id }
})

test('a webhook is its owner’s: to others it is not there, they are told of their own jobs only, and an admin reaches all', async ({ site: { url, sink, anna, bert, operator, annaId } }) => {
  const [annas, berts, operators] = [anna, bert, operator].map((headers) => hooksOf(url, headers)) as [ReturnType<typeof hooksOf>, ReturnType<typeof hooksOf>, ReturnType<typeof hooksOf>]
  const { id, owner, secret = '' } = await annas.add({ url: sink.url })
  expect(owner).toBe(annaId)
  const end = async (key: string, headers: Record<string, string>) => String((await ask(url, 'openai.chat', { key, script: { tokens: 2 }, headers: { ...GOES_ON, ...headers } }).told).headers['x-drover-job'])
  await end('of-bert', bert)
  await end('of-operator', operator)
  const job = await end('of-anna', anna)
  await sink.told(1)
  const { id: delivery } = await annas.delivery(id, 'delivered')
  expect(delivery).toBe(`msg_${job}`)
  expect(sink.heard.map((heard) => verified(heard, secret).data.id)).toEqual([job])

  const missing = { status: 404, error: `webhook '${id}' not found` }
  expect((await berts.list()).webhooks).toEqual([])
  for (const answer of [await berts.get(id), await berts.test(id), await berts.retry(id, delivery), await berts.remove(id)]) expect(answer).toEqual(missing)
  expect(await berts.deliveries(id)).toBe(undefined)
  const named = await post(url, 'openai.chat', smallest('openai.chat', 'job=named tokens=1'), { ...bert, ...GOES_ON, 'x-drover-webhook': id })
  const unknown = await post(url, 'openai.chat', smallest('openai.chat', 'job=named tokens=1'), { ...bert, ...GOES_ON, 'x-drover-webhook': `wh_${'A'.repeat(22)}` })
  expect([named.status, named.text]).toEqual([400, unknown.text])

  expect((await operators.list()).webhooks.map((each) => each.id)).toEqual([id])
  expect(await operators.deliveries(id)).toHaveLength(1)
  expect((await operators.retry(id, delivery)).status).toBe(202)
  await sink.told(2)
  expect((await operators.remove(id)).status).toBe(200)
  expect((await annas.list()).webhooks).toEqual([])
})

test('who may not ask for answers may not have webhooks, and without a key nothing is told', async ({ site: { url, operator } }) => {
  const { key } = await makeKey(url, { scopes: ['metrics'] })
  expect((await hooksOf(url, bearer(key)).add({ url: 'https://example.com/' })).status).toBe(403)
  expect((await hooksOf(url).list()).status).toBe(401)
  expect((await hooksOf(url, operator).list()).webhooks).toEqual([])
})

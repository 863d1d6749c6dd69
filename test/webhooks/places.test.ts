import { expect, onTestFinished } from 'vitest'
import { leaving } from '../jobs/asking.ts'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { smallest } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { hooksOf, startSink, verified } from './sink.ts'

const GOES_ON = { 'x-drover-on-disconnect': 'continue' }
const SOON = { DROVER_WEBHOOK_WAITS: '20ms' }
const PRIVATE = { ...SOON, DROVER_WEBHOOK_PRIVATE: 'true' }

test('an address that is not public is refused when it is registered, however it is written', async ({ drover }) => {
  const { url } = await drover.gateway(SOON)
  const { add, list } = hooksOf(url)
  const hosts = ['127.0.0.1', '2130706433', '0x7f.1', '0177.0.0.1', '10.0.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '[::1]', '[::ffff:127.0.0.1]', '[::ffff:8.8.8.8]', '[fd00::1]', '[fe80::1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]']
  for (const host of hosts)
    for (const scheme of ['http', 'https'])
      expect([host, await add({ url: `${scheme}://${host}:8080/` })]).toEqual([host, { status: 400, error: 'url: its address is not public, and this gateway tells only public ones' }])
  expect((await list()).webhooks).toEqual([])
  expect((await add({ url: 'https://[2606:4700::1111]:8443/x' })).status).toBe(201)
})

test('where private addresses are not allowed, what points to one is not told: by a name, or by an address that another gateway has let in', async ({ drover }) => {
  const sink = await startSink()
  onTestFinished(sink.close)
  const lax = await drover.gateway(PRIVATE)
  const literals = await Promise.all(['127.0.0.1', '[::1]', '2130706433'].map((host) => hooksOf(lax.url).add({ url: `http://${host}:${sink.port}/` })))
  expect(literals.map(({ status }) => status)).toEqual([201, 201, 201])
  await lax.stop()
  const strict = await drover.gateway(SOON)
  const hooks = hooksOf(strict.url)
  const named = await Promise.all(['localhost', 'LOCALHOST.', 'x.localhost'].map((host) => hooks.add({ url: `http://${host}:${sink.port}/` })))
  expect(named.map(({ status }) => status)).toEqual([201, 201, 201])
  for (const [all, reason] of [[literals, 'the address is not public'], [named, 'the name has an address that is not public']] as const)
    for (const { id } of all) {
      const { delivery } = await hooks.test(id)
      expect(await hooks.delivery(id, 'failed')).toMatchObject({ id: delivery, attempts: 1, last_status: null, last_error: reason })
    }
  expect(sink.heard).toEqual([])
})

test('what a killed gateway was telling is told by another, under the same id', async ({ drover, scripted }) => {
  let held = true
  // Killed by the hand that it tells: not a moment before, and not when it has given the answer up.
  const sink = await startSink((response) => void (held ? first.signal('SIGKILL') : response.writeHead(200).end()))
  onTestFinished(sink.close)
  const env = { ...PRIVATE, DROVER_WEBHOOK_TIMEOUT: '3s' }
  const [engine, first] = [await scripted(), await drover.gateway(env)]
  await drover.worker('n1', [engine.url], { gateway: first })
  const hooks = hooksOf(first.url)
  const { id, secret = '' } = await hooks.add({ url: sink.url })
  const { headers, body } = await leaving(`${first.url}/v1/chat/completions`, smallest('openai.chat', 'job=held tokens=2 stall_at=1', { stream: true }), GOES_ON).answer
  body.resume().on('error', () => undefined)
  await engine.admin.release('held')
  await first.exited
  held = false
  const second = await drover.gateway(env)
  const delivery = await hooksOf(second.url).delivery(id, 'delivered')
  expect(delivery).toMatchObject({ id: `msg_${String(headers['x-drover-job'])}`, attempts: 2 })
  expect(sink.heard.map((heard) => verified(heard, secret).id)).toEqual([delivery.id, delivery.id])
})

test('a job that ends while there is no gateway is told of by the next one', async ({ drover, scripted }) => {
  const sink = await startSink()
  onTestFinished(sink.close)
  const [engine, first] = [await scripted(), await drover.gateway(PRIVATE)]
  await drover.worker('n1', [engine.url], { gateway: first })
  const { secret = '' } = await hooksOf(first.url).add({ url: sink.url })
  const answer = ask(first.url, 'openai.chat', { key: 'alone', script: { tokens: 6, stall_at: 3 }, headers: GOES_ON })
  answer.told.catch(() => undefined)
  await answer.tokens(2)
  first.signal('SIGKILL')
  await first.exited
  await engine.admin.release('alone')
  await until('the job has ended', async () => (await engine.admin.job('alone')).completed === 1)
  const second = await drover.gateway(PRIVATE)
  await sink.told(1)
  expect(verified(sink.heard[0]!, secret)).toMatchObject({ type: 'job.completed' })
  expect((await engine.admin.job('alone')).requests).toBe(1)
  expect(await hooksOf(second.url).list()).toMatchObject({ webhooks: [{ lost: 0 }] })
})

import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
const CASES = KINDS.flatMap((kind) => BOTH_WAYS.map((each) => ({ ...each, kind })))

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const started = { ollama: await engines({ kind: 'ollama', models: ['ollama'] }), 'llama-server': await engines({ kind: 'llama-server', models: ['llama-server'] }) }
  const gateway = await house.gateway()
  await house.worker('n1', Object.values(started).map(({ url }) => url), { gateway })
  return { url: gateway.url, engines: started }
})

const laneOf = async (url: string, model: string) => {
  const lane = (await statusOf(url)).lanes.find((each) => each.model === `${model}:latest`)
  return lane && { waiting: lane.waiting, running: lane.running }
}

test.for(CASES)('a client that leaves while it waits never reaches $kind: $dialect, $way', async ({ kind, dialect, stream }, { site }) => {
  const engine = site.engines[kind]
  const name = `${kind}-${dialect.replace('.', '-')}-${stream}`
  // The engine's only slot is taken, so the next one waits in the lane.
  const running = ask(site.url, 'openai.chat', { key: `${name}-on`, model: kind, script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const waiting = ask(site.url, dialect, { key: `${name}-off`, model: kind, stream })
  await until('it waits', async () => (await laneOf(site.url, kind))?.waiting === 1)
  const behind = ask(site.url, dialect, { key: `${name}-next`, model: kind, stream, script: { tokens: 3 } })
  await until('another waits behind it', async () => (await laneOf(site.url, kind))?.waiting === 2)
  waiting.leave()
  await expect(waiting.told).rejects.toThrow()
  await until('its place is free', async () => (await laneOf(site.url, kind))?.waiting === 1, 2_000)
  await engine.admin.release()
  expect(await running.told).toMatchObject({ ended: true, verdict: { ok: true, count: 20 } })
  expect(await behind.told).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
  expect((await engine.admin.job(`${name}-off`)).requests).toBe(0)
  await until('nothing is left', async () => {
    const lane = await laneOf(site.url, kind)
    return lane?.waiting === 0 && lane.running === 0
  })
})

test.for(CASES)('a client that leaves stops $kind within two seconds: $dialect, $way', async ({ kind, dialect, stream }, { site }) => {
  const engine = site.engines[kind]
  const key = `${kind}-${dialect.replace('.', '-')}-${stream}-decoding`
  const asking = ask(site.url, dialect, { key, model: kind, stream, script: { tokens: 100_000, rate: 50 } })
  if (stream) await asking.tokens(3)
  else await until('the engine runs it', async () => (await engine.admin.job(key)).running === 1)
  asking.leave()
  const left = performance.now()
  await expect(asking.told).rejects.toThrow()
  await until('the engine has stopped', async () => (await engine.admin.job(key)).aborts === 1, 4_000)
  expect(performance.now() - left).toBeLessThan(2_000)
  expect(await engine.admin.job(key)).toMatchObject({ requests: 1, running: 0, completed: 0 })
  const status = await statusOf(site.url)
  expect(status.gateway).toMatchObject({ open_answers: 0, following: 0 })
  // The slot is free again.
  const next = await ask(site.url, dialect, { key: `${key}-next`, model: kind, stream, script: { tokens: 3 } }).told
  expect(next).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
})

test('of many who leave at once none reaches an engine or stays behind', async ({ site }) => {
  const engine = site.engines.ollama
  const running = ask(site.url, 'ollama.chat', { key: 'crowd-on', model: 'ollama', script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const crowd = Array.from({ length: 50 }, (_, i) => ask(site.url, 'openai.chat', { key: `crowd${i}`, model: 'ollama', stream: i % 2 === 0 }))
  await until('all wait', async () => (await laneOf(site.url, 'ollama'))?.waiting === 50)
  for (const { leave } of crowd) leave()
  await Promise.allSettled(crowd.map(({ told }) => told))
  await until('all are gone', async () => (await laneOf(site.url, 'ollama'))?.waiting === 0, 2_000)
  await engine.admin.release()
  expect(await running.told).toMatchObject({ ended: true, verdict: { ok: true, count: 20 } })
  const { jobs } = await engine.admin.stats()
  expect(Object.keys(jobs).filter((key) => /^crowd\d/.test(key))).toEqual([])
  expect((await statusOf(site.url)).gateway).toMatchObject({ open_answers: 0, following: 0 })
})

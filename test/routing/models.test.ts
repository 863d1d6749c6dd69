import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { DIALECTS, test } from '../support/world.ts'

test('two workers with different models: each engine sees the jobs of its own model only', async ({ drover, scripted }) => {
  const engines = { alpha: await scripted({ models: ['alpha'] }), beta: await scripted({ kind: 'llama-server', models: ['beta'] }) }
  const gateway = await drover.gateway()
  await Promise.all([drover.worker('a', [engines.alpha.url], { gateway }), drover.worker('b', [engines.beta.url], { gateway })])
  const jobs = (['alpha', 'beta'] as const).flatMap((model) =>
    DIALECTS.flatMap((dialect) => [true, false].map((stream) => ({ model, dialect, stream, key: `${model}-${dialect.replace('.', '-')}-${stream}` }))),
  )
  const told = await Promise.all(jobs.map(({ model, dialect, stream, key }) => ask(gateway.url, dialect, { key, model, stream, script: { tokens: 10 } }).told))
  for (const [i, { model }] of jobs.entries()) {
    expect(told[i]).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 10 } })
    expect(told[i]?.headers).toMatchObject({ 'x-drover-node': model === 'alpha' ? 'a' : 'b', 'x-drover-attempts': '1' })
  }
  for (const model of ['alpha', 'beta'] as const) {
    const { jobs: seen, requests } = await engines[model].admin.stats()
    expect(Object.keys(seen).toSorted()).toEqual(jobs.filter((job) => job.model === model).map(({ key }) => key).toSorted())
    expect(requests).toBe(6)
  }
})

test('a worker that is started raises what runs at once by its slots, and nothing is restarted', async ({ drover, scripted }) => {
  const [small, large, other] = [
    await scripted({ models: ['alpha'], slots: 2 }), await scripted({ models: ['alpha'], slots: 4 }), await scripted({ models: ['beta'], slots: 2 }),
  ]
  const gateway = await drover.gateway()
  const workers = await Promise.all([
    drover.worker('a', [{ url: small.url, slots: 2 }], { gateway }),
    drover.worker('b', [{ url: other.url, slots: 2 }], { gateway }),
  ])
  const enough = new AbortController()
  let number = 0
  const client = async () => {
    while (!enough.signal.aborted) {
      const key = `turn${number++}`
      const told = await ask(gateway.url, 'openai.chat', { key, model: 'alpha', script: { tokens: 15, rate: 50 } }).told
      expect(told).toMatchObject({ ended: true, verdict: { ok: true, count: 15 }, headers: { 'x-drover-attempts': '1' } })
    }
  }
  const clients = Promise.all(Array.from({ length: 12 }, client))
  /** Runs that are under way at once, on average. */
  const measured = async () => {
    let sum = 0
    for (let i = 0; i < 75; i += 1) {
      for (const engine of [small, large]) sum += (await engine.admin.stats()).running
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return sum / 75
  }
  const lane = async () => (await statusOf(gateway.url)).lanes.find(({ model }) => model === 'alpha:latest')
  const alone = await measured()
  expect((await lane())?.running).toBeLessThanOrEqual(2)
  await drover.worker('c', [{ url: large.url, slots: 4 }], { gateway })
  await until('six run at once', async () => (await large.admin.stats()).running === 4 && (await small.admin.stats()).running === 2)
  const together = await measured()
  enough.abort()
  await clients
  expect(together / alone).toBeGreaterThan(2.2)
  expect(together / alone).toBeLessThan(3.8)
  const peaks = await Promise.all([small, large, other].map(async (engine) => (await engine.admin.stats()).maxRunning))
  expect(peaks).toEqual([2, 4, 0])
  for (const part of [gateway, ...workers]) expect(part.log()).not.toContain('shutting down')
})

test('a model that an engine begins to hold is served at once, and one that it gives up is not found any more', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['alpha'] })
  const gateway = await drover.gateway()
  await drover.worker('a', [engine.url], { gateway })
  const asked = (model: string) => ask(gateway.url, 'ollama.chat', { key: 'm', model, stream: false, script: { tokens: 3 } }).told
  expect(await asked('gamma')).toMatchObject({ status: 404, error: "model 'gamma' not found" })
  await engine.admin.models(['gamma'])
  await until('gamma is known', async () => (await statusOf(gateway.url)).models.some(({ model }) => model === 'gamma:latest'))
  expect(await asked('gamma')).toMatchObject({ status: 200, verdict: { ok: true, count: 3 } })
  expect(await asked('alpha')).toMatchObject({ status: 404, error: "model 'alpha' not found" })
})

import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'
import { submitter } from './jobs.ts'

const MODELS = ['one:latest', 'two:latest']
const JOBS = 12

const test = world.extend('site', async ({ redis, drover, scripted }, { onCleanup }) => {
  const engine = await scripted({ slots: 2, models: MODELS, maxLoaded: 1, loadMs: 20 })
  const jobs = await submitter(redis, drover)
  onCleanup(() => jobs.close())
  const gateway = await drover.gateway()
  const worker = (env: Record<string, string> = {}) => drover.worker('n1', [{ url: engine.url, slots: 2, maxLoaded: 1 }], { gateway, env })
  /** Batch jobs of both models, by turns. */
  const batch = async (count = JOBS, rate = 100) => {
    const all = []
    for (let i = 0; i < count; i += 1)
      for (const model of MODELS) all.push(await jobs.submit({ key: `${model.slice(0, 3)}${i}`, model, class: 'batch', background: true, script: { tokens: 4, rate } }))
    return all
  }
  return { engine, gateway, worker, batch, ...jobs }
})

test('a node stays with the batch jobs of one model until there are no more', async ({ site }) => {
  const jobs = await site.batch()
  await site.worker()
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
  const models = site.order.map((key) => key.slice(0, 3))
  expect(models.filter((model, i) => i > 0 && model !== models[i - 1])).toHaveLength(1)
  expect((await site.engine.admin.stats()).loads).toBe(2)
})

test('a model whose batch jobs have had nothing for long has one taken between those of another', async ({ site }) => {
  await site.worker({ DROVER_BATCH_STARVE_AFTER: '100ms' })
  // Slots that become free one after the other would never leave room for another model.
  const jobs = await site.batch(60, 40)
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
  const models = site.order.map((key) => key.slice(0, 3))
  expect(models.filter((model, i) => i > 0 && model !== models[i - 1]).length).toBeGreaterThan(1)
})

test('all batch jobs of another model make room where only one fits in memory', async ({ site }) => {
  await site.worker()
  const jobs = await Promise.all([0, 1].map((i) => site.submit({ key: `b${i}`, model: MODELS[0]!, class: 'batch', background: true, script: { tokens: 30, stall_at: 10, times: 1 } })))
  await until('both run', async () => (await site.engine.admin.stats()).running === 2)
  expect(await ask(site.gateway.url, 'ollama.chat', { key: 'quick', model: MODELS[1]!, script: { tokens: 5 } }).told).toMatchObject({ ended: true, verdict: { ok: true, count: 5 } })
  expect((await site.engine.admin.stats()).aborts).toBe(2)
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
  expect(jobs.map((job) => [job.whole(30), job.ends])).toEqual([[true, 1], [true, 1]])
})

import { almighty, type Owner } from '@drover/core'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'
import { submitter, type Submitted } from './jobs.ts'

const SLOTS = 2

const test = world.extend('site', async ({ redis, drover, scripted }, { onCleanup }) => {
  const engine = await scripted({ slots: SLOTS })
  await drover.worker('n1', [{ url: engine.url, slots: SLOTS }])
  const jobs = await submitter(redis, drover)
  onCleanup(() => jobs.close())
  /** Jobs that hold all slots until the engine is told to let go. */
  const fill = async (owner: string): Promise<Submitted[]> => {
    const held = await Promise.all(Array.from({ length: SLOTS }, (_, i) => jobs.submit({ key: `${owner}-held${i}`, owner: owner as Owner, script: { tokens: 3, hold: 1 } })))
    await until('all slots are taken', async () => (await engine.admin.stats()).running === SLOTS)
    return held
  }
  return { engine, fill, ...jobs }
})

test('the single job of one owner is served in the next round, whatever another has waiting', async ({ site }) => {
  const { submit, engine, fill, order, broker } = site
  const greedy = 'greedy' as Owner
  const single = 'single' as Owner
  const held = await fill('greedy')
  const waiting = []
  for (let i = 0; i < 300; i += 1) waiting.push(await submit({ key: `g${i}`, owner: greedy, script: { tokens: 20, rate: 400 } }))
  // It is larger, too, and that is not to its disadvantage.
  const job = await submit({ key: 'single', owner: single, tokens: 50_000, script: { tokens: 1 } })
  expect(await broker.kept.inspect(job.id, almighty(single))).toMatchObject({ state: 'queued', ahead: { waiting: 0, running: SLOTS } })
  expect(await broker.kept.inspect(waiting[0]!.id, almighty(single))).toMatchObject({ ahead: { waiting: 1 } })
  const stranger = { ...almighty(single), scopes: new Set(['infer'] as const) }
  expect(await broker.kept.inspect(waiting[0]!.id, stranger)).toBeUndefined()
  expect((await broker.kept.inspect(held[0]!.id, almighty(greedy)))?.ahead).toBeUndefined()
  await engine.admin.release()
  expect(await job.ended).toMatchObject({ outcome: 'completed' })
  // Those that ran, and one that the other slot may have begun meanwhile.
  expect(order.indexOf('single')).toBeLessThanOrEqual(SLOTS + 1)
  expect(job.whole(1)).toBe(true)
  await Promise.all([...waiting.slice(0, 20), ...held].map(({ ended }) => ended))
  const own = order.filter((key) => /^g\d/.test(key)).slice(0, 10).map((key) => Number(key.slice(1)))
  // In its owner's order, but for two that run side by side.
  for (const [i, number] of own.entries()) expect(Math.abs(number - i)).toBeLessThan(SLOTS)
})

test('twice the priority is served twice as much, and the lowest is not starved', async ({ site }) => {
  const { submit, engine, fill, order } = site
  await fill('c')
  const jobs: Submitted[] = []
  const script = { tokens: 1 }
  for (let i = 0; i < 24; i += 1) jobs.push(await submit({ key: `u${i}`, owner: 'usual' as Owner, script }), await submit({ key: `h${i}`, owner: 'high' as Owner, priority: 10, script }), await submit({ key: `l${i}`, owner: 'low' as Owner, priority: 1, script }))
  await engine.admin.release()
  await Promise.all(jobs.map(({ ended }) => ended))
  const first = order.filter((key) => !key.includes('held')).slice(0, 32)
  const share = (letter: string) => first.filter((key) => key.startsWith(letter)).length
  expect(share('h')).toBeGreaterThanOrEqual(18)
  expect(share('h')).toBeLessThanOrEqual(22)
  expect(share('u')).toBeGreaterThanOrEqual(8)
  expect(share('l')).toBeGreaterThanOrEqual(1)
})

test('however young the job at its head is, a lane tells how long the one has waited that waits longest', async ({ site }) => {
  const { submit, fill, broker } = site
  await fill('a')
  for (let i = 0; i < 3; i += 1) await submit({ key: `a${i}`, owner: 'a' as Owner, script: { tokens: 1 } })
  const age = async () => (await broker.depths()).find(({ waiting }) => waiting > 0)?.headAge ?? 0
  await until('they have waited', async () => (await age()) > 150)
  const young = await submit({ key: 'young', owner: 'b' as Owner, priority: 10, script: { tokens: 1 } })
  expect(await broker.kept.inspect(young.id, almighty('b' as Owner))).toMatchObject({ ahead: { waiting: 0 } })
  expect(await age()).toBeGreaterThan(150)
})

test('a priority is a whole number from 1 to 10, and anything else is refused', async ({ site, drover }) => {
  expect(site.order).toEqual([])
  const { url } = await drover.gateway()
  const told = (priority: string) => ask(url, 'openai.chat', { key: `p${priority}`, stream: false, script: { tokens: 2 }, headers: { 'x-drover-priority': priority } }).told
  expect(await told('10')).toMatchObject({ status: 200, verdict: { ok: true, count: 2 } })
  for (const wrong of ['0', '11', '5.5', 'high']) expect(await told(wrong)).toMatchObject({ status: 400, error: expect.stringContaining('x-drover-priority') as string })
})

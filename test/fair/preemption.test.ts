import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'
import { submitter, type Submitted } from './jobs.ts'

const SLOTS = 3
const TOKENS = 120

const test = world.extend('site', async ({ redis, drover, scripted }, { onCleanup }) => {
  const engine = await scripted({ slots: SLOTS })
  const gateway = await drover.gateway()
  const jobs = await submitter(redis, drover)
  onCleanup(() => jobs.close())
  const worker = (env: Record<string, string> = {}, node = 'n1', at = engine) => drover.worker(node, [{ url: at.url, slots: SLOTS }], { gateway, env })
  /** Batch jobs in all slots of the engine that stop half-way until they are let go, and some more that wait. */
  const batch = async (count: number, stream = false): Promise<Submitted[]> => {
    const submitted: Submitted[] = []
    for (let i = 0; i < count; i += 1)
      submitted.push(await jobs.submit({ key: `b${i}`, class: 'batch', background: true, stream, script: { tokens: TOKENS, ...(i < SLOTS && { stall_at: 60, times: 1 }) } }))
    await until('all slots are taken', async () => (await engine.admin.stats()).running === Math.min(count, SLOTS))
    return submitted
  }
  const chat = (key: string, script: Record<string, number> = { tokens: 5 }) => ask(gateway.url, 'openai.chat', { key, stream: true, script })
  return { engine, gateway, worker, batch, chat, ...jobs }
})

test('an interactive job that finds no free slot is answered at once, and the batch job that made room is answered whole, once, later', async ({ site }) => {
  const { engine, gateway, worker, batch, chat } = site
  const part = await worker()
  const jobs = await batch(5, true)
  await Promise.all(jobs.slice(0, SLOTS).map((job) => job.said(1_000)))
  const told = await chat('quick').told
  expect(told).toMatchObject({ ended: true, verdict: { ok: true, count: 5 } })
  // All the others are still where they were: the youngest has gone, and nobody else.
  const { aborts, maxRunning } = await engine.admin.stats()
  expect([aborts, maxRunning]).toEqual([1, SLOTS])
  expect((await engine.admin.job(`b${SLOTS - 1}`)).aborts).toBe(1)
  await until('it is known', async () => (await (await fetch(`${gateway.url}/metrics`)).text()).includes('drover_preempted_total{node="n1"} 1'))
  expect(part.log()).toContain('preempted')
  await engine.admin.release()
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
  expect(jobs.map((job) => [job.whole(TOKENS), job.ends])).toEqual(jobs.map(() => [true, 1]))
  const made = await engine.admin.job(`b${SLOTS - 1}`)
  // It went on where it was.
  expect([made.completed, made.runs.at(-1)!.from > 0]).toEqual([1, true])
  expect(jobs[SLOTS - 1]!.attempts.size).toBe(2)
})

test('as many interactive jobs as come have room made for them, and no batch job more', async ({ site }) => {
  const { engine, worker, batch, chat } = site
  await worker()
  const jobs = await batch(SLOTS)
  // Held, so that the second does not find the slot of the first.
  const asked = ['q1', 'q2'].map((key) => chat(key, { tokens: 8, hold: 1 }))
  await until('both run', async () => (await Promise.all(['q1', 'q2'].map((key) => engine.admin.job(key)))).every(({ running }) => running === 1))
  for (const key of ['q1', 'q2']) await engine.admin.release(key)
  const told = await Promise.all(asked.map((asking) => asking.told))
  expect(told).toMatchObject([{ ended: true, verdict: { ok: true } }, { ended: true, verdict: { ok: true } }])
  const { aborts, maxRunning } = await engine.admin.stats()
  expect([aborts, maxRunning]).toEqual([2, SLOTS])
  await engine.admin.release()
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
  expect(jobs.map((job) => [job.whole(TOKENS), job.ends])).toEqual(jobs.map(() => [true, 1]))
})

test('of two nodes one makes room, and none does while another has a slot free', async ({ site, scripted }) => {
  const { engine, worker, batch, chat } = site
  // Long enough for the other, however busy the machine is.
  const env = { DROVER_PREEMPT_AFTER: '4s' }
  await worker(env)
  await batch(SLOTS)
  const other = await scripted({ slots: SLOTS })
  await worker(env, 'n2', other)
  for (let i = 0; i < 5; i += 1) expect(await chat(`free${i}`).told).toMatchObject({ ended: true })
  expect([(await engine.admin.stats()).aborts, (await other.admin.stats()).requests]).toEqual([0, 5])
  for (let i = 0; i < SLOTS; i += 1) await site.submit({ key: `more${i}`, class: 'batch', background: true, script: { tokens: TOKENS, stall_at: 60, times: 1 } })
  await until('those of the other are taken, too', async () => (await other.admin.stats()).running === SLOTS)
  expect(await chat('one').told).toMatchObject({ ended: true })
  expect((await engine.admin.stats()).aborts + (await other.admin.stats()).aborts).toBe(1)
})

test('where it is switched off an interactive job waits for its turn', async ({ site }) => {
  const { engine, gateway, worker, batch, chat } = site
  await worker({ DROVER_PREEMPT: 'false' })
  const jobs = await batch(SLOTS + 2)
  const asking = chat('patient')
  await until('it waits', async () => (await statusOf(gateway.url)).lanes.some((lane) => lane.class === 'interactive' && lane.waiting === 1))
  // For longer than it takes to look at all lanes, heard of or not.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect((await engine.admin.job('b0')).aborts + (await engine.admin.stats()).aborts).toBe(0)
  // The one slot that is free now is its own, not that of the batch jobs that have waited longer.
  await engine.admin.set({ hold: 1 }, `b${SLOTS}`)
  await engine.admin.set({ hold: 1 }, `b${SLOTS + 1}`)
  await engine.admin.release('b0')
  expect(await asking.told).toMatchObject({ ended: true, verdict: { ok: true, count: 5 } })
  expect((await engine.admin.job(`b${SLOTS + 1}`)).requests).toBe(0)
  await engine.admin.set(undefined, `b${SLOTS}`)
  await engine.admin.set(undefined, `b${SLOTS + 1}`)
  await engine.admin.release()
  for (const job of jobs) expect(await job.ended).toMatchObject({ outcome: 'completed' })
})

test('a batch job is made to go a few times, and then runs to its end', async ({ site }) => {
  const { engine, worker, chat } = site
  await worker({ DROVER_BATCH_SHARE: '0.34' })
  const job = await site.submit({ key: 'long', class: 'batch', background: true, script: { tokens: TOKENS, hold: 1 } })
  await until('it runs', async () => (await engine.admin.job('long')).running === 1)
  const held = [chat('h1', { tokens: 5, hold: 1 }), chat('h2', { tokens: 5, hold: 1 })]
  await until('all slots are taken', async () => (await engine.admin.stats()).running === SLOTS)
  for (let i = 1; i <= 4; i += 1) {
    expect(await chat(`q${i}`).told).toMatchObject({ ended: true })
    await until('it runs again', async () => (await engine.admin.job('long')).running === 1)
    expect((await engine.admin.job('long')).aborts).toBe(i)
  }
  const last = chat('last')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect([(await engine.admin.job('long')).aborts, (await engine.admin.job('last').catch(() => ({ requests: 0 }))).requests]).toEqual([4, 0])
  await engine.admin.release('long')
  expect(await last.told).toMatchObject({ ended: true })
  expect(await job.ended).toMatchObject({ outcome: 'completed' })
  expect(job.whole(TOKENS)).toBe(true)
  await engine.admin.release()
  for (const { told } of held) expect(await told).toMatchObject({ ended: true })
})

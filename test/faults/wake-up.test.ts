import { openGateway, openWorker, type FrameSink } from '@drover/broker'
import { LOCAL, type HeldModel, type ModelName } from '@drover/core'
import type { Engine } from '@drover/engines'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pullLoop } from '../../apps/worker/src/pull-loop.ts'
import { Slots } from '../../apps/worker/src/slots.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

const NODES = 20
const MODELS = 30
const JOBS = 1_500
const SLOTS = 2
const modelName = (i: number) => `m${i}:latest` as ModelName
const held = (model: ModelName): HeldModel => ({ model, engineName: model, digest: '', size: 1, modifiedAt: '' })

/** Repeatable randomness: a failure can be run again. */
const random = (seed: number) => () => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
  return seed / 2 ** 32
}

test('with 20 nodes and 30 models no job sits waiting while a slot for its model is free', async () => {
  const settings = { url: redis.url, prefix: '{wake}', onError: (error: unknown) => expect.unreachable(String(error)) }
  const next = random(42)
  const draining = new AbortController()
  const submitted = new Map<string, { at: number; slotWasFree: boolean }>()
  const waits: { ms: number; slotWasFree: boolean }[] = []

  const nodes = await Promise.all(
    Array.from({ length: NODES }, async (_, n) => {
      const worker = await openWorker(`n${n}`, settings)
      const slots = new Slots()
      const models = new Set(Array.from({ length: 6 }, (_, k) => modelName((n * 3 + k * 7 + Math.floor(next() * 5)) % MODELS)))
      const engine = { id: 'e', kind: 'ollama', url: '', speaks: [] } as unknown as Engine
      slots.update(engine, { held: [...models].map(held), loaded: [], slotsPerModel: SLOTS, maxLoaded: 100 })
      const loop = pullLoop({
        source: worker.jobs,
        slots,
        run: (lease, slot) => {
          const job = submitted.get(lease.takeBody())
          if (job) waits.push({ ms: performance.now() - job.at, slotWasFree: job.slotWasFree })
          const busy = 10 + next() * 60
          setTimeout(() => {
            slot.release()
            void lease.settle({ kind: 'completed' })
          }, busy)
        },
        peerPreference: () => undefined,
        preference: 0,
        bounds: { wait: 10_000, batchWait: 300_000, leave: 0, preempt: 15 },
        paused: () => false,
        draining: draining.signal,
        onError: settings.onError,
      })
      return { worker, slots, loop }
    }),
  )
  const servable = Array.from({ length: MODELS }, (_, i) => modelName(i)).filter((model) => nodes.some(({ slots }) => slots.isFree(model)))
  expect(servable.length).toBeGreaterThan(20)

  const gateway = await openGateway('g', { ...settings, laneLimit: 10_000 })
  const ends: Promise<void>[] = []
  for (let i = 0; i < JOBS; i += 1) {
    const model = servable[Math.floor(next() * servable.length)]!
    const end = Promise.withResolvers<void>()
    ends.push(end.promise)
    const sink: FrameSink = { frame: (frame) => void (frame.end && end.resolve()), lost: end.reject }
    submitted.set(`"${i}"`, { at: performance.now(), slotWasFree: nodes.some(({ slots }) => slots.isFree(model)) })
    const submission = { dialect: 'ollama.chat', model, asked: model, class: 'interactive', owner: LOCAL, stream: false, slots: 1, body: `"${i}"`, timeoutMs: 60_000 } as const
    gateway.jobs.submit(submission, sink).catch(end.reject)
    if (next() < 0.8) await new Promise((resolve) => setTimeout(resolve, next() * 10))
  }
  await Promise.all(ends)

  const free = waits.filter(({ slotWasFree }) => slotWasFree).map(({ ms }) => ms).toSorted((a, b) => a - b)
  const p = (share: number) => free[Math.min(free.length - 1, Math.floor(free.length * share))]!
  console.log(`add to lease, ${free.length} of ${JOBS} jobs that met a free slot: p50 ${p(0.5).toFixed(1)} ms, p99 ${p(0.99).toFixed(1)} ms, longest ${p(1).toFixed(1)} ms`)
  expect(waits).toHaveLength(JOBS)
  expect(free.length).toBeGreaterThan(JOBS / 2)
  // A swallowed wake-up shows as a wait until the next poll, 1 s later.
  expect(p(1)).toBeLessThan(900)
  expect((await gateway.depths()).every(({ waiting, running }) => waiting === 0 && running === 0)).toBe(true)

  draining.abort()
  await Promise.all(nodes.map(({ loop }) => loop))
  await Promise.all(nodes.map(({ worker }) => worker.close()))
  await gateway.close()
})

import { expect } from 'vitest'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import type { Script } from '../engine/script.ts'
import { ask, type Told } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

const test = world.override('settings', { redis: {}, engine: { maxLoaded: 100, slots: 8 }, env: { DROVER_DRAIN_LIMIT: '500ms', DROVER_FIRST_TOKEN: '3s', DROVER_TOKEN_GAP: '3s', DROVER_LOAD_TIME: '0s' } })

const right = (told: Told, headers: Record<string, string> = {}) =>
  expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true }, headers })

/** What `/api/status` says to be in quarantine on a node's first engine. */
const quarantinedOn = async (url: string, node: string) => {
  const engine = (await statusOf(url)).nodes.find(({ id }) => id === node)?.engines[0]
  return (engine as { quarantined?: { model?: string; for_ms: number; failures: number }[] } | undefined)?.quarantined
}

const linesOf = (log: string, message: string) => log.split('\n').filter((line) => line.includes(`"${message}"`))

const FAULTS: { name: string; script: Script; wholeOnly?: boolean }[] = [
  { name: 'status 500', script: { fail: 500 } },
  { name: 'status 503, busy', script: { fail: 503 } },
  { name: 'status 404, the model is gone', script: { fail: 404 } },
  { name: 'silence before the first token', script: { silent: 1 } },
  { name: 'silence between two tokens', script: { stall_at: 5 }, wholeOnly: true },
]
const CASES = FAULTS.map((fault, i) => ({
  ...fault,
  // A model for each, so that no pause after a failure gets into another's way.
  jobs: BOTH_WAYS.filter(({ stream }) => !stream || !fault.wholeOnly).map((way, j) => ({ ...way, model: `m${i}-${j}`, key: `k${i}-${j}` })),
}))

const table = test.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const models = CASES.flatMap(({ jobs }) => jobs.map(({ model }) => model))
  const [bad, good, dropping] = [await engines({ models: [...models, 'any'] }), await engines({ models: [...models, 'any', 'dropped'] }), await engines({ models: ['dropped'] })]
  const gateway = await house.gateway()
  // Whatever it holds is offered to it first, and the other one knows that from the start.
  await house.worker('bad', [{ url: bad.url, slots: 8, maxLoaded: 100 }, { url: dropping.url, slots: 8 }], { gateway, env: { DROVER_PREFERENCE: '1' } })
  await house.worker('good', [{ url: good.url, slots: 8, maxLoaded: 100 }], { gateway })
  for (let n = 0; n < 3; ) n = (await ask(gateway.url, 'ollama.chat', { key: 'any', model: 'any', script: { tokens: 1 } }).told).headers['x-drover-node'] === 'bad' ? n + 1 : 0
  return { url: gateway.url, bad, good, dropping }
})

table.concurrent.for(CASES)('an engine call that meets $name goes on at the other holder, and its client hears nothing of it', async ({ jobs, script }, { site }) => {
  await Promise.all(
    jobs.map(async ({ dialect, stream, model, key: name }) => {
      // A job is left to the preferred node for 0.3 s only: on a busy machine one may go past it.
      for (let requests = 0, n = 0; requests === 0; n += 1) {
        const key = `${name}-${n}`
        await site.bad.admin.set({ tokens: 20, ...script }, key)
        const told = await ask(site.url, dialect, { key, model, stream }).told
        requests = (await site.bad.admin.job(key)).requests
        expect(requests).toBeLessThan(2)
        right(told, { 'x-drover-node': 'good', 'x-drover-attempts': String(1 + requests) })
      }
    }),
  )
})

table('calls whose connection is closed without an answer go on at the other holder', async ({ site }) => {
  const jobs = BOTH_WAYS.map((way, i) => ({ ...way, key: `drop${i}` }))
  await Promise.all(jobs.map(({ key }) => site.dropping.admin.set({ drop: 1 }, key)))
  // The first of them closes the engine to the others, until it has been looked at.
  await Promise.all(jobs.map(async ({ dialect, stream, key }) => right(await ask(site.url, dialect, { key, stream, model: 'dropped' }).told, { 'x-drover-node': 'good' })))
  expect((await site.dropping.admin.stats()).requests).toBeGreaterThan(0)
})

test('an engine that is killed takes nothing while it is away, its jobs go on elsewhere, and it is used again when it is back', async ({ drover, scripted }) => {
  const options = { slots: 8 }
  let killed = await spawnScriptedEngine(options)
  const other = await scripted(options)
  const gateway = await drover.gateway()
  const worker = await drover.worker('killed', [{ url: killed.url, slots: 8 }], { gateway })
  // Nobody else is there yet, so all of them are on it.
  await killed.admin.set({ rate: 2 })
  const jobs = BOTH_WAYS.map(({ dialect }, i) => ask(gateway.url, dialect, { key: `w${i}`, stream: false }))
  await until('all run', async () => (await killed.admin.stats()).running === jobs.length)
  await drover.worker('other', [{ url: other.url, slots: 8 }], { gateway })
  await killed.close()
  // It may have been thought well until one of these was refused.
  const during = BOTH_WAYS.map(({ dialect, stream }, i) => ask(gateway.url, dialect, { key: `d${i}`, stream, script: { tokens: 5 } }))
  for (const { told } of [...during, ...jobs]) right(await told, { 'x-drover-node': 'other' })
  await until('it is known to be away', async () => linesOf(worker.log(), 'engine cannot be used').length === 1)
  killed = await spawnScriptedEngine({ ...options, port: Number(new URL(killed.url).port) })
  await until('it works again', async () => {
    await ask(gateway.url, 'ollama.chat', { key: 'back', script: { tokens: 2 } }).told.then((told) => right(told))
    return (await killed.admin.stats()).requests > 0
  })
  await killed.close()
})

test('an engine that fails at job after job is kept from them, shown as such, and let back in when it is well', async ({ drover, scripted }) => {
  const [ill, well] = [await scripted(), await scripted()]
  const gateway = await drover.gateway()
  const worker = await drover.worker('ill', [{ url: ill.url, slots: 8 }], { gateway, env: { DROVER_PREFERENCE: '1' } })
  await drover.worker('well', [{ url: well.url, slots: 8 }], { gateway })
  await ill.admin.set({ fail: 500 })
  let n = 0
  const next = async () => {
    const told = await ask(gateway.url, 'openai.chat', { key: `n${(n += 1)}`, script: { tokens: 2 } }).told
    right(told)
    return told.headers['x-drover-node']
  }
  const quarantined = () => quarantinedOn(gateway.url, 'ill')
  await until('it is in quarantine', async () => {
    expect(await next()).toBe('well')
    return (await quarantined()) !== undefined
  })
  expect(await quarantined()).toEqual([{ model: 'scripted:latest', for_ms: expect.any(Number), failures: expect.any(Number) }])
  await until('it has failed again when it was let try', async () => {
    expect(await next()).toBe('well')
    return ((await quarantined())?.[0]?.failures ?? 0) > 4
  })
  const tried = (await ill.admin.stats()).requests
  expect(tried, 'hardly any of the jobs was sent there').toBeLessThan(7)
  expect(linesOf(worker.log(), 'engine keeps failing and is given no jobs for now')).toHaveLength(1)
  await ill.admin.set(undefined)
  await until('it is used again', async () => (await next()) === 'ill')
  await until('it is shown as well', async () => (await quarantined()) === undefined)
  expect(linesOf(worker.log(), 'engine is given jobs again')).toHaveLength(1)
})

test('with nobody else to take them jobs wait until the engine is well', async ({ drover, scripted }) => {
  const engine = await scripted({ slots: 1 })
  const gateway = await drover.gateway()
  await drover.worker('only', [engine.url], { gateway })
  await engine.admin.set({ fail: 500 })
  const failing = [1, 2, 3].map((i) => ask(gateway.url, 'ollama.chat', { key: `f${i}` }))
  await until('it is in quarantine', async () => (await quarantinedOn(gateway.url, 'only')) !== undefined)
  for (const { told } of failing) expect(await told).toMatchObject({ status: 500, ended: false, headers: { 'x-drover-attempts': '3' } })
  const waiting = [1, 2, 3, 4].map((i) => ask(gateway.url, 'ollama.chat', { key: `w${i}` }))
  // Which of them came first is not for us to say.
  await until('one was let through', async () => (await Promise.all([1, 2, 3, 4].map((i) => engine.admin.job(`w${i}`)))).some(({ requests }) => requests > 0))
  await engine.admin.set(undefined)
  for (const { told } of waiting) right(await told)
})

test('of two engines of one node the other one takes what the first has failed at, at once', async ({ drover, scripted }) => {
  const [ill, well] = [await scripted(), await scripted()]
  const gateway = await drover.gateway()
  await drover.worker('both', [{ url: ill.url, slots: 8 }, { url: well.url, slots: 8 }], { gateway })
  await ill.admin.set({ fail: 500 })
  await Promise.all(
    BOTH_WAYS.map(async ({ dialect, stream }, i) => right(await ask(gateway.url, dialect, { key: `b${i}`, stream }).told)),
  )
  expect((await ill.admin.stats()).requests).toBeGreaterThan(0)
})

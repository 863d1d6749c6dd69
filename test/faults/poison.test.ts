import { expect } from 'vitest'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { ask, type Told } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'

const VICTIMS = [0, 1, 2]

/** One node with an engine for each fault, started anew when it dies; three others to be killed. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines }, { onCleanup }) => {
  const falling = { models: ['falls'], slots: 2 }
  let engine = await spawnScriptedEngine(falling)
  const { url } = engine
  const deaths = { count: 0 }
  let over = false
  const keepUp = async () => {
    for (;;) {
      await engine.exited
      if (over) return
      deaths.count += 1
      engine = await spawnScriptedEngine({ ...falling, port: Number(new URL(url).port) })
    }
  }
  const kept = keepUp()
  onCleanup(async () => {
    over = true
    await engine.close()
    await kept
  })
  const mute = await engines({ models: ['mute'], slots: 2 })
  const gateway = await house.gateway()
  const env = { DROVER_FIRST_TOKEN: '1500ms', DROVER_LOAD_TIME: '0s' }
  const [, ...victims] = await Promise.all([
    house.worker('n', [{ url, slots: 2 }, { url: mute.url, slots: 2 }], { gateway, env }),
    ...VICTIMS.map(async (i) => {
      const own = await engines({ models: ['kills'], slots: 2 })
      return { engine: own, worker: await house.worker(`v${i}`, [{ url: own.url, slots: 2 }], { gateway }) }
    }),
  ])
  return { url: gateway.url, deaths, mute, victims }
})

const right = (told: Told) => expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true } })

test.concurrent('a job that its engine falls over stops after three starts, and those beside it come through', async ({ site }) => {
  const model = 'falls'
  // Before its first token: what has been said would be continued beyond the place that kills.
  const poison = ask(site.url, 'openai.chat', { key: 'poison', model, stream: false, script: { first_ms: 250, die_at: 0 } })
  const others = [1, 2, 3, 4, 5, 6].map((i) => ask(site.url, 'ollama.chat', { key: `f${i}`, model, stream: false, script: { tokens: 10, rate: 50 } }))
  for (const { told } of others) right(await told)
  expect(await poison.told).toMatchObject({ status: 502, ended: false, error: expect.stringMatching(/(closed|refused) the connection/) as string, headers: { 'x-drover-attempts': '3' } })
  expect(site.deaths.count).toBeGreaterThan(0)
  expect(site.deaths.count).toBeLessThan(4)
})

test.concurrent('a job that its engine never answers stops after three starts, and others pass it meanwhile', async ({ site }) => {
  const model = 'mute'
  const poison = ask(site.url, 'openai.chat', { key: 'silent', model, script: { silent: 1 } })
  const over = new AbortController()
  void poison.told.finally(() => over.abort())
  let others = 0
  while (!over.signal.aborted) {
    right(await ask(site.url, 'ollama.generate', { key: `m${(others += 1)}`, model, script: { tokens: 5 } }).told)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(others).toBeGreaterThan(5)
  expect(await poison.told).toMatchObject({ status: 504, ended: false, error: expect.stringMatching(/said nothing/) as string, headers: { 'x-drover-attempts': '3' } })
  expect(await site.mute.admin.job('silent')).toMatchObject({ requests: 3, running: 0 })
})

test.concurrent('a job that kills its worker each time stops after three, and others run meanwhile', async ({ site }) => {
  const model = 'kills'
  const poison = ask(site.url, 'ollama.chat', { key: 'killer', model, script: { hold: 1 } })
  for (const kill of VICTIMS) {
    let victim: (typeof site.victims)[number] | undefined
    await until(`it runs, ${kill} workers dead`, async () => {
      for (const each of site.victims) if ((await each.engine.admin.job('killer')).running > 0) victim = each
      return victim !== undefined
    })
    right(await ask(site.url, 'openai.chat', { key: `k${kill}`, model, script: { tokens: 5 } }).told)
    victim?.worker.signal('SIGKILL')
    await until('its engine has noticed', async () => (await victim?.engine.admin.job('killer'))?.running === 0)
  }
  // A living holder, to be given it once more.
  await site.mute.admin.models(['mute', model])
  expect(await poison.told).toMatchObject({ status: 502, ended: false, error: expect.stringMatching(/started 3 times and its node was lost each time/) as string })
  expect((await site.mute.admin.job('killer')).requests).toBe(0)
  await until('the living node is known to hold it', async () => (await statusOf(site.url)).models.some(({ model: held, nodes }) => held === 'kills:latest' && nodes.includes('n')))
  right(await ask(site.url, 'openai.chat', { key: 'after', model, script: { tokens: 5 } }).told)
})

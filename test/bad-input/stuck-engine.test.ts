import { expect } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
const FAULTS = ['silent', 'stall', 'silent-once'] as const
const modelOf = (kind: string, fault: string, i: number) => `${kind}-${fault}-${i}`

/** Every job has a model of its own, so that the pauses after failures do not add up; `slow` takes longer to load than an engine may be silent. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const names = FAULTS.flatMap((fault) => BOTH_WAYS.map((_, i) => modelOf('ollama', fault, i)))
  const ollama = await engines({ maxLoaded: 100, models: [...names, { name: 'slow', loadMs: 4_000 }] })
  const llamas = await Promise.all(
    FAULTS.flatMap((fault) => BOTH_WAYS.map((_, i) => modelOf('llama-server', fault, i))).map(
      async (model) => [model, await engines({ kind: 'llama-server', models: [model] })] as const,
    ),
  )
  const gateway = await house.gateway()
  // In memory beforehand: only the load of `slow` is waited for.
  for (const model of names) await ask(ollama.url, 'ollama.chat', { key: 'warm', model, script: { tokens: 1 } }).told
  const env = { DROVER_FIRST_TOKEN: '2s', DROVER_TOKEN_GAP: '2s', DROVER_LOAD_TIME: '20s' }
  await house.worker('n1', [{ url: ollama.url, maxLoaded: 100 }, ...llamas.map(([, { url }]) => url)], { gateway, env })
  const byModel = new Map(llamas)
  await until('the models are seen in memory', async () =>
    (await statusOf(gateway.url)).nodes[0]?.engines.some(({ models }) => models.filter(({ loaded }) => loaded).length === names.length) ?? false)
  return { url: gateway.url, engineOf: (model: string) => byModel.get(model) ?? ollama }
})

const jobsOf = (fault: (typeof FAULTS)[number]) =>
  KINDS.flatMap((kind) => BOTH_WAYS.map((way, i) => ({ ...way, kind, model: modelOf(kind, fault, i), key: modelOf(kind, fault, i) })))

const stopped = ({ engineOf }: { engineOf(model: string): ScriptedEngine }, model: string, key: string) =>
  until('the engine has stopped', async () => (await engineOf(model).admin.job(key)).running === 0)

test.concurrent('an engine that never says a word is given up by our own timer, and the client hears a time-out', async ({ site }) => {
  await Promise.all(
    jobsOf('silent').map(async ({ dialect, stream, model, key }) => {
      const began = performance.now()
      const told = await ask(site.url, dialect, { key, model, stream, script: { silent: 1 } }).told
      expect(told).toMatchObject({ status: 504, ended: false, text: '', error: expect.stringMatching(/said nothing for 2 s/) as string })
      expect(told.headers['x-drover-attempts']).toBe('3')
      expect(performance.now() - began).toBeGreaterThan(6_000)
      await stopped(site, model, key)
      expect(await site.engineOf(model).admin.job(key)).toMatchObject({ requests: 3, aborts: 3 })
    }),
  )
})

test.concurrent('an engine that falls silent between two tokens is given up, and the answer ends honestly where it is not to be continued', async ({ site }) => {
  await Promise.all(
    jobsOf('stall').filter(({ stream }) => stream).map(async ({ dialect, stream, model, key }) => {
      const told = await ask(site.url, dialect, { key, model, stream, script: { tokens: 20, stall_at: 5 }, headers: { 'x-drover-resume': 'never' } }).told
      expect(told).toMatchObject({ status: 200, ended: false, error: expect.stringMatching(/said nothing for 2 s/) as string, verdict: { ok: true, count: 5 } })
      await stopped(site, model, key)
      expect(await site.engineOf(model).admin.job(key)).toMatchObject({ requests: 1, aborts: 1 })
    }),
  )
})

test.concurrent('a whole answer whose engine falls silent is begun again, and comes whole', async ({ site }) => {
  await Promise.all(
    jobsOf('stall').filter(({ stream }) => !stream).map(async ({ dialect, stream, model, key }) => {
      await site.engineOf(model).admin.set({ tokens: 20, stall_at: 5, times: 1 }, key)
      const told = await ask(site.url, dialect, { key, model, stream }).told
      expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 20 }, headers: { 'x-drover-attempts': '2' } })
    }),
  )
})

test.concurrent('an engine that is silent once is asked again', async ({ site }) => {
  await Promise.all(
    jobsOf('silent-once').map(async ({ dialect, stream, model, key }) => {
      const told = await ask(site.url, dialect, { key, model, stream, script: { tokens: 20, silent: 1, times: 1 } }).told
      expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 20 }, headers: { 'x-drover-attempts': '2' } })
    }),
  )
})

test.concurrent('a model that loads for longer than an engine may be silent is waited for', async ({ site }) => {
  const began = performance.now()
  const told = await ask(site.url, 'ollama.chat', { key: 'slow', model: 'slow' }).told
  expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 20 }, headers: { 'x-drover-attempts': '1' } })
  expect(performance.now() - began).toBeGreaterThan(3_500)
})

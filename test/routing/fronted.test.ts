import { expect } from 'vitest'
import { show } from '../jobs/asking.ts'
import { ask } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { test } from '../support/world.ts'

test('CLUSTER_HARDWARE: one worker, each remote Ollama a node of its own, with its priority and its models only', async ({ drover, scripted }) => {
  const [fast, slow] = [await scripted({ models: ['alpha', 'beta'], slots: 1 }), await scripted({ models: ['alpha', 'beta', 'gamma'], slots: 1 })]
  const gateway = await drover.gateway()
  const CLUSTER_HARDWARE = JSON.stringify({
    slow: { url: slow.url, priority: 2, models: ['alpha', 'gamma'] },
    fast: { url: `${fast.url}/`, priority: 1, models: ['alpha', 'beta'] },
  })
  const worker = await drover.worker('fast', [], { gateway, env: { CLUSTER_HARDWARE } })
  const models = async () => Object.fromEntries((await statusOf(gateway.url)).nodes.map(({ id, engines }) => [id, engines.flatMap((engine) => engine.models.map(({ model }) => model)).toSorted()]))
  await until('both nodes are known', async () => Object.values(await models()).filter((held) => held.length === 2).length === 2)
  expect(await models()).toEqual({ fast: ['alpha:latest', 'beta:latest'], slow: ['alpha:latest', 'gamma:latest'] })

  const ran = async (model: string, key: string) => {
    const told = await ask(gateway.url, 'ollama.chat', { key, model, script: { tokens: 5 } }).told
    expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 5 } })
    return { node: told.headers['x-drover-node'], job: String(told.headers['x-drover-job']) }
  }
  const nodeOf = async (model: string, key: string) => (await ran(model, key)).node
  // One after the other: both could, the preferred one does. On a busy machine one may be late, and it is left the job for 0.3 s only.
  for (let i = 0, preferred = 0; preferred < 10; i += 1) {
    const { node, job } = await ran('alpha', `alone${i}`)
    const { created_at: added, started_at: begun } = await show(gateway.url, job)
    if (node === 'fast') preferred += 1
    else expect(Date.parse(begun ?? '') - Date.parse(added)).toBeGreaterThan(290)
  }
  // Both at once: what the preferred one has no slot for goes to the other.
  const engines = [fast, slow]
  for (const { admin } of engines) await admin.set({ hold: 1 })
  const together = Promise.all(['together0', 'together1'].map((key) => nodeOf('alpha', key)))
  await until('both run', async () => (await Promise.all(engines.map(({ admin }) => admin.stats()))).every(({ running }) => running === 1))
  for (const { admin } of engines) await admin.release()
  expect((await together).toSorted()).toEqual(['fast', 'slow'])
  expect(await nodeOf('beta', 'only-fast')).toBe('fast')
  expect(await nodeOf('gamma', 'only-slow')).toBe('slow')
  // Held by an engine, but not on its list: as if it were not there.
  const { jobs } = await slow.admin.stats()
  expect(Object.keys(jobs)).not.toContain('only-fast')

  expect(await worker.stop()).toBe(0)
  await until('both nodes have left', async () => (await statusOf(gateway.url)).nodes.length === 0)
})

test('INFERENCE_SERVERS: each endpoint is a node; one that is not there yet is found when it comes', async ({ drover, scripted }) => {
  const one = await scripted({ models: ['alpha'] })
  const gateway = await drover.gateway()
  const host = new URL(one.url).host
  await drover.worker(host.replace(':', '-'), [], { gateway, env: { INFERENCE_SERVERS: JSON.stringify([`${one.url}/api/generate`, '127.0.0.1:9']) } })
  await until('its models are known', async () => (await statusOf(gateway.url)).models.some(({ model }) => model === 'alpha:latest'))
  expect((await statusOf(gateway.url)).nodes.map(({ id }) => id).toSorted()).toEqual([host.replace(':', '-'), '127.0.0.1-9'].toSorted())
  expect(await ask(gateway.url, 'openai.chat', { key: 'one', model: 'alpha', script: { tokens: 5 } }).told).toMatchObject({ status: 200, verdict: { ok: true } })
})

test('a list that cannot be read is refused by name, and no secret in it is shown', async ({ drover }) => {
  const { code, said } = await drover.refused('worker', { CLUSTER_HARDWARE: '{"h100":{"url":"nonsense://x","apiKey":"hidden-key"}}' })
  expect(code).toBe(2)
  expect(said).toContain('h100: url must be a URL')
  expect(said).not.toContain('hidden-key')
})

import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { test, DIALECTS } from '../support/world.ts'

test('several Ollamas on one machine: one worker keeps all their slots busy, and no engine gets more than it has', async ({ drover, scripted }) => {
  const slots = [2, 2, 1]
  const engines = await Promise.all(slots.map((count) => scripted({ models: ['alpha'], slots: count })))
  for (const { admin } of engines) await admin.set({ stall_at: 25 })
  const gateway = await drover.gateway()
  await drover.worker('rig', engines.map(({ url }, i) => ({ url, slots: slots[i] ?? 1 })), { gateway })
  const clients = Array.from({ length: 12 }, (_, i) => ask(gateway.url, DIALECTS[i % DIALECTS.length] ?? 'openai.chat', { key: `client${i}`, model: 'alpha', script: { tokens: 50, rate: 50 } }).told)
  const running = async () => Promise.all(engines.map(async ({ admin }) => (await admin.stats()).running))
  await until('all slots are busy', async () => JSON.stringify(await running()) === JSON.stringify(slots))
  for (const { admin } of engines) await admin.release()
  for (const told of await Promise.all(clients)) expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 50 }, headers: { 'x-drover-node': 'rig', 'x-drover-attempts': '1' } })
  for (const [i, { admin }] of engines.entries()) expect((await admin.stats()).maxRunning).toBe(slots[i])
})

test('Ollama and llama-server on one machine: each serves its models to every API, and only those that it may', async ({ drover, scripted }) => {
  const [ollama, llama] = [await scripted({ models: ['alpha', 'secret'] }), await scripted({ kind: 'llama-server', models: ['beta'] })]
  const gateway = await drover.gateway()
  const only = { url: ollama.url, models: ['alpha'] }
  await drover.worker('mixed', [only, llama.url], { gateway })
  for (const dialect of DIALECTS)
    for (const model of ['alpha', 'beta'])
      expect(await ask(gateway.url, dialect, { key: `${model}-${dialect.replace('.', '-')}`, model, script: { tokens: 5 } }).told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 5 } })
  expect((await ask(gateway.url, 'ollama.chat', { key: 'secret', model: 'secret' }).told).status).toBe(404)
  expect(Object.keys((await ollama.admin.stats()).jobs)).toHaveLength(3)
  expect(Object.keys((await llama.admin.stats()).jobs)).toHaveLength(3)
})

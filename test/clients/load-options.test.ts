import { expect } from 'vitest'
import { token } from '../engine/tokens.ts'
import { send } from '../support/raw.ts'
import { test } from '../support/world.ts'

/** Others that a model is loaded with, each time with another value. */
const different = (i: number) => ({ num_ctx: 2048 + i, num_batch: 64 + i, num_gpu: i, main_gpu: i % 2, use_mmap: i % 2 === 0, num_thread: 1 + i })

const ask = async (url: string, i: number, fields: Record<string, unknown> = {}) => {
  const body = { model: 'scripted', stream: false, ...fields, options: { temperature: 0, ...different(i) } }
  const chat = i % 2 === 0 ? { path: '/api/chat', body: { ...body, messages: [{ role: 'user', content: `job=load${i} tokens=2` }] } } : { path: '/api/generate', body: { ...body, prompt: `job=load${i} tokens=2` } }
  return (await send(url + chat.path, { body: JSON.stringify(chat.body) })).status
}

test('a client that sends other load-time options and times to keep a model on every call loads it once', async ({ drover, scripted }) => {
  const engine = await scripted()
  // What would happen: the engine itself loads the model anew for each.
  for (let i = 0; i < 3; i += 1) expect(await ask(engine.url, i)).toBe(200)
  expect((await engine.admin.stats()).models['scripted:latest']?.loads).toBe(3)

  const through = await scripted()
  const gateway = await drover.gateway()
  await drover.worker('n', [through.url], { gateway })
  for (let i = 0; i < 12; i += 1) expect(await ask(gateway.url, i, { keep_alive: i - 1 })).toBe(200)
  const { models, last } = await through.admin.stats()
  expect(models['scripted:latest']?.loads).toBe(1)
  for (const { body } of last) expect((JSON.parse(body) as { options: unknown }).options).toEqual({ temperature: 0 })
  // Where the node has no rule of its own, the engine's holds.
  for (const { body } of last) expect(body).not.toContain('keep_alive')
})

test('the node decides on the context that is loaded, and for how long a model is kept', async ({ drover, scripted }) => {
  const engine = await scripted()
  const gateway = await drover.gateway()
  await drover.worker('n', [engine.url], { gateway, env: { DROVER_NUM_CTX: '4096', DROVER_KEEP_ALIVE: '7m' } })
  const keepAlives = [-1, 0, '1s', '24h', undefined, '-1m']
  for (const [i, keepAlive] of keepAlives.entries()) expect(await ask(gateway.url, i, { keep_alive: keepAlive })).toBe(200)
  const { models, last } = await engine.admin.stats()
  expect(models['scripted:latest']?.loads).toBe(1)
  expect(last).toHaveLength(keepAlives.length)
  for (const { body } of last) expect(JSON.parse(body)).toMatchObject({ keep_alive: '7m', options: { num_ctx: 4096, temperature: 0 } })

  // Ollama's own /v1 would load the model with its default context, and the next native request with the node's again.
  const user = [{ role: 'user', content: 'job=load9 tokens=2' }]
  for (const [path, fields] of [
    ['/v1/chat/completions', { messages: user }],
    ['/v1/responses', { input: user }],
    ['/v1/messages', { messages: user, max_tokens: 9 }],
    ['/v1/completions', { prompt: 'job=load9 tokens=2' }],
    ['/api/chat', { messages: user, stream: false }],
  ] as const) {
    const { status, text } = await send(gateway.url + path, { body: JSON.stringify({ model: 'scripted', ...fields }) })
    expect({ path, status, said: text.includes(token('load9', 1)) }).toEqual({ path, status: 200, said: true })
  }
  expect((await engine.admin.stats()).models['scripted:latest']?.loads).toBe(1)
})

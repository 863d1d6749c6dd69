import { expect } from 'vitest'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { BOTH_WAYS, DIALECTS, test as world } from '../support/world.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines()
  const gateway = await house.gateway()
  await house.worker('node-7', [engine.url], { gateway })
  return { url: gateway.url, engine }
})

test.for(BOTH_WAYS)('an answer says which job, node and model it is: $dialect, $way', async ({ dialect, stream }, { site }) => {
  const first = await post(site.url, dialect, smallest(dialect, 'job=h1 tokens=3', { stream }))
  expect(first.status).toBe(200)
  expect(first.headers).toMatchObject({
    'x-drover-job': expect.stringMatching(/^0-[\w-]{22}$/) as string,
    'x-drover-node': 'node-7',
    'x-drover-model': 'scripted:latest',
    'x-drover-attempts': '1',
    'x-request-id': expect.stringMatching(/^[\w-]{8,}$/) as string,
  })
  expect(first.headers).not.toHaveProperty('x-drover-ignored')
  const again = await post(site.url, dialect, smallest(dialect, 'job=h1 tokens=3', { stream }))
  expect(again.headers['x-drover-job']).not.toBe(first.headers['x-drover-job'])
  expect(again.headers['x-request-id']).not.toBe(first.headers['x-request-id'])
})

const TYPES = {
  'ollama.chat': 'application/x-ndjson', 'ollama.generate': 'application/x-ndjson', 'openai.chat': 'text/event-stream',
}

test.for(BOTH_WAYS)('an answer has the content type of its dialect: $dialect, $way', async ({ dialect, stream }, { site }) => {
  const { headers, text } = await post(site.url, dialect, smallest(dialect, 'job=h2 tokens=3', { stream }))
  expect(headers['content-type']).toBe(stream ? TYPES[dialect] : 'application/json; charset=utf-8')
  if (!stream) expect(headers['content-length']).toBe(String(Buffer.byteLength(text)))
  else if (dialect === 'openai.chat') expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  else expect(JSON.parse(text.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ done: true })
})

test.for(DIALECTS)('the client’s own request id comes back with answers and refusals: %s', async (dialect, { site }) => {
  const headers = { 'x-request-id': 'trace-1.2:3' }
  expect((await post(site.url, dialect, smallest(dialect, 'job=h3 tokens=2'), headers)).headers['x-request-id']).toBe('trace-1.2:3')
  expect((await post(site.url, dialect, '{', headers)).headers['x-request-id']).toBe('trace-1.2:3')
  const odd = await post(site.url, dialect, smallest(dialect, 'job=h3 tokens=2'), { 'x-request-id': 'no spaces, please' })
  expect(odd.headers['x-request-id']).toMatch(/^[\w-]{8,}$/)
})

test.for(BOTH_WAYS)('a job that needed a second attempt says so: $dialect, $way', async ({ dialect, stream }, { site }) => {
  const key = `h4-${dialect.replace('.', '-')}-${stream}`
  await site.engine.admin.set({ fail: 500, times: 1 }, key)
  const { status, headers } = await post(site.url, dialect, smallest(dialect, `job=${key} tokens=3`, { stream }))
  expect([status, headers['x-drover-attempts']]).toEqual([200, '2'])
})

test.for(DIALECTS)('a refusal by the engine says where it was refused: %s', async (dialect, { site }) => {
  const answer = await post(site.url, dialect, smallest(dialect, 'job=h5 fail=400'))
  expect(answer.status).toBe(400)
  expect(errorTextOf(dialect, answer)).toContain('scripted failure')
  expect(answer.headers).toMatchObject({ 'x-drover-model': 'scripted:latest', 'x-drover-attempts': '1', 'x-drover-job': expect.any(String) as string })
})

test('routes that are not inference answer as Ollama does', async ({ site }) => {
  const root = await send(site.url, { method: 'GET' })
  expect([root.status, root.text]).toEqual([200, 'Ollama is running'])
  expect(root.headers['content-type']).toMatch(/^text\/plain/)
  for (const path of ['/', '/api/version', '/api/tags']) {
    const head = await send(site.url + path, { method: 'HEAD' })
    expect([path, head.status, head.text]).toEqual([path, 200, ''])
  }
  expect((await send(`${site.url}/livez`, { method: 'GET' })).status).toBe(200)
  expect((await send(`${site.url}/readyz`, { method: 'GET' })).status).toBe(200)
  const metrics = await send(`${site.url}/metrics`, { method: 'GET' })
  expect(metrics.status).toBe(200)
  expect(metrics.text).toMatch(/^# HELP drover_/m)
  const status = JSON.parse((await send(`${site.url}/api/status`, { method: 'GET' })).text) as Record<string, unknown>
  expect(status).toMatchObject({ cloud: { disabled: true }, nodes: [{ id: 'node-7' }], models: [{ model: 'scripted:latest', nodes: ['node-7'] }] })
})

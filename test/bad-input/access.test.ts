import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { errorTextOf, post, send, smallest } from '../support/raw.ts'
import { DIALECTS, test as world } from '../support/world.ts'

const KEY = 'a-key-for-clients'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines()
  const [open, locked] = await Promise.all([house.gateway({ DROVER_ORIGINS: 'https://*.friend.test' }), house.gateway({ DROVER_API_KEY: KEY })])
  await house.worker('n1', [engine.url], { gateway: open })
  return { open: open.url, locked: locked.url, engine }
})

test.for(DIALECTS)('where a key is set, a request without it or with a wrong one is refused: %s', async (dialect, { site }) => {
  const { requests } = await site.engine.admin.stats()
  for (const headers of [{}, { authorization: 'Bearer wrong-key-here' }, { authorization: KEY }, { authorization: `Basic ${KEY}` }, { 'x-api-key': `${KEY}x` }]) {
    const answer = await post(site.locked, dialect, smallest(dialect, 'job=locked'), headers as Record<string, string>)
    expect(answer.status).toBe(401)
    expect(errorTextOf(dialect, answer)).toMatch(/API key/)
    expect(answer.headers['www-authenticate']).toBe('Bearer')
    expect(answer.text).not.toContain(KEY)
  }
  expect((await site.engine.admin.stats()).requests).toBe(requests)
  for (const headers of [{ authorization: `Bearer ${KEY}` }, { 'x-api-key': KEY }])
    expect((await post(site.locked, dialect, smallest(dialect, 'job=unlocked tokens=2'), headers as unknown as Record<string, string>)).status).toBe(200)
})

test('where a key is set, only probes go without it', async ({ site }) => {
  for (const path of ['/api/tags', '/api/ps', '/api/status', '/v1/models', '/metrics', '/api/version', '/nothing'])
    expect([path, (await send(site.locked + path, { method: 'GET' })).status]).toEqual([path, 401])
  for (const path of ['/', '/livez', '/readyz']) expect([path, (await send(site.locked + path, { method: 'GET' })).status]).toEqual([path, 200])
})

test('both clients get in with the key as they usually send one', async ({ site }) => {
  const openai = new OpenAI({ baseURL: `${site.locked}/v1`, apiKey: KEY })
  expect((await openai.chat.completions.create({ model: 'scripted', messages: [{ role: 'user', content: 'job=k tokens=2' }] })).choices).toHaveLength(1)
  const stranger = new OpenAI({ baseURL: `${site.locked}/v1`, apiKey: 'another-key' })
  await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  const ollama = new Ollama({ host: site.locked, headers: { authorization: `Bearer ${KEY}` } })
  expect((await ollama.list()).models).toHaveLength(1)
  await expect(new Ollama({ host: site.locked }).list()).rejects.toMatchObject({ status_code: 401, error: expect.stringMatching(/API key/) as string })
})

test('a page from elsewhere is refused, with no body and nothing done', async ({ site }) => {
  const { requests } = await site.engine.admin.stats()
  for (const origin of ['https://evil.test', 'http://localhost.evil.test', 'https://friend.test.evil.test', 'null']) {
    const answer = await post(site.open, 'ollama.chat', smallest('ollama.chat', 'job=origin'), { origin })
    expect([origin, answer.status, answer.text, answer.headers['access-control-allow-origin']]).toEqual([origin, 403, '', undefined])
    expect((await send(`${site.open}/api/chat`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST' } })).status).toBe(403)
  }
  expect((await site.engine.admin.stats()).requests).toBe(requests)
})

test('a page of this machine, and one that was allowed, may ask; its preflight is answered', async ({ site }) => {
  for (const origin of ['http://localhost:3000', 'http://127.0.0.1', 'app://desktop', 'https://chat.friend.test']) {
    const answer = await post(site.open, 'openai.chat', smallest('openai.chat', 'job=page tokens=2'), { origin })
    expect([origin, answer.status, answer.headers['access-control-allow-origin']]).toEqual([origin, 200, origin])
    const preflight = await send(`${site.open}/v1/chat/completions`, {
      method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, content-type' },
    })
    expect([preflight.status, preflight.text]).toEqual([204, ''])
    expect(preflight.headers).toMatchObject({ 'access-control-allow-origin': origin, 'access-control-allow-methods': expect.stringContaining('POST') as string })
    expect(String(preflight.headers['access-control-allow-headers'])).toMatch(/authorization/)
  }
})

test('a preflight needs no key: a browser sends none', async ({ site }) => {
  const headers = { origin: 'http://localhost:3000', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' }
  expect((await send(`${site.locked}/api/chat`, { method: 'OPTIONS', headers })).status).toBe(204)
  const refused = await post(site.locked, 'ollama.chat', smallest('ollama.chat', 'job=cors'), { origin: 'http://localhost:3000' })
  expect([refused.status, refused.headers['access-control-allow-origin']]).toEqual([401, 'http://localhost:3000'])
})

test('a request that names another host is refused, with no body: a page may have pointed its own name here', async ({ site }) => {
  for (const host of ['evil.test', 'evil.test:11434', 'localhost.evil.test', '8.8.8.8', '1.2.3.4.evil.test', '10.0.0.1.evil.test']) {
    const answer = await send(`${site.open}/api/tags`, { method: 'GET', headers: { host } })
    expect([host, answer.status, answer.text]).toEqual([host, 403, ''])
  }
  for (const host of ['localhost:1', '127.0.0.1', '[::1]:80', 'box.local', 'x.localhost', 'host.docker.internal', '192.168.1.5'])
    expect([host, (await send(`${site.open}/api/tags`, { method: 'GET', headers: { host } })).status]).toEqual([host, 200])
})

import { expect } from 'vitest'
import { test } from '../support/world.ts'

const LIBRARY = [{ name: 'big', size: 2_000_000, layers: 2, rate: 4_000_000 }, { name: 'bad', fails: 'no space left on device' }, { name: 'stuck', size: 1_000_000, layers: 1, stall_at: 400_000 }]

const lines = async (answer: Response) => (await answer.text()).trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)

test('a pull tells what Ollama tells, and what it was of is held then', async ({ scripted }) => {
  const engine = await scripted({ library: LIBRARY })
  const post = (path: string, body: object, method: 'POST' | 'DELETE' = 'POST') => fetch(engine.url + path, { method, body: JSON.stringify(body) })
  const told = await lines(await post('/api/pull', { model: 'big' }))
  expect([told[0], ...told.slice(-3)]).toEqual(['pulling manifest', 'verifying sha256 digest', 'writing manifest', 'success'].map((status) => ({ status })))
  expect(told[1]).not.toHaveProperty('completed')
  expect(told.filter(({ completed, total }) => completed === total && total !== undefined)).toHaveLength(2)
  expect(await (await fetch(`${engine.url}/api/tags`)).text()).toContain('big:latest')
  expect(await lines(await post('/api/pull', { model: 'none' }))).toEqual([{ status: 'pulling manifest' }, { error: 'pull model manifest: file does not exist' }])
  const whole = await post('/api/pull', { model: 'bad', stream: false })
  expect([whole.status, await whole.json()]).toEqual([500, { error: 'no space left on device' }])
  expect((await post('/api/copy', { source: 'big', destination: 'copy' })).status).toBe(200)
  expect((await post('/api/delete', { model: 'big' }, 'DELETE')).status).toBe(200)
  expect((await post('/api/delete', { model: 'big' }, 'DELETE')).status).toBe(404)
  expect(await engine.admin.managed('big')).toMatchObject({ pulls: 1, pulled: 1, pulling: 0, copies: 1, deletes: 1 })
})

test('a pull whose client leaves stops, and the next one goes on where it was', async ({ scripted }) => {
  const engine = await scripted({ library: LIBRARY })
  const leave = new AbortController()
  const pull = fetch(`${engine.url}/api/pull`, { method: 'POST', body: '{"model":"stuck"}', signal: leave.signal }).then((answer) => answer.text())
  pull.catch(() => undefined)
  await expect.poll(async () => (await engine.admin.managed('stuck')).pulling).toBe(1)
  leave.abort()
  await expect.poll(async () => (await engine.admin.managed('stuck')).leftPulls).toBe(1)
  await engine.admin.library([{ name: 'stuck', size: 1_000_000, layers: 1 }])
  const told = await lines(await fetch(`${engine.url}/api/pull`, { method: 'POST', body: '{"model":"stuck"}' }))
  expect(told[1]).toMatchObject({ total: 1_000_000, completed: 400_000 })
})

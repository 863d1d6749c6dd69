import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect } from 'vitest'
import { command, json } from '../cli/commands-setup.ts'
import { ask } from '../support/client.ts'
import { type Gateway, statusOf, until } from '../support/drover.ts'
import { test } from '../support/world.ts'

const chat = (key: string, script = '') => ({ model: 'scripted', messages: [{ role: 'user', content: `job=${key} tokens=20 ${script}` }] })

const send = async (gateway: Gateway, path: string, method: 'GET' | 'POST' = 'POST') => {
  const response = await fetch(gateway.url + path, { method })
  return { status: response.status, json: (await response.json()) as Record<string, unknown> }
}

test('a drained node takes nothing and lets what runs there end, stays drained over a restart, and takes again when undrained', async ({ drover, scripted }) => {
  const gateway = await drover.gateway()
  const [engine, otherEngine] = [await scripted({ slots: 4 }), await scripted({ slots: 4 })]
  // Until it works, not until a gateway sees it: that one may still see the last worker of this name.
  const node = () => drover.worker('first', [{ url: engine.url, slots: 4 }])
  const first = await node()
  const running = ask(gateway.url, 'ollama.chat', { key: 'running', script: { tokens: 80, rate: 40 } })
  await running.tokens(2)
  await drover.worker('second', [{ url: otherEngine.url, slots: 4 }], { gateway })

  expect(await send(gateway, '/api/nodes/first/drain')).toMatchObject({ status: 200, json: { id: 'first', draining: true, drained: true } })
  const more = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(gateway.url, 'openai.chat', { key: `more${i}`, script: { tokens: 4 } }).told))
  expect(more.map(({ headers }) => headers['x-drover-node'])).toEqual(more.map(() => 'second'))
  expect(await running.told).toMatchObject({ ended: true, verdict: { ok: true, count: 80 } })
  expect((await engine.admin.stats()).requests).toBe(1)

  // The wish is not the worker's: the next one of this name finds it.
  first.signal('SIGTERM')
  expect(await first.exited).toBe(0)
  await node()
  await until('it says so', async () => (await send(gateway, '/api/nodes/first', 'GET')).json['draining'] === true)
  await ask(gateway.url, 'ollama.chat', { key: 'again', script: { tokens: 4 } }).told
  expect((await engine.admin.stats()).requests).toBe(1)

  // Nobody takes it now, until one may.
  await send(gateway, '/api/nodes/second/drain')
  const waiting = ask(gateway.url, 'ollama.chat', { key: 'waiting', script: { tokens: 4 } })
  await until('it waits', async () => (await statusOf(gateway.url)).lanes.some((lane) => lane.waiting === 1))
  const undrained = performance.now()
  expect(await send(gateway, '/api/nodes/first/undrain')).toMatchObject({ status: 200, json: { id: 'first', drained: false } })
  expect((await waiting.told).headers['x-drover-node']).toBe('first')
  console.log(`answered ${Math.round(performance.now() - undrained)} ms after the undrain`)

  expect(await send(gateway, '/api/nodes/third/drain')).toEqual({ status: 404, json: { error: "node 'third' not found: there are first, second" } })
  expect(await send(gateway, '/api/nodes/third', 'GET')).toMatchObject({ status: 404 })
  expect((await send(gateway, '/api/nodes', 'GET')).json).toMatchObject({ nodes: [{ id: 'first', drained: false }, { id: 'second', drained: true, draining: true }] })
})

test('drain --wait tells how much is left and ends when nothing is; a node that is away is told when it comes back', async ({ drover, scripted }) => {
  const gateway = await drover.gateway()
  const engine = await scripted({ slots: 2 })
  const worker = await drover.worker('n1', [{ url: engine.url, slots: 2 }], { gateway })
  const env = { DROVER_URL: gateway.url }
  const running = ask(gateway.url, 'ollama.chat', { key: 'long', script: { tokens: 4, stall_at: 2 } })
  await running.tokens(2)
  const waiting = command(['drain', 'n1', '--wait'], { env })
  await until('it tells', () => waiting.output() !== '')
  expect(waiting.output()).toBe('node n1 is drained: 1 answer left\n')
  expect(await json(['nodes'], { env })).toMatchObject({ nodes: [{ id: 'n1', draining: true, drained: true, busy: 1 }] })
  await engine.admin.release('long')
  expect((await running.told).ended).toBe(true)
  expect(await waiting.exited).toBe(0)
  expect(waiting.output()).toContain('node n1 is drained, nothing runs there')
  expect(await json(['undrain', 'n1'], { env })).toEqual({ id: 'n1', drained: false, draining: false, busy: 0 })

  await worker.stop()
  expect(await json(['drain', 'n1'], { env })).toEqual({ id: 'n1', drained: true, draining: null, busy: null })
  const none = command(['drain', 'n2'], { env })
  expect(await none.exited).toBe(1)
  expect(none.errors()).toContain("node 'n2' not found")
})

test('a job that waits for its next try goes elsewhere at once when its worker is told to stop', async ({ drover, scripted }) => {
  const gateway = await drover.gateway()
  const [broken, sound] = [await scripted(), await scripted()]
  // Should its next try begin before the worker is told, it is one that does not end.
  await broken.admin.set({ fail: 500, times: 1, first_ms: 60_000 }, 'tried')
  const first = await drover.worker('first', [broken.url], { gateway })
  const asking = ask(gateway.url, 'ollama.chat', { key: 'tried', stream: false, script: { tokens: 4 } })
  await until('it was tried', async () => (await broken.admin.job('tried')).requests > 0)
  first.signal('SIGTERM')
  expect(await first.exited).toBe(0)
  await drover.worker('second', [sound.url], { gateway })
  expect(await asking.told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 4 } })
})

test('a gateway that is told to stop answers what comes over open connections, and takes no new ones', async ({ drover, scripted }) => {
  const gateway = await drover.gateway({ DROVER_DRAIN_LIMIT: '20s' })
  const engine = await scripted({ slots: 4 })
  await drover.worker('only', [{ url: engine.url, slots: 4 }], { gateway })
  /** One connection for all requests, kept from one to the next. */
  const connection = () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    return async (path: string, body?: object) => {
      const sent = request(gateway.url + path, { method: body ? 'POST' : 'GET', agent, headers: body ? { 'content-type': 'application/json' } : {} })
      sent.end(body && JSON.stringify(body))
      const [answer] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
      return { reused: sent.reusedSocket, status: answer.statusCode, connection: answer.headers.connection, text: text(answer) }
    }
  }
  const [idle, probe, streaming] = [connection(), connection(), connection()]
  for (const each of [idle, probe, streaming]) expect(await (await each('/readyz')).text).toBe('ok')
  const stream = await streaming('/api/chat', chat('stream', 'rate=20'))

  gateway.signal('SIGTERM')
  await until('no new connection is taken', () => fetch(`${gateway.url}/readyz`).then(() => false, () => true))
  const probed = await probe('/readyz')
  expect([probed.reused, probed.status, await probed.text, probed.connection]).toEqual([true, 503, 'draining', 'close'])
  const late = await idle('/api/chat', chat('late'))
  expect([late.reused, late.status, late.connection]).toEqual([true, 200, 'close'])
  expect(await late.text).toContain('"done":true')
  expect(await stream.text).toContain('"done":true')
  // Its head had promised to keep the connection, so the client may use it once more.
  const last = await streaming('/api/chat', chat('last'))
  expect([last.reused, last.status, last.connection]).toEqual([true, 200, 'close'])
  expect(await last.text).toContain('"done":true')
  expect(await gateway.exited).toBe(0)
})

import { expect } from 'vitest'
import { makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { statusOf, until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { goesBack, modelSite, pullLines } from './site.ts'

const MODEL = 'big:latest'
const slow = (seconds: number) => [{ name: MODEL, size: seconds * 1_000_000, rate: 1_000_000 }]
const NODES = ['n1', 'n2']

test('twenty clients of two gateways that want the same model cause one pull, and all are told of it', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: slow(3) })
  const pulls = Array.from({ length: 20 }, (_, i) => pullLines(site.gateways[i % 2]!.url, { model: i % 3 === 0 ? 'big' : MODEL }))
  const late = (async () => {
    await until('it is in the middle', () => pulls[0]!.lines.some(({ completed = 0 }) => completed > 500_000))
    return pullLines(site.gateways[1]!.url, { model: 'BIG' })
  })()
  const all = [...pulls, await late]
  await Promise.all(all.map(({ over }) => over))
  for (const { lines } of all) {
    expect(lines[0]).toEqual({ status: 'pulling manifest' })
    expect(lines.at(-1)).toEqual({ status: 'success' })
    expect(goesBack(lines)).toBe(false)
    expect(lines.filter(({ completed }) => completed === 1_500_000)).toHaveLength(2)
  }
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls')]).toEqual([1, 0])
  expect(await site.holders(MODEL)).toHaveLength(1)
})

test('it goes on while one client is left, and stops with the last', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: slow(60) })
  const [first, second] = site.gateways.map(({ url }) => pullLines(url, { model: MODEL })) as [ReturnType<typeof pullLines>, ReturnType<typeof pullLines>]
  await until('both are told of it', () => [first, second].every(({ lines }) => lines.some(({ completed = 0 }) => completed > 0)))
  first.leave()
  const far = second.last()?.completed ?? 0
  await until('it goes on', () => (second.last()?.completed ?? 0) > far + 1_500_000)
  expect(await site.sum(MODEL, 'pulling')).toBe(1)
  expect((await statusOf(site.url)).lanes.filter(({ running }) => running > 0)).toEqual([expect.objectContaining({ model: expect.stringMatching(/^@n[12]$/) as string, class: 'models', waiting: 0, running: 1 })])
  second.leave()
  const left = performance.now()
  await until('it has stopped', async () => (await site.sum(MODEL, 'pulling')) === 0)
  expect(performance.now() - left).toBeLessThan(2_000)
  expect([await site.sum(MODEL, 'pulls'), await site.sum(MODEL, 'leftPulls'), await site.holders(MODEL)]).toEqual([1, 1, []])
  // Whoever comes again goes on with what is there.
  const again = pullLines(site.url, { model: MODEL })
  await until('it goes on where it was', () => again.lines.some(({ completed = 0 }) => completed >= far + 1_500_000))
  expect(again.lines.find(({ digest }) => digest !== undefined)?.completed).toBeGreaterThanOrEqual(far)
  again.leave()
})

test('a gateway that is killed takes its pulls with it, but not those that others wait for', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: slow(60) })
  const [first, second] = site.gateways.map(({ url }) => pullLines(url, { model: MODEL })) as [ReturnType<typeof pullLines>, ReturnType<typeof pullLines>]
  await until('both are told of it', () => [first, second].every(({ lines }) => lines.some(({ completed = 0 }) => completed > 0)))
  site.gateways[0]!.signal('SIGKILL')
  await expect(first.over).rejects.toThrow()
  const far = second.last()?.completed ?? 0
  await until('it goes on', () => (second.last()?.completed ?? 0) > far + 2_000_000)
  site.gateways[1]!.signal('SIGKILL')
  await until('nobody wants it any more', async () => (await site.sum(MODEL, 'pulling')) === 0, 20_000)
  expect(await site.sum(MODEL, 'leftPulls')).toBe(1)
})

test('what is asked of one model is done in its order, and beside other models at most four at once', async ({ drover, scripted }) => {
  const library = [...slow(2), ...Array.from({ length: 6 }, (_, i) => ({ name: `m${i}`, size: 2_000_000, rate: 1_000_000 }))]
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library })
  const pull = pullLines(site.url, { model: MODEL })
  await until('it pulls', () => pull.lines.some(({ completed = 0 }) => completed > 0))
  // Nobody holds it yet, so it can only be made, which comes behind the pull.
  const made = send(`${site.url}/api/create`, { body: JSON.stringify({ model: MODEL, from: 'own-n1', stream: false }) })
  await pull.over
  expect(pull.last()).toEqual({ status: 'success' })
  expect((await made).status).toBe(200)
  const others = Array.from({ length: 6 }, (_, i) => pullLines(site.url, { model: `m${i}` }))
  let most = 0
  while (others.some(({ last }) => last()?.status !== 'success')) {
    let now = 0
    for (let i = 0; i < 6; i += 1) now += await site.sum(`m${i}`, 'pulling')
    most = Math.max(most, now)
  }
  expect(most).toBe(4)
})

test('names that are none reach no engine', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'] })
  const names = ['../../etc/passwd', '/etc/passwd', '..', 'a/../b', 'a\\..\\b', 'x:../y', '%2e%2e/x', 'file:///etc/passwd', 'x\u0000y', '\u2024\u2024/x', '~root/x', '.hidden']
  for (const name of names)
    for (const [method, path, body] of [
      ['POST', '/api/pull', { model: name }], ['POST', '/api/push', { model: name }], ['DELETE', '/api/delete', { model: name }], ['POST', '/api/copy', { source: name, destination: 'x' }],
      ['POST', '/api/copy', { source: 'own-n1', destination: name }], ['POST', '/api/create', { model: name, from: 'own-n1' }], ['POST', '/api/create', { model: 'x', from: name }],
    ] as const)
      expect([path, name, (await send(site.url + path, { method, body: JSON.stringify(body) })).status]).toEqual([path, name, 400])
  for (const digest of ['sha256:../../x', '..%2f..%2fx', `sha256:${'a'.repeat(63)}`, `sha256:${'a'.repeat(64)}/x`, `sha256:${'a'.repeat(64)}%2f..`])
    expect([digest, [400, 404].includes((await send(`${site.url}/api/blobs/${digest}`, { body: 'x' })).status)]).toEqual([digest, true])
  const { engine } = site.nodes.get('n1')!
  const { management } = (await engine.admin.stats()) as unknown as { management: object }
  expect(management).toEqual({})
})

test('a key that may not use a model may not bring, copy or make it', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['mine'], library: [{ name: 'other' }] })
  const { url } = await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  await drover.worker('n1', [engine.url])
  const { key } = await makeKey(url, { scopes: ['models'], models: ['mine*'] })
  const headers = { authorization: `Bearer ${key}` }
  const status = async (path: string, body: object, method: 'POST' | 'DELETE' = 'POST') => (await send(url + path, { method, body: JSON.stringify({ ...body, stream: false }), headers })).status
  await until('the node is there', async () => (await status('/api/copy', { source: 'mine', destination: 'mine2' })) === 200)
  expect(await status('/api/pull', { model: 'other' })).toBe(403)
  expect(await status('/api/copy', { source: 'mine', destination: 'other' })).toBe(403)
  expect(await status('/api/create', { model: 'other', from: 'mine' })).toBe(403)
  expect(await status('/api/create', { model: 'mine3', from: 'other' })).toBe(403)
  expect(await status('/api/delete', { model: 'other' }, 'DELETE')).toBe(404)
  expect(await status('/api/push', { model: 'other' })).toBe(404)
  expect(await status('/api/delete', { model: 'mine2' }, 'DELETE')).toBe(200)
  expect(await engine.admin.managed('other')).toMatchObject({ pulls: 0, creates: 0, copies: 0 })
})

test('clients that come and go at the same time never take a pull from one that stays', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, gateways: 2, library: slow(3) })
  const staying: ReturnType<typeof pullLines>[] = []
  for (let i = 0; i < 8; i += 1) {
    const goes = pullLines(site.gateways[i % 2]!.url, { model: MODEL })
    await until('it is told of it', () => goes.lines.length > 0)
    goes.leave()
    // As the last one leaves, another comes.
    staying.push(pullLines(site.gateways[(i + 1) % 2]!.url, { model: MODEL }))
    if (i < 7) staying.at(-1)!.leave()
  }
  const last = staying.at(-1)!
  await last.over
  expect(last.lines.at(-1)).toEqual({ status: 'success' })
  expect(await site.holders(MODEL)).toHaveLength(1)
})

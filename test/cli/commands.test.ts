import { once } from 'node:events'
import { createServer } from 'node:http'
import { expect, onTestFinished } from 'vitest'
import { ask } from '../support/client.ts'
import { type StatusAnswer, until } from '../support/drover.ts'
import { test as base } from '../support/world.ts'
import { command, done, json, onTerminal, skipsWithoutTerminal } from './commands-setup.ts'

const KEY = 'key-of-these-tests'

/** Two nodes: one model that both hold, in different weights, and one that only the second has. One gateway, with a key. */
const test = base
  .extend('first', { scope: 'file' }, ({ engines }) => engines({ version: '0.32.1', models: [{ name: 'shared:8b', slots: 2, digest: 'a'.repeat(64) }] }))
  .extend('second', { scope: 'file' }, ({ engines }) =>
    engines({ models: [{ name: 'shared:8b', digest: 'b'.repeat(64) }, { name: 'own:1b', size: 700_000_000, quantization: 'Q8_0', capabilities: ['completion', 'tools'] }] }),
  )
  .extend('at', { scope: 'file' }, async ({ house, first, second }) => {
    const gateway = await house.gateway({ DROVER_API_KEY: KEY })
    await Promise.all([
      house.worker('alpha', [{ url: first.url, slots: 2 }], { env: { DROVER_LABEL: 'gpu=none' } }),
      house.worker('beta', [second.url]),
    ])
    const env = { DROVER_URL: gateway.url, DROVER_API_KEY: KEY }
    await until('both nodes are seen', async () => {
      const answer = await fetch(`${gateway.url}/api/status`, { headers: { authorization: `Bearer ${KEY}` } })
      return ((await answer.json()) as StatusAnswer).nodes.filter(({ engines }) => engines.length === 1).length === 2
    })
    return { url: gateway.url, env }
  })

test('nodes lists every node with engines, slots, memory and labels', async ({ at: { env } }) => {
  expect(await json(['nodes'], { env })).toMatchObject({
    nodes: [
      { id: 'alpha', draining: false, last_seen_ms: expect.any(Number) as number, labels: { gpu: 'none' }, slots: 2, busy: 0, engines: [{ kind: 'ollama', version: '0.32.1', models: [{ model: 'shared:8b' }] }] },
      { id: 'beta', labels: {}, slots: 1, engines: [{ models: [{ model: 'shared:8b' }, { model: 'own:1b' }] }] },
    ],
  })
  const { code, output, errors } = await done(['nodes'], { env })
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  expect(output).toMatch(/^NODE +VERSION +ENGINES +MODELS +BUSY .*\nalpha +\S+ +ollama 0\.32\.1 +1 +0\/2 +RAM .*gpu=none.*\nbeta .* 2 +0\/1 /)
})

test('list shows the models of all nodes once each, with where they are', async ({ at: { env } }) => {
  const { models } = (await json(['list'], { env })) as { models: { name: string; nodes: string[] }[] }
  expect(models.map(({ name, nodes }) => ({ name, nodes })).toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
    { name: 'own:1b', nodes: ['beta'] },
    { name: 'shared:8b', nodes: ['alpha', 'beta'] },
  ])
  expect(models.find(({ name }) => name === 'own:1b')).toMatchObject({ size: 700_000_000, quantization: 'Q8_0', capabilities: ['completion', 'tools'] })
  const { output } = await done(['list'], { env })
  expect(output).toMatch(/^NAME +ID +SIZE +QUANTIZATION +NODES$/m)
  expect(output).toMatch(/^own:1b +[0-9a-f]{12} +700 MB +Q8_0 +beta$/m)
})

test('ps shows where a model is in memory, and its slots while it answers', async ({ at: { env, url }, second }) => {
  const asking = ask(url, 'ollama.chat', { key: 'held', model: 'own:1b', script: { tokens: 4, stall_at: 2 }, headers: { authorization: `Bearer ${KEY}` } })
  await asking.tokens(2)
  await expect.poll(async () => ((await json(['ps'], { env })) as { models: unknown[] }).models, { timeout: 15_000, interval: 250 })
    .toContainEqual(expect.objectContaining({ name: 'own:1b', node: 'beta', slots: 1, busy: 1, size: 700_000_000, expires_at: expect.any(String) as string }))
  expect((await done(['ps'], { env })).output).toMatch(/^own:1b +beta +127\.0\.0\.1:\d+ +700 MB +100% GPU +8192 +1\/1 +in /m)
  expect((await done(['status'], { env })).output).toMatch(/^lane own:1b \(interactive\): 0 waiting, 1 running$/m)
  expect(await json(['show', 'own:1b'], { env })).toMatchObject({ lanes: [{ class: 'interactive', waiting: 0, running: 1 }] })
  await second.admin.release('held')
  expect((await asking.told).ended).toBe(true)
})

test('show tells what a model is and where, under any spelling of its name', async ({ at: { env } }) => {
  expect(await json(['show', 'OWN:1b'], { env })).toMatchObject({
    name: 'own:1b',
    quantization: 'Q8_0',
    context_length: 8192,
    capabilities: ['completion', 'tools'],
    nodes: [{ node: 'beta', kind: 'ollama', slots: 1, size: 700_000_000 }],
  })
  expect(await json(['show', 'shared:8b'], { env })).toMatchObject({ digests_differ: true, nodes: [{ node: 'alpha', digest: 'a'.repeat(64) }, { node: 'beta', digest: 'b'.repeat(64) }] })
  expect(await json(['list'], { env })).toMatchObject({ models: expect.arrayContaining([expect.objectContaining({ name: 'shared:8b', digests_differ: true })]) as unknown })
  const { output } = await done(['show', 'shared:8b'], { env })
  expect(output).toMatch(/^alpha .* aaaaaaaaaaaa /m)
  expect(output).toContain('different weights under this name')
  expect(output).toMatch(/^model +shared:8b$/m)
  expect(output).toMatch(/^alpha +ollama at 127\.0\.0\.1:\d+ .* 0\/2 /m)
  expect(output).toMatch(/^beta .* 0\/1 /m)
})

test('a model that is not there is named together with those that are', async ({ at: { env } }) => {
  for (const args of [['show', 'nothing'], ['run', 'nothing', 'Hello']]) {
    expect(await done(args, { env })).toEqual({ code: 1, output: '', errors: expect.stringMatching(/^model 'nothing' not found: there are (shared:8b, own:1b|own:1b, shared:8b)\n$/) as string })
  }
})

test('wrong usage ends with 2 and says what was expected', async ({ at: { env } }) => {
  const cases = [
    [['show'], /expected one model: drover show MODEL/],
    [['list', '--jsn'], /--jsn: unknown \(did you mean --json\?\)/],
    [['run'], /which model\? drover run MODEL/],
    [['run', 'own:1b'], /nothing to ask/],
    [['run', 'own:1b', 'x', '--option', 'hot'], /--option hot: expected name=value/],
    [['nodes', '--url', 'ftp://x'], /--url/],
  ] as const
  await Promise.all(
    cases.map(async ([args, said]) => {
      const { code, output, errors } = await done(args, { env })
      expect({ args, code, output }).toEqual({ args, code: 2, output: '' })
      expect(errors).toMatch(said)
    }),
  )
})

test('no gateway, a wrong key and something that is no gateway are each one line with the next step', async ({ at: { url } }) => {
  const other = createServer((_, response) => void response.end('Ollama is running')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  const address = other.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const wrong = await Promise.all(
    [['nodes'], ['ps'], ['list'], ['show', 'x'], ['status'], ['run', 'x', 'y']].map((args) => done(args, { env: { DROVER_URL: url, DROVER_API_KEY: 'another-key' } })),
  )
  for (const each of wrong) {
    expect(each).toEqual({ code: 1, output: '', errors: expect.stringMatching(/^the gateway at \S+ wants a key \(401\): .*DROVER_API_KEY\n$/) as string })
  }
  const nobody = await done(['list', '--url', 'http://127.0.0.1:1'])
  expect(nobody).toEqual({ code: 1, output: '', errors: expect.stringMatching(/^no gateway answers at .*"drover up".*--url\n$/) as string })
  const stranger = await done(['list'], { env: { DROVER_PORT: String(port) } })
  expect(stranger).toEqual({ code: 1, output: '', errors: expect.stringMatching(/is no Drover gateway/) as string })
})

test('a reader that leaves early is no error', async ({ at: { env } }) => {
  const running = command(['status', '--json'], { env })
  running.child.stdout?.destroy()
  expect(await running.exited).toBe(0)
  expect(running.errors()).toBe('')
})

test.skipIf(skipsWithoutTerminal())('on a terminal a table keeps within its width, and NO_COLOR keeps colours away', async ({ at: { env } }) => {
  const nodes = onTerminal(['nodes'], { env })
  expect(await nodes.exited).toBe(0)
  const lines = nodes.output().trimEnd().split('\r\n')
  expect(lines.length).toBe(3)
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(100)
  const escape = '\u001B['
  const doctor = onTerminal(['doctor', '--no-look', '--redis-url', 'redis://127.0.0.1:1'])
  const plain = onTerminal(['doctor', '--no-look', '--redis-url', 'redis://127.0.0.1:1'], { env: { NO_COLOR: '1' } })
  await Promise.all([doctor.exited, plain.exited])
  expect(doctor.output()).toContain(escape)
  expect(plain.output()).toContain('fail  redis')
  expect(plain.output()).not.toContain(escape)
})

import { expect } from 'vitest'
import { command, done, onTerminal, skipsWithoutTerminal } from '../cli/commands-setup.ts'
import { until } from '../support/drover.ts'
import { test as world } from '../support/world.ts'
import { modelSite } from './site.ts'

const MODEL = 'big:latest'
const LIBRARY = [{ name: MODEL, size: 2_000_000, layers: 2, rate: 2_000_000 }, { name: 'shown', size: 2_000_000, layers: 2, rate: 2_000_000 }, { name: 'huge', size: 60_000_000, rate: 1_000_000 }]

const test = world.extend('site', { scope: 'file' }, ({ house, engines }) => modelSite({ drover: house, scripted: engines }, { nodes: ['n1', 'n2'], library: LIBRARY }))
const env = (url: string) => ({ env: { DROVER_URL: url } })

test('pull, cp, push and rm do it on the nodes, and tell it a line at a time', async ({ site }) => {
  const pulled = await done(['pull', 'big', '--replicas', '2'], env(site.url))
  expect([pulled.code, pulled.errors]).toEqual([0, ''])
  const lines = pulled.output.trimEnd().split('\n')
  expect([lines[0], ...lines.slice(-3)]).toEqual(['pulling manifest', 'verifying sha256 digest', 'writing manifest', 'success'])
  expect(lines.filter((line) => /^pulling [0-9a-f]{12} 100% 2\.0 MB\/2\.0 MB$/.test(line))).toHaveLength(2)
  expect(new Set(lines).size).toBe(lines.length)
  expect(await site.holders(MODEL)).toEqual(['n1', 'n2'])
  expect(await done(['cp', 'big', 'me/mine'], env(site.url))).toEqual({ code: 0, output: 'copied big to me/mine\n', errors: '' })
  expect(await site.holders('me/mine:latest')).toEqual(['n1', 'n2'])
  const pushed = await done(['push', 'me/mine', '--node', 'n2', '--json'], env(site.url))
  expect([pushed.code, JSON.parse(pushed.output.trimEnd().split('\n').at(-1)!)]).toEqual([0, { status: 'success' }])
  expect((await site.nodes.get('n2')!.engine.admin.managed('me/mine')).pushes).toBe(1)
  expect(await done(['rm', 'me/mine', '--node', 'n1'], env(site.url))).toEqual({ code: 0, output: 'deleted me/mine\n', errors: '' })
  expect(await site.holders('me/mine:latest')).toEqual(['n2'])
  expect((await done(['rm', 'me/mine', 'big'], env(site.url))).output).toBe('deleted me/mine\ndeleted big\n')
  expect(await site.holders(MODEL)).toEqual([])
})

test('what goes wrong is one line, and another exit code', async ({ site }) => {
  for (const [args, code, text] of [
    [['pull', 'nobody'], 1, 'pull model manifest: file does not exist'], [['pull', 'big', '--replicas', '3'], 1, '3 nodes are to hold it'], [['pull', 'big', '--node', 'n9'], 1, "node 'n9' is not there"],
    [['rm', 'nobody'], 1, "model 'nobody' not found"], [['cp', 'nobody', 'x'], 1, 'model "nobody" not found'], [['pull', '../x'], 1, 'invalid model name'], [['push', 'nobody'], 1, "model 'nobody' not found"],
    [['pull'], 2, 'expected one model'], [['cp', 'a'], 2, 'expected a model'], [['rm'], 2, 'which model?'], [['pull', 'a', '--replicas', '0'], 2, 'replicas'],
  ] as const) {
    const told = await done(args, env(site.url))
    expect([args, told.code, told.errors]).toEqual([args, code, expect.stringContaining(text)])
  }
})

test('Ctrl-C ends the pull on the engine, too', async ({ site }) => {
  const pulling = command(['pull', 'huge'], env(site.url))
  await until('it pulls', async () => pulling.output().includes('pulling ') && (await site.sum('huge', 'pulling')) === 1)
  pulling.signal('SIGINT')
  expect(await pulling.exited).toBe(130)
  await until('it has stopped', async () => (await site.sum('huge', 'pulling')) === 0)
})

test.skipIf(skipsWithoutTerminal())('on a terminal each layer has a bar', async ({ site }) => {
  const pulling = onTerminal(['pull', 'shown'], env(site.url))
  expect(await pulling.exited).toBe(0)
  const shown = pulling.output()
  expect(shown).toMatch(/pulling [0-9a-f]{12} +\d+% ▕█* *▏ /)
  expect(shown.split('\u001B[K').filter((row) => /100% ▕█{30}▏ 1\.0 MB\/1\.0 MB/.test(row)).length).toBeGreaterThan(1)
  expect(shown.trimEnd().endsWith('success')).toBe(true)
})

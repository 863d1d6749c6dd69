import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { command, done, json, onTerminal, skipsWithoutTerminal } from '../cli/commands-setup.ts'
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

test('load and unload do it on the nodes, and models shows where each is', async ({ site }) => {
  const at = env(site.url)
  expect(await done(['load', 'own-n1', '--keep-alive', '-1', '--num-ctx', '8192'], at)).toEqual({ code: 0, output: 'loading model\nsuccess\n', errors: '' })
  expect((await done(['load', 'own-n2', '--keep-alive=10m', '--node', 'n2', '--json'], at)).output.trimEnd().split('\n').at(-1)).toBe('{"status":"success"}')
  expect(await json(['models'], at)).toMatchObject({
    nodes: ['n1', 'n2'],
    models: [
      { name: 'own-n1:latest', nodes: [{ node: 'n1', loaded: true, context_length: expect.any(Number) as number, expires_at: null }] },
      { name: 'own-n2:latest', nodes: [{ node: 'n2', loaded: true, expires_at: expect.any(String) as string }] },
    ],
  })
  expect(await done(['unload', 'own-n1'], at)).toEqual({ code: 0, output: 'unloaded own-n1\n', errors: '' })
  const [title, first, second, ...more] = (await done(['models'], at)).output.trimEnd().split('\n')
  expect([title, first, second, more]).toEqual([expect.stringMatching(/^MODEL +SIZE +QUANT +CONTEXT +n1 +n2$/), expect.stringMatching(/^own-n1:latest .* ○ +-$/), expect.stringMatching(/^own-n2:latest .* - +●[\dk]+$/), []])
  expect((await done(['models', '--node', 'n2'], at)).output).not.toContain('n1')
  expect(await done(['unload', 'own-n2', 'own-n1', '--node', 'n2'], at)).toEqual({ code: 1, output: 'unloaded own-n2\n', errors: expect.stringContaining("node 'n2' does not hold it") as string })
})

test('create makes a model from another, with what a Modelfile says', async ({ site, redis }) => {
  const at = env(site.url)
  const folder = await mkdtemp(join(redis.dir, 'modelfile-'))
  const path = join(folder, 'Modelfile')
  await writeFile(path, 'FROM own-n1\nPARAMETER temperature 0.5\nPARAMETER stop "###"\nSYSTEM Be brief.\n')
  const { admin } = site.nodes.get('n1')!.engine
  const made = async () => (await admin.stats()).last.filter((each) => each.path === '/api/create').map(({ body }) => JSON.parse(body) as unknown)
  expect((await done(['create', 'me/made', '-f', path], at)).output.trimEnd().split('\n').at(-1)).toBe('success')
  expect(await site.holders('me/made:latest')).toEqual(['n1'])
  expect((await done(['create', 'me/other', '--from', 'me/made', '--file', '-'], { ...at, input: 'TEMPLATE "{{ .Prompt }}"\n' })).code).toBe(0)
  expect(await made()).toEqual([
    { from: 'own-n1', parameters: { temperature: 0.5, stop: ['###'] }, system: 'Be brief.', model: 'me/made', stream: true },
    { from: 'me/made', template: '{{ .Prompt }}', model: 'me/other', stream: true },
  ])
  for (const [args, input, code, text] of [
    [['create', 'x', '-f', '-'], 'FROM a\nADAPTER ./lora\n', 1, '-, line 2: ADAPTER takes a file'],
    [['create', 'x', '-f', '-'], 'FROM ./m.gguf\n', 1, 'FROM a file is not taken yet'],
    [['create', 'x', '-f', '-'], 'SYSTEM x\n', 2, 'has no FROM'],
    [['create', 'x', '-f', join(folder, 'none')], '', 2, 'cannot be read'],
    [['create', 'x'], '', 2, 'from which model?'],
  ] as const) {
    const told = await done(args, { ...at, input })
    expect([args, told.code, told.errors]).toEqual([args, code, expect.stringContaining(text)])
  }
  expect((await done(['rm', 'me/made', 'me/other'], at)).code).toBe(0)
})

test('what goes wrong is one line, and another exit code', async ({ site }) => {
  for (const [args, code, text] of [
    [['pull', 'nobody'], 1, 'pull model manifest: file does not exist'], [['pull', 'big', '--replicas', '3'], 1, '3 nodes are to hold it'], [['pull', 'big', '--node', 'n9'], 1, "node 'n9' is not there"],
    [['rm', 'nobody'], 1, "model 'nobody' not found"], [['cp', 'nobody', 'x'], 1, 'model "nobody" not found'], [['pull', '../x'], 1, 'invalid model name'], [['push', 'nobody'], 1, "model 'nobody' not found"],
    [['pull'], 2, 'expected one model'], [['cp', 'a'], 2, 'expected a model'], [['rm'], 2, 'which model?'], [['pull', 'a', '--replicas', '0'], 2, 'replicas'],
    [['load', 'nobody'], 1, "model 'nobody' not found"], [['load', 'own-n1', '--keep-alive', '0'], 1, 'would be unloaded at once'], [['load', 'own-n1', '--replicas', '2'], 1, 'only n1 holds it'], [['load', 'own-n1', '--keep-alive', 'soon'], 1, 'time: invalid duration'],
    [['unload', 'nobody'], 1, "model 'nobody' not found"], [['load'], 2, 'expected one model'], [['unload'], 2, 'which model?'], [['load', 'own-n1', '--num-ctx', '0'], 2, 'num-ctx'], [['models', '--node', 'n9'], 1, "node 'n9' is not there"],
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

test.skipIf(skipsWithoutTerminal())('on a terminal models says what its signs mean', async ({ site }) => {
  const shown = onTerminal(['models'], env(site.url))
  expect(await shown.exited).toBe(0)
  expect(shown.output()).toContain('own-n1:latest')
  expect(shown.output().trimEnd()).toMatch(/● in memory, with its context {3}○ held$/)
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError, type ConfigInputs, loadConfig, maskedConfig } from './config.ts'
import { ExitError } from './exit.ts'
import { defineConfig, setting } from './setting.ts'
import { logSettings, redisSettings } from './shared-settings.ts'
import { bytes, duration } from './units.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
const write = (text: string): string => {
  const path = join(folder, `${(files += 1)}.yaml`)
  writeFileSync(path, text)
  return path
}

const Engine = z.union([z.string(), z.strictObject({ url: z.url(), slots: z.int().min(1) })])
const definition = defineConfig('gateway', {
  ...redisSettings,
  ...logSettings,
  port: setting({ schema: z.int().min(0).max(65_535).default(11_435), describe: 'port to listen on' }),
  laneLimit: setting({ schema: z.int().min(1).default(100), describe: 'most waiting jobs per lane' }),
  open: setting({ schema: z.boolean().default(false), describe: 'no key needed' }),
  looking: setting({ schema: z.boolean().default(true), describe: 'look for engines' }),
  grace: setting({ schema: duration().default(5_000), describe: 'how long to wait' }),
  bodyLimit: setting({ schema: bytes().prefault('32mb'), describe: 'largest body' }),
  engine: setting({ schema: z.array(Engine).default([]), describe: 'engines' }),
  apiKey: setting({ schema: z.string().min(4).optional(), describe: 'the key', secret: true }),
})

const load = (inputs: ConfigInputs) => loadConfig(definition, { argv: [], env: {}, file: join(folder, 'none.yaml'), ...inputs })
const problemsOf = (inputs: ConfigInputs): readonly string[] => {
  try {
    load(inputs)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

test('with nothing given every setting has its default, and says so', () => {
  const { values, sources, file } = load({})
  expect(values).toMatchObject({ port: 11_435, open: false, looking: true, grace: 5_000, bodyLimit: 33_554_432, engine: [] })
  expect(values.apiKey).toBeUndefined()
  expect(new Set(Object.values(sources))).toEqual(new Set(['default']))
  expect(file).toBeUndefined()
})

test('a flag goes before the environment, the environment before the file, the file before the default', () => {
  const file = write('gateway:\n  port: 1\n  laneLimit: 2\n  grace: 3s\n')
  const { values, sources } = load({ argv: ['--port', '10'], env: { DROVER_PORT: '20', DROVER_LANE_LIMIT: '30' }, file })
  expect(values).toMatchObject({ port: 10, laneLimit: 30, grace: 3_000 })
  expect(sources).toMatchObject({ port: '--port', laneLimit: 'DROVER_LANE_LIMIT', grace: `${file}:4`, open: 'default' })
})

test('text is read as what the schema wants: numbers, booleans, units and lists', () => {
  const { values } = load({
    argv: ['--open', '--no-looking', '--grace=2m', '--engine', 'http://a:1,http://b:2', '--engine', 'http://c:3'],
    env: { DROVER_BODY_LIMIT: '1mb', DROVER_PORT: '8080' },
  })
  expect(values).toMatchObject({ open: true, looking: false, grace: 120_000, bodyLimit: 1_048_576, port: 8080 })
  expect(values.engine).toEqual(['http://a:1', 'http://b:2', 'http://c:3'])
})

test('a list may hold objects: in the file as they are, in a variable as JSON', () => {
  const engine = [{ url: 'http://a:1', slots: 2 }, 'http://b:2']
  const file = write('gateway:\n  engine:\n    - { url: "http://a:1", slots: 2 }\n    - http://b:2\n')
  expect(load({ file }).values.engine).toEqual(engine)
  expect(load({ env: { DROVER_ENGINE: JSON.stringify(engine) } }).values.engine).toEqual(engine)
  expect(load({ file: write('gateway: { engine: "http://a:1, http://b:2" }') }).values.engine).toEqual(['http://a:1', 'http://b:2'])
})

test('an empty variable counts as an absent one', () => {
  expect(load({ env: { DROVER_PORT: '', REDIS_URL: '' } }).sources).toMatchObject({ port: 'default', redisUrl: 'default' })
})

test('REDIS_URL is understood, and DROVER_REDIS_URL goes before it', () => {
  expect(load({ env: { REDIS_URL: 'redis://a' } }).values.redisUrl).toBe('redis://a')
  expect(load({ env: { REDIS_URL: 'redis://a', DROVER_REDIS_URL: 'unix:///run/r.sock' } }).values.redisUrl).toBe('unix:/run/r.sock')
})

test('shared settings may stand in the shared section, and the own section goes before it', () => {
  const file = write('shared:\n  prefix: ours\n  logLevel: warn\ngateway:\n  logLevel: debug\n')
  expect(load({ file }).values).toMatchObject({ prefix: 'ours', logLevel: 'debug' })
})

test('all problems come in one report, each with where it came from and what is wrong', () => {
  const file = write('gateway:\n  lanelimit: 5\n  grace: 5\nworkr: {}\nworker: { whatever: 1 }\nshared: { redisurl: x }\n')
  const problems = problemsOf({
    argv: ['--prot', '80', '--open=perhaps', 'stray', '--port'],
    env: { DROVER_BODY_LIMIT: 'big', DROVER_REDIS_URL: 'http://x' },
    file,
  })
  expect(problems).toHaveLength(10)
  for (const expected of [
    /^flag --prot: unknown \(did you mean --port\?\)$/,
    /^flag --open: expected true or false \(got perhaps\)$/,
    /^argument stray: /,
    /^flag --port: needs a value$/,
    /^environment DROVER_BODY_LIMIT: .*32mb.*\(got big\)$/,
    /^environment DROVER_REDIS_URL: expected redis:\/\//,
    /^file .*:2: gateway\.lanelimit: unknown \(did you mean laneLimit\?\)$/,
    /^file .*:3: gateway\.grace: .*unit/,
    /^file .*:4: workr: unknown section \(did you mean worker\?\)$/,
    /^file .*:6: shared\.redisurl: unknown \(did you mean redisUrl\?\)$/,
  ]) {
    expect(problems).toContainEqual(expect.stringMatching(expected))
  }
})

test('a number is refused where it is none or out of range, and a setting that is no list takes one value', () => {
  expect(problemsOf({ env: { DROVER_PORT: 'http' } })).toEqual([expect.stringMatching(/^environment DROVER_PORT: .*\(got http\)$/)])
  expect(problemsOf({ argv: ['--port', '70000'] })).toEqual([expect.stringMatching(/^flag --port: .*65535/)])
  expect(problemsOf({ argv: ['--port', '1', '--port', '2'] })).toEqual([expect.stringContaining('more than once')])
  expect(problemsOf({ argv: ['--engine', '[{"url":'] })).toEqual([expect.stringContaining('not valid JSON')])
  expect(problemsOf({ file: write('gateway: { engine: [{ url: nonsense, slots: 1 }] }') })).toHaveLength(1)
})

test('a file that is broken, missing or no sections at all is one clear problem', () => {
  expect(problemsOf({ file: write('gateway:\n  port: [1\n') })).toEqual([expect.stringMatching(/^file .*\.yaml:\d+: /)])
  expect(problemsOf({ file: write('gateway:\n  port: 1\n  port: 2\n') })).toEqual([expect.stringMatching(/:3: /)])
  expect(problemsOf({ file: write('- a\n') })).toEqual([expect.stringContaining('expected sections')])
  expect(problemsOf({ file: write('gateway: 5\n') })).toEqual([expect.stringContaining('expected settings')])
  expect(problemsOf({ argv: ['--config', join(folder, 'no.yaml')] })).toEqual([expect.stringContaining('cannot be read')])
  expect(problemsOf({ env: { DROVER_CONFIG: join(folder, 'no.yaml') } })).toEqual([expect.stringContaining('cannot be read')])
})

test('an empty file and a setting left open count as nothing given', () => {
  expect(problemsOf({ file: write('') })).toEqual([])
  expect(load({ file: write('gateway:\n  port:\nshared:\n') }).sources.port).toBe('default')
})

test('a setting without default must be given, and the report tells where', () => {
  const needed = defineConfig('worker', { node: setting({ schema: z.string(), describe: 'id' }) })
  expect(() => loadConfig(needed, { argv: [], env: {}, file: 'none' })).toThrow(/required; set --node, DROVER_NODE or worker\.node/)
})

test('a secret may come from a file, is never shown, and not even a wrong one is repeated in the report', () => {
  const path = write('hunter2-and-more\n')
  const config = load({ env: { DROVER_API_KEY_FILE: path, REDIS_URL: 'redis://user:pass@word@host:1/0' } })
  expect(config.values.apiKey).toBe('hunter2-and-more')
  const shown = JSON.stringify(maskedConfig(definition, config))
  expect(shown).not.toContain('hunter2')
  expect(shown).not.toMatch(/pass|word@/)
  expect(shown).toContain('redis://user:***@host:1/0')
  expect(problemsOf({ env: { DROVER_API_KEY: 'abc' } }).join()).not.toContain('abc')
  expect(problemsOf({ env: { DROVER_API_KEY: 'abcd', DROVER_API_KEY_FILE: path } })).toEqual([expect.stringContaining('set together')])
  expect(problemsOf({ env: { DROVER_API_KEY_FILE: join(folder, 'no') } })).toEqual([expect.stringContaining('cannot be read')])
})

test('the help names every setting with its flag, variable, key and default, and is no failure', () => {
  let error: unknown
  try {
    load({ argv: ['--help', '--nonsense'] })
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(ExitError)
  expect(error).toMatchObject({ code: 0 })
  const text = error instanceof Error ? error.message : ''
  for (const part of ['--lane-limit', 'DROVER_LANE_LIMIT', 'gateway.laneLimit', '32mb', '--[no-]looking', 'shared.redisUrl', 'REDIS_URL', '11435']) {
    expect(text).toContain(part)
  }
})

import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { until } from '../support/drover.ts'
import { setupProject } from './setup-project.ts'

const lastLine = (output: string): string => output.trimEnd().split('\n').at(-1) ?? ''

interface Assertion {
  status: 'passed' | 'failed' | 'skipped' | 'todo'
  fullName: string
}
/** A report as Vitest writes it, of one file. */
const report = (assertionResults: Assertion[], status = 'passed'): string =>
  JSON.stringify({ testResults: [{ name: '/x/a.test.ts', status, assertionResults }] })
const passed = (fullName: string): Assertion => ({ status: 'passed', fullName })

test('dependencies are installed once, and again when the lock file has changed, never with install scripts', async () => {
  const { folder, run, npmCalls } = await setupProject()
  const first = run(['start'])
  expect(await first.exited).toBe(5)
  expect(first.output()).toContain('installing dependencies')
  const second = run(['start'])
  await second.exited
  expect(second.output()).not.toContain('installing')
  expect(await npmCalls()).toEqual([expect.stringMatching(/^ci .*--ignore-scripts/)])
  await writeFile(join(folder, 'package-lock.json'), '{"changed":1}')
  await run(['start']).exited
  expect(await npmCalls()).toHaveLength(2)
  await rm(join(folder, 'node_modules'), { recursive: true })
  await run(['start']).exited
  expect(await npmCalls()).toHaveLength(3)
})

test('to run Drover what it is developed with is left out; the tests add that to what lies there, which may be running', async () => {
  const { run, npmCalls } = await setupProject()
  await run(['start']).exited
  expect(await npmCalls()).toEqual([expect.stringMatching(/^ci --omit=dev /)])
  await run(['test']).exited
  expect((await npmCalls()).slice(1)).toEqual([expect.stringMatching(/^install --no-save /)])
  await run(['start']).exited
  await run(['test']).exited
  expect(await npmCalls()).toHaveLength(2)

  const other = await setupProject()
  await other.run(['test']).exited
  expect(await other.npmCalls()).toEqual([expect.stringMatching(/^ci --ignore-scripts/)])
})

test('an installation that was interrupted is done again', async () => {
  const { run, npmCalls } = await setupProject()
  const first = run(['start'], { NPM_MS: '30000' })
  await until('npm runs', async () => (await npmCalls()).length === 1)
  first.signal('SIGTERM')
  expect(await first.exited).not.toBe(0)
  expect(await run(['start']).exited).toBe(5)
  expect(await npmCalls()).toHaveLength(2)
})

test('of two at once one installs and the other waits for it; a killed one locks nobody out', async () => {
  const { folder, run, npmCalls } = await setupProject()
  const env = { NPM_UNTIL: join(folder, 'go') }
  const both = [run(['start'], env), run(['start'], env)]
  await until('one waits', () => both.some(({ output }) => /waiting/.test(output())))
  await writeFile(env.NPM_UNTIL, '')
  expect(await Promise.all(both.map(({ exited }) => exited))).toEqual([5, 5])
  expect(await npmCalls()).toHaveLength(1)
  expect(both.map(({ output }) => output()).join()).toMatch(/another set-up \(process \d+\) is at work.*waiting/)

  const other = await setupProject()
  const killed = other.run(['start'], { NPM_MS: '60000' })
  await until('npm runs', async () => (await other.npmCalls()).length === 1)
  killed.signal('SIGKILL')
  await killed.exited
  expect(await other.run(['start']).exited).toBe(5)
})

test('when npm fails its reason is passed on and nothing is run', async () => {
  const { run } = await setupProject()
  const failed = run(['start'], { NPM_FAILS: '1' })
  expect(await failed.exited).toBe(1)
  expect(failed.output()).toContain('npm ci failed (exit code 1):\n  code EFAIL\n  the registry is on holiday')
  expect(failed.output()).not.toContain('cli up')
})

test('start hands its arguments, signals and exit code through, and a command line that is left alone notices', async () => {
  const { folder, run } = await setupProject()
  const plain = run(['start', '--port', '1'])
  expect(await plain.exited).toBe(5)
  expect(plain.output()).toContain(`cli up --port 1 redis=${join(folder, 'bin/redis-server')}`)

  const told = run(['start', 'stay'])
  await until('it stays', () => told.output().includes('pid '))
  told.signal('SIGTERM')
  expect(await told.exited).toBe(7)

  const killed = run(['start', 'stay'])
  await until('it stays', () => killed.output().includes('pid '))
  const pid = Number(/pid (\d+)/.exec(killed.output())?.[1])
  killed.signal('SIGKILL')
  await until('the command line is gone', () => {
    try {
      return !process.kill(pid, 0)
    } catch {
      return true
    }
  })
})

test('with a Redis named, or none to be had, start goes on: the command line decides', async () => {
  const { folder, run } = await setupProject()
  await rm(join(folder, 'bin/redis-server'))
  const named = run(['start', '--redis-url', 'redis://h'])
  expect(await named.exited).toBe(5)
  expect(named.output()).not.toContain('no Redis')
  const none = run(['start'])
  expect(await none.exited).toBe(5)
  expect(none.output()).toMatch(/no Redis could be had: .*\n[^]*cli up/)
})

test('test runs checks and tests with its arguments, and its last line is the count', async () => {
  const { run } = await setupProject()
  const good = run(['test', 'some/file'], { REPORT: report([passed('a'), passed('b')]) })
  expect(await good.exited).toBe(0)
  expect(good.output()).toContain('vitest run some/file')
  expect(good.output()).toContain('llama /given/llama-server')
  expect(lastLine(good.output())).toBe('2 passed, 0 failed')
})

test.each([
  ['a failed test', { REPORT: report([passed('a'), { status: 'failed', fullName: 'b' }], 'failed'), VITEST_CODE: '1' }, '1 passed, 1 failed'],
  ['a file that could not be loaded', { REPORT: report([], 'failed'), VITEST_CODE: '1' }, '0 passed, 1 failed'],
  ['an error beside the tests', { REPORT: report([passed('a')]), VITEST_CODE: '1' }, '1 passed, 1 failed'],
  ['a runner that died', { VITEST_CODE: '1' }, '0 passed, 1 failed'],
  ['wrong types', { REPORT: report([passed('a')]), TSC_CODE: '1' }, '1 passed, 1 failed'],
  ['lint', { REPORT: report([passed('a')]), OXLINT_CODE: '1' }, '1 passed, 1 failed'],
])('%s fails the run and is counted', async (_, env, line) => {
  const { run } = await setupProject()
  const bad = run(['test'], env)
  expect(await bad.exited).toBe(1)
  expect(lastLine(bad.output())).toBe(line)
})

test('what is skipped is named; in CI it has failed', async () => {
  const { run } = await setupProject()
  const env = { REPORT: report([passed('a'), { status: 'skipped', fullName: 'the real thing' }]) }
  const here = run(['test'], env)
  expect(await here.exited).toBe(0)
  expect(here.output()).toMatch(/skipped: .*a\.test\.ts: the real thing/)
  expect(lastLine(here.output())).toBe('1 passed, 0 failed, 1 skipped')
  const ci = run(['test'], { ...env, CI: 'true' })
  expect(await ci.exited).toBe(1)
  expect(lastLine(ci.output())).toBe('1 passed, 1 failed')
})

test('a llama.cpp that cannot be had is told with the reason; in CI it is a failure', async () => {
  const { run } = await setupProject()
  const env = { REPORT: report([passed('a')]), DROVER_LLAMA_SERVER: '' }
  const here = run(['test'], env)
  expect(await here.exited).toBe(0)
  expect(here.output()).toMatch(/skipped: everything against a real llama\.cpp, which could not be had: .*Debian/)
  expect(lastLine(here.output())).toBe('1 passed, 0 failed')
  const ci = run(['test'], { ...env, CI: 'true' })
  expect(await ci.exited).toBe(1)
  expect(lastLine(ci.output())).toBe('1 passed, 1 failed')
})

test('an unknown task is one line', async () => {
  const { run } = await setupProject()
  const wrong = run(['dance'])
  expect(await wrong.exited).toBe(1)
  expect(wrong.output()).toBe('drover: usage: run.mjs drover|start|test|bench|bench:cluster|bench:copies|faults [arguments]\n')
})

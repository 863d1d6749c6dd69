import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const module = fileURLToPath(new URL('index.ts', import.meta.url))
const program = (body: string): string[] => ['--input-type=module', '-e', `import * as service from ${JSON.stringify(module)}\n${body}`]
const run = (body: string) => spawnSync(process.execPath, program(body), { encoding: 'utf8' })

test('an expected end is one line of reason and its exit code, without a stack', () => {
  const { status, stderr } = run(`service.runMain(async () => { throw new service.ExitError('port 1 is in use') })`)
  expect(stderr).toBe('port 1 is in use\n')
  expect(status).toBe(2)
})

test('a configuration that is wrong is reported whole', () => {
  const { status, stderr } = run(`service.runMain(async () => { throw new service.ConfigError(['one', 'two']) })`)
  expect(stderr).toBe('2 problems in the configuration:\n  one\n  two\n')
  expect(status).toBe(2)
})

test('help goes to standard output and is no failure', () => {
  const { status, stdout, stderr } = run(`service.runMain(async () => { throw new service.ExitError('the help', 0) })`)
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'the help\n', stderr: '' })
})

test.each([
  ['thrown in main', `service.runMain(async () => { throw new TypeError('odd') })`],
  ['rejected with no one listening', `service.runMain(async () => { Promise.reject(new TypeError('odd')); await new Promise(() => setTimeout(() => {}, 60000)) })`],
])('an unexpected error %s ends the process with its stack', (_, body) => {
  const { status, stderr } = run(body)
  expect(status).toBe(1)
  expect(stderr).toContain('unexpected: TypeError: odd\n    at ')
})

test('a main that returns leaves the process to end by itself', () => {
  expect(run(`service.runMain(async () => console.log('fine'))`)).toMatchObject({ status: 0, stdout: 'fine\n' })
})

test('a main that waits for what can never come is a failure, not a quiet end', () => {
  const { status, stderr } = run(`service.runMain(() => new Promise(() => {}))`)
  expect(status).toBe(1)
  expect(stderr).toContain('its start was not over')
})

test('a process whose parent lets go of it ends, even before it has a shutdown of its own', async () => {
  const body = `service.runMain(async () => { process.send('up'); await new Promise(() => setInterval(() => {}, 1000)) })`
  const child = spawn(process.execPath, program(body), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  await once(child, 'message')
  child.disconnect()
  const [code] = await once(child, 'exit')
  expect(code).toBe(1)
})

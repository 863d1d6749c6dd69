import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from '@drover/service'
import { expect, onTestFinished, test } from 'vitest'
import { alive } from './fixtures/alive.ts'
import { type Part, type PartOptions, startPart } from './part.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}.ts`, import.meta.url))
const waitFor = { timeout: 20_000, interval: 20 }

const start = (behaviour: string, options: Partial<PartOptions> = {}): { part: Part; lines: string[]; pids: () => number[] } => {
  const lines: string[] = []
  const part = startPart({
    name: 'stub',
    file: fixture('stub-part'),
    args: [behaviour],
    env: childEnvironment({}),
    stopLimitMs: 10_000,
    onLine: (line) => void lines.push(line),
    ...options,
  })
  onTestFinished(() => part.stop())
  return { part, lines, pids: () => numbersIn(lines, 'pid') }
}

const numbersIn = (lines: readonly string[], label: string): number[] =>
  lines.flatMap((line) => new RegExp(`${label} (\\d+)`).exec(line)?.[1] ?? []).map(Number)

test('a part that is stopped ends in order, and what it said to the last is heard', async () => {
  const { part, lines, pids } = start('run')
  await expect.poll(() => lines, waitFor).toContain('begun')
  await part.stop()
  expect(lines).toContain('ended in order')
  expect(pids().filter(alive)).toEqual([])
}, 30_000)

test('a part that does not listen to SIGTERM is killed after its limit', async () => {
  const { part, lines, pids } = start('deaf to SIGTERM', { stopLimitMs: 300 })
  await expect.poll(() => lines, waitFor).toContain('begun')
  await part.stop()
  expect(lines).toContain('no')
  expect(pids().filter(alive)).toEqual([])
}, 30_000)

test('a part that is killed is started again', async () => {
  const { part, lines, pids } = start('run', { restartMs: [10, 10] })
  await expect.poll(() => lines, waitFor).toContain('begun')
  process.kill(part.pid() ?? 0, 'SIGKILL')
  await expect.poll(() => pids().length, waitFor).toBe(2)
  expect(new Set(pids()).size).toBe(2)
  expect(lines.join('\n')).toContain('killed by SIGKILL')
}, 30_000)

test('a part that fails again and again is given up with its last words, after one start more than there are waits', async () => {
  const { part, pids } = start('crash', { restartMs: [10, 20] })
  expect(await part.givenUp).toBe('stub failed 3 times, the last time with exit code 1\n  out of luck')
  expect(pids()).toHaveLength(3)
}, 30_000)

test('a run that went well forgets the failures before it', async () => {
  const { pids } = start('crash', { restartMs: [10, 20], wellAfterMs: 0 })
  await expect.poll(() => pids().length, waitFor).toBeGreaterThan(4)
}, 30_000)

test('a part that refuses to start is not tried again, and its reason is passed on', async () => {
  const { part, pids } = start('refuse', { restartMs: [10, 20] })
  expect(await part.givenUp).toBe('stub cannot run: the cable is not plugged in')
  expect(pids()).toHaveLength(1)
}, 30_000)

test('while nobody is patient a part that ends by itself is given up at once, but one that was killed is not', async () => {
  const crashing = start('crash', { patient: () => false })
  expect(await crashing.part.givenUp).toBe('stub cannot run: out of luck')
  expect(crashing.pids()).toHaveLength(1)
  const { part, lines, pids } = start('run', { patient: () => false, restartMs: [10] })
  await expect.poll(() => lines, waitFor).toContain('begun')
  process.kill(part.pid() ?? 0, 'SIGKILL')
  await expect.poll(() => pids().length, waitFor).toBe(2)
}, 30_000)

test('what a crashed part had started does not outlive it', async () => {
  const { lines, part } = start('start another and crash', { restartMs: [] })
  await part.givenUp
  const others = numbersIn(lines, 'other')
  expect(others).toHaveLength(1)
  await expect.poll(() => others.filter(alive), waitFor).toEqual([])
}, 30_000)

test('a part that is stopped while it waits to be started again stays stopped', async () => {
  const { part, lines, pids } = start('crash', { restartMs: [60_000] })
  await expect.poll(() => lines.join(), waitFor).toContain('starting it again')
  await part.stop()
  expect(pids()).toHaveLength(1)
}, 30_000)

test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('after %s to the one that started them no part is left', async (signal) => {
  const up = spawn(process.execPath, [fixture('stub-up')], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  up.stdout.on('data', (chunk) => (output += String(chunk)))
  onTestFinished(() => void up.kill('SIGKILL'))
  await expect.poll(() => output.match(/begun/g), waitFor).toHaveLength(2)
  const pids = numbersIn(output.split('\n'), 'pid')
  expect(pids.filter(alive)).toHaveLength(2)
  const closed = once(up, 'close')
  up.kill(signal)
  await expect.poll(() => [...pids, up.pid ?? 0].filter(alive), waitFor).toEqual([])
  // What they said last may be read after they have gone.
  await closed
  // In order, where there was time for order.
  if (signal !== 'SIGKILL') expect(output.match(/\w+: ended in order/g)).toEqual(['one: ended in order', 'two: ended in order'])
}, 60_000)

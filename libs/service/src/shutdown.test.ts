import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'

const module = fileURLToPath(new URL('index.ts', import.meta.url))

/** A process with the given steps; its lines of output, one per event. */
const start = async (steps: string) => {
  const body = `import { onShutdown, runMain } from ${JSON.stringify(module)}
    const say = (text) => process.stdout.write(text + '\\n')
    const log = { info: (f, m) => say(m + ' ' + (f.step ?? f.reason)), warn: (f, m) => say('WARN ' + m + ' ' + f.step) }
    const never = () => new Promise(() => {})
    runMain(async () => {
      setInterval(() => {}, 1000)
      onShutdown(${steps}, { log, orphanLimitMs: 300 })
      process.send('up')
    })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', body], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  child.stdout?.on('data', (chunk) => (output += String(chunk)))
  await once(child, 'message')
  return { child, lines: () => output.trim().split('\n'), said: (text: string) => expect.poll(() => output).toContain(text) }
}

const ended = async (child: ChildProcess): Promise<unknown> => {
  // Not `close`: after a disconnect by the parent it never comes.
  const exit = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
  if (child.stdout && !child.stdout.readableEnded) await once(child.stdout, 'end')
  await exit
  return child.exitCode
}

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('on %s the steps run one after the other, then the process ends well', async (signal) => {
  const { child, lines } = await start(`[
    { name: 'worker', limitMs: 5000, run: async () => { await new Promise((r) => setTimeout(r, 100)); say('worker ended') } },
    { name: 'redis', limitMs: 5000, run: () => say('redis ended') },
  ]`)
  child.kill(signal)
  expect(await ended(child)).toBe(0)
  expect(lines()).toEqual([
    `shutting down ${signal}`,
    'worker ended',
    'shutdown step done worker',
    'redis ended',
    'shutdown step done redis',
  ])
})

test('a step that is late or fails does not keep the next from running, and the exit code tells', async () => {
  const { child, lines } = await start(`[
    { name: 'late', limitMs: 50, run: never },
    { name: 'broken', limitMs: 5000, run: () => { throw new Error('no') } },
    { name: 'last', limitMs: 5000, run: () => say('last ran') },
  ]`)
  child.kill('SIGTERM')
  expect(await ended(child)).toBe(1)
  expect(lines()).toEqual(expect.arrayContaining([
    'WARN shutdown step given up: it took too long late',
    'WARN shutdown step failed broken',
    'last ran',
  ]))
})

test('a second signal exits at once, but one that follows within a moment is the same wish', async () => {
  // Its own, as soon as the first has been heard: from here it might come too late.
  const { child, said } = await start(`[{ name: 'endless', limitMs: 60000, run: () => {
    process.once('SIGINT', () => setImmediate(say, 'heard once more'))
    process.kill(process.pid, 'SIGINT')
    return never()
  } }]`)
  child.kill('SIGINT')
  await said('heard once more')
  await sleep(800)
  expect(child.exitCode).toBeNull()
  child.kill('SIGINT')
  expect(await ended(child)).toBe(130)
})

test('a process whose parent is gone ends in order, without waiting long for any step', async () => {
  const { child, lines } = await start(`[
    { name: 'endless', limitMs: 60000, run: never },
    { name: 'last', limitMs: 60000, run: () => say('last ran') },
  ]`)
  child.disconnect()
  expect(await ended(child)).toBe(1)
  expect(lines()[0]).toBe('shutting down parent gone')
  expect(lines()).toContain('last ran')
})

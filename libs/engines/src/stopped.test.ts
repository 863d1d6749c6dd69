import { spawn } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { isStopped } from './stopped.ts'

test.skipIf(process.platform !== 'linux')('a process that is stopped is told from one that runs, and from none', async () => {
  const child = spawn('sleep', ['60'])
  onTestFinished(() => void child.kill('SIGKILL'))
  const pid = child.pid ?? 0
  expect(await isStopped(pid)).toBe(false)
  child.kill('SIGSTOP')
  await expect.poll(() => isStopped(pid), { timeout: 5_000 }).toBe(true)
  child.kill('SIGCONT')
  await expect.poll(() => isStopped(pid), { timeout: 5_000 }).toBe(false)
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
  expect(await isStopped(pid)).toBe(false)
})

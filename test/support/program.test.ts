import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startProgram } from './program.ts'

const lives = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a program ends with the process that started it, even when that one is killed', async () => {
  const source = `
    const { startProgram } = await import(${JSON.stringify(fileURLToPath(new URL('program.ts', import.meta.url)))})
    console.log((await startProgram('sleep', ['600'])).pid)
    setInterval(() => {}, 1000)`
  const starter = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(starter.stdout, 'data')) as [Buffer]
  const pid = Number(line.toString())
  expect(lives(pid)).toBe(true)
  starter.kill('SIGKILL')
  await expect.poll(() => lives(pid), { timeout: 5000 }).toBe(false)
})

test('a program that ends is told with its exit code or signal, and with what it printed', async () => {
  const failing = await startProgram('sh', ['-c', 'echo reason >&2; exit 3'])
  expect(await failing.exited).toBe(3)
  expect(failing.running()).toBe(false)
  expect(failing.log()).toBe('reason\n')
  const killed = await startProgram('sleep', ['600'])
  killed.signal('SIGTERM')
  expect(await killed.exited).toBe('SIGTERM')
  await expect(startProgram('/nowhere/program', [])).rejects.toThrow('/nowhere/program cannot be started')
})

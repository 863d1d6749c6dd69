import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const module = fileURLToPath(new URL('index.ts', import.meta.url))

const start = (body: string) => {
  const source = `import { createLog } from ${JSON.stringify(module)}
    const log = createLog({ app: 'x', logFormat: 'json' })
    ${body}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}
const numbers = (output: string): number[] => output.trim().split('\n').map((line) => (JSON.parse(line) as { i: number }).i)
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

test('the last lines before an exit are not lost, and none changes its place', async () => {
  const child = start(`for (let i = 0; i < 5000; i++) {
      log.info({ i }, 'line')
      if (i % 1000 === 0) await new Promise(setImmediate)
    }
    process.exit(0)`)
  let output = ''
  child.stdout.on('data', (chunk) => (output += String(chunk)))
  await once(child, 'close')
  expect(numbers(output)).toEqual(upTo(5000))
})

test('lines are written while the process runs', async () => {
  const child = start(`log.info({ i: 0 }, 'line'); setInterval(() => {}, 1000)`)
  const [chunk] = await once(child.stdout, 'data')
  expect(numbers(String(chunk))).toEqual([0])
})

test.each([
  ['at once', 'process.exit(9)'],
  ['later', 'setTimeout(() => { log.info("still to nobody"); process.exit(9) }, 100)'],
])('a process whose reader is gone still works, and ends when told %s', async (_, exit) => {
  const child = start(`process.stdin.once('data', () => {
      for (let i = 0; i < 100; i++) log.info({ i }, 'to nobody')
      ${exit}
    })
    log.info({ i: 0 }, 'ready')`)
  await once(child.stdout, 'data')
  child.stdout.destroy()
  child.stdin.write('go\n')
  const [code] = await once(child, 'exit')
  expect(code).toBe(9)
})

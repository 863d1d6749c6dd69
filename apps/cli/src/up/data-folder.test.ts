import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from '@drover/service'
import { expect, onTestFinished, test } from 'vitest'
import { openDataFolder, socketPath } from './data-folder.ts'

const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-data-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A process that takes a folder for itself; what it says about it. */
const hold = (data: string) => {
  const module = fileURLToPath(new URL('data-folder.ts', import.meta.url))
  const body = `import { holdDataFolder, openDataFolder } from ${JSON.stringify(module)}
    try {
      const takenOver = await holdDataFolder(openDataFolder(${JSON.stringify(data)}))
      process.on('SIGTERM', () => process.exit(0))
      setInterval(() => {}, 1000)
      console.log(takenOver ? 'taken over' : 'mine')
    } catch (error) { console.log(error.message) }`
  const child = spawn(process.execPath, ['--input-type=module', '-e', body], { stdio: ['ignore', 'pipe', 'inherit'], env: childEnvironment({}) })
  onTestFinished(() => void child.kill('SIGKILL'))
  const said = new Promise<string>((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk).trim())))
  const end = (signal: NodeJS.Signals) => {
    const exit = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    return exit
  }
  return { said, end, pid: child.pid }
}

test('a folder has one holder: the second is told who it is, also by another name of the folder', async () => {
  const data = join(temporary(), 'data')
  const first = hold(data)
  expect(await first.said).toBe('mine')
  expect(await hold(data).said).toContain(`another "drover up" (process ${first.pid}) uses ${data}`)
  const link = `${data}-link`
  symlinkSync(data, link)
  expect(await hold(link).said).toContain(`process ${first.pid}`)
}, 30_000)

test('a holder that ended leaves nothing behind, and one that was killed leaves nothing that locks', async () => {
  const data = join(temporary(), 'data')
  const first = hold(data)
  await first.said
  await first.end('SIGTERM')
  expect(existsSync(join(data, 'up.sock'))).toBe(false)
  const second = hold(data)
  expect(await second.said).toBe('mine')
  await second.end('SIGKILL')
  expect(await hold(data).said).toBe('taken over')
}, 30_000)

test('of several that start at once over a dead holder’s socket one gets the folder', async () => {
  const data = join(temporary(), 'data')
  const dead = hold(data)
  await dead.said
  await dead.end('SIGKILL')
  const said = await Promise.all(Array.from({ length: 4 }, () => hold(data).said))
  expect(said.filter((text) => /^(mine|taken over)$/.test(text))).toHaveLength(1)
}, 30_000)

test('the data folder is for its owner alone, and one that cannot be made is a clear reason', () => {
  const folder = temporary()
  const data = openDataFolder(join(folder, 'a/b'))
  expect(statSync(data).mode & 0o777).toBe(0o700)
  writeFileSync(join(folder, 'file'), '')
  expect(() => openDataFolder(join(folder, 'file/data'))).toThrow(/cannot be made.*--data/)
})

test('a path that is too long for a socket is replaced by a short one, private and the same each time', () => {
  const data = join(temporary(), 'x'.repeat(100))
  expect(socketPath('/short', 'redis.sock')).toBe('/short/redis.sock')
  const path = socketPath(data, 'redis.sock')
  onTestFinished(() => rmSync(dirname(path), { recursive: true, force: true }))
  expect(Buffer.byteLength(path)).toBeLessThanOrEqual(100)
  expect(path).toBe(socketPath(data, 'redis.sock'))
  expect(path).not.toBe(socketPath(`${data}2`, 'redis.sock'))
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
  rmSync(dirname(socketPath(`${data}2`, 'redis.sock')), { recursive: true })
})

test('a short folder that others can write to is refused', () => {
  const data = join(temporary(), 'y'.repeat(100))
  const folder = dirname(socketPath(data, 'redis.sock'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o777)
  expect(() => socketPath(data, 'redis.sock')).toThrow(/open to others/)
})

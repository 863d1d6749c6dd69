import { spawnSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../support/drover.ts'
import { temporaryFolder } from './cli.ts'
import { type SetupProject, setupProject } from './setup-project.ts'

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const npmPid = async ({ folder }: SetupProject): Promise<number> => Number(await readFile(join(folder, 'npm.pid'), 'utf8').catch(() => 'NaN'))

test('a step that takes its time says how far it is, and when the set-up is killed npm ends too', async () => {
  const project = await setupProject()
  await writeFile(join(project.folder, 'package-lock.json'), JSON.stringify({ packages: { '': {}, 'node_modules/a': {}, 'node_modules/b': { os: ['none'] } } }))
  const killed = project.run(['start'], { NPM_MS: '60000' })
  await until('it says how far it is', () => /installing dependencies… \d+ s, 0 of 1 packages\n/.test(killed.output()))
  const pid = await npmPid(project)
  expect(alive(pid)).toBe(true)
  killed.signal('SIGKILL')
  await killed.exited
  await until('npm is gone', () => !alive(pid))
  expect(await project.run(['start']).exited).toBe(5)
})

test('a set-up that is told to end ends npm, starts nothing, and says that the next one goes on', async () => {
  const project = await setupProject()
  const told = project.run(['start'], { NPM_MS: '60000' })
  await until('npm runs', async () => (await npmPid(project)) > 0)
  told.signal('SIGINT')
  expect(await told.exited).toBe(130)
  expect(told.output()).toMatch(/interrupted; the next run goes on/)
  expect(told.output()).not.toContain('cli ')
  expect(alive(await npmPid(project))).toBe(false)
})

test.each([
  ['EAI_AGAIN', 'npm error request to https://registry failed, reason: getaddrinfo EAI_AGAIN registry', /network.*HTTPS_PROXY.*run this again/],
  ['E407', 'npm error 407 Proxy Authentication Required - GET https://registry', /proxy refused.*HTTPS_PROXY/],
  ['EINTEGRITY', 'npm error sha512-a integrity checksum failed when using sha512', /damaged.*run this again/],
  ['EACCES', "npm error Error: EACCES: permission denied, mkdir 'node_modules'", /must be writable for you/],
])('npm that fails with %s is passed on with what to do next', async (code, line, advice) => {
  const { run } = await setupProject()
  const noise = 'npm error errno -1\nnpm error     at emit (node:events:1:1)\nnpm error A complete log of this run can be found in: /x'
  const failed = run(['start'], { NPM_FAILS: `npm error code ${code}\n${line}\n${noise}\n` })
  expect(await failed.exited).toBe(1)
  expect(failed.output()).toContain(`npm ci failed (exit code 1):\n  code ${code}\n${line.replace('npm error', ' ')}\n`)
  expect(failed.output()).toMatch(advice)
  expect(failed.output()).not.toMatch(/errno|node:events|complete log/)
})

/** A file system of its own, of `megabytes`; undefined where we may not make one. */
const smallDisk = async (megabytes: number): Promise<{ folder: string; remount: (options: string) => void } | undefined> => {
  const folder = await temporaryFolder('disk')
  await mkdir(folder)
  const mount = (options: string) => spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'drover-test', folder]).status === 0
  if (!mount(`size=${megabytes}m`)) return undefined
  onTestFinished(() => void spawnSync('umount', ['--lazy', folder]))
  return { folder, remount: (options) => void mount(`remount,${options}`) }
}

test('a full disk, or one that cannot be written to, is named; with room the next run succeeds', async ({ skip }) => {
  const disk = await smallDisk(30)
  if (!disk) return skip('needs the right to mount a file system')
  const { run } = await setupProject(disk.folder)
  const full = run(['start'], { NPM_BYTES: '40000000' })
  expect(await full.exited).toBe(1)
  expect(full.output()).toMatch(/npm ci failed[^]*ENOSPC[^]*disk is full \(.*MB are free\): .*run this again/)
  disk.remount('ro')
  const readOnly = run(['start'])
  expect(await readOnly.exited).toBe(1)
  expect(readOnly.output()).toMatch(/EROFS[^]*must be writable/)
  disk.remount('rw,size=90m')
  expect(await run(['start'], { NPM_BYTES: '40000000' }).exited).toBe(5)
  disk.remount('ro')
  expect(await run(['start']).exited).toBe(5)
})

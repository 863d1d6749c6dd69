import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { until } from './drover.ts'
import { loopbackNetwork, noHosts, openNetwork, type Host } from './network.ts'
import { startProgram } from './program.ts'

const why = noHosts()
if (why !== undefined) process.stderr.write(`skipped: hosts on a network of their own: ${why}\n`)

/** What namespaces and bridges there are. */
const all = (): string => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }) + execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' })

/** A server on a host that says a letter every few milliseconds to whoever connects. */
const CHATTERER = "require('net').createServer((s) => { s.on('error', () => {}); setInterval(() => s.write('x'), 5) }).listen(4000)"

const startOn = async ({ within }: Host) => {
  const [program = '', ...args] = [...within, process.execPath, '-e', CHATTERER]
  return startProgram(program, args)
}

/** A connection to it that counts what it hears, and says whether it was told of an end. */
const listenTo = async ({ address }: Host) => {
  const heard = { bytes: 0, ended: false }
  await until('it listens', () => new Promise((resolve) => {
    const socket = connect(4000, address, () => {
      socket.on('data', ({ length }) => (heard.bytes += length)).on('close', () => (heard.ended = true))
      onTestFinished(() => void socket.destroy())
      resolve(true)
    }).on('error', () => resolve(false))
  }))
  return heard
}

test.skipIf(why !== undefined)('a cut cable tells nobody of it, and carries on when it is mended; a host whose power fails says no word more', async () => {
  const network = await openNetwork(2)
  onTestFinished(network.close)
  const [one, two] = network.hosts
  if (!one || !two) throw new Error('no hosts')
  const programs = await Promise.all([startOn(one), startOn(two)])
  const [heard, other] = await Promise.all([listenTo(one), listenTo(two)])
  await until('both are heard', () => heard.bytes > 10 && other.bytes > 10)
  one.cut()
  // What had come before is read, however late.
  let bytes = -1
  await until('it is silent', async () => {
    const before = heard.bytes
    await sleep(100)
    return (bytes = heard.bytes) === before
  })
  await sleep(150)
  expect(heard).toEqual({ bytes, ended: false })
  one.mend()
  await until('it is heard again', () => heard.bytes > bytes + 10)
  expect(one.processes()).toEqual([programs[0]?.pid])
  one.die()
  expect(await programs[0]?.exited).toBe('SIGKILL')
  await sleep(150)
  expect(heard.ended).toBe(false)
  expect(one.processes()).toEqual([])
  const before = other.bytes
  await until('the other host is untouched', () => other.bytes > before + 10)
  const names = network.hosts.map(({ within }) => within.at(-1) ?? '')
  expect(names.every((name) => all().includes(name))).toBe(true)
  await network.close()
  expect(names.filter((name) => all().includes(name))).toEqual([])
  expect(await programs[1]?.exited).toBe('SIGKILL')
})

test.skipIf(why !== undefined)('a test that is killed leaves neither hosts nor what ran on them', async () => {
  const source = `
    import { spawn } from 'node:child_process'
    import { openNetwork } from ${JSON.stringify(new URL('network.ts', import.meta.url).href)}
    const { hosts: [host] } = await openNetwork(1)
    const [program, ...args] = [...host.within, 'sleep', '600']
    spawn(program, args)
    console.log(host.within.at(-1))
    setInterval(() => {}, 1000)`
  const test = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [name] = (await once(test.stdout.setEncoding('utf8'), 'data')) as [string]
  const space = name.trim()
  const inside = () => execFileSync('ip', ['netns', 'pids', space], { encoding: 'utf8' }).split('\n').filter(Boolean).map(Number)
  await until('it runs there', () => inside().length === 1)
  const [pid = 0] = inside()
  test.kill('SIGKILL')
  await until('all is gone', () => !all().includes(space.slice(0, 7)))
  // Who has ended keeps its place until its parent asks for it.
  const state = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tZ')
  expect(state).toMatch(/^State:\s+Z/m)
})

test('on the loopback hosts are told apart by what runs on them', async () => {
  const network = loopbackNetwork(2)
  onTestFinished(network.close)
  const programs = await Promise.all(network.hosts.map(async ({ within: [program = '', ...args] }) => startProgram(program, [...args, 'sleep', '600'])))
  await until('both run', () => network.hosts.every((host) => host.processes().length === 1))
  expect(network.hosts.map((host) => host.processes())).toEqual(programs.map(({ pid }) => [pid]))
  network.hosts[0]?.die()
  expect(await programs[0]?.exited).toBe('SIGKILL')
  expect(programs[1]?.running()).toBe(true)
  expect(() => network.hosts[0]?.cut()).toThrow('no host has a cable')
})

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { COMMANDS, type Role, roleRules, userFile } from './roles.ts'

const bullmq = createRequire(import.meta.url).resolve('bullmq')

/** BullMQ's scripts and ours, by the role that sends them. */
const SCRIPTS: Record<Role, { bullmq: string[]; own: string[] }> = {
  gateway: { bullmq: ['addPrioritizedJob-9', 'removeJob-2', 'moveStalledJobsToWait-9'], own: ['submit', 'settle', 'read', 'progress', 'view', 'heartbeat', 'nodes', 'sweep'] },
  worker: {
    bullmq: ['moveToActive-11', 'moveToFinished-14', 'moveJobFromActiveToWait-9', 'removeJob-2', 'moveStalledJobsToWait-9'],
    own: ['take', 'append', 'settle', 'release', 'renew', 'reclaim', 'view', 'heartbeat', 'nodes', 'sweep'],
  },
}

const commandsIn = (script: string): string[] => [...script.matchAll(/(?:rcall|redis\.p?call)\(\s*["'](\w+)["']/g)].map(([, command = '']) => command.toLowerCase())

test.each(['gateway', 'worker'] as const)('a %s may do what its scripts do, and publish where they do', (role) => {
  const { bullmq: theirs, own } = SCRIPTS[role]
  const sources = [
    ...theirs.map((name) => readFileSync(new URL(`./scripts/${name}.js`, `file://${bullmq}`), 'utf8')),
    ...['job', ...own].map((name) => readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8')),
  ]
  const wanted = new Set(sources.flatMap(commandsIn))
  expect(wanted.size).toBeGreaterThan(20)
  expect([...wanted].filter((command) => command !== 'publish' && !COMMANDS[role].includes(command))).toEqual([])
})

test('no role has a command that reaches beyond keys', () => {
  for (const command of ['flushall', 'flushdb', 'config', 'keys', 'scan', 'shutdown', 'acl', 'debug', 'monitor', 'replicaof', 'save', 'client', 'script', 'function', 'migrate']) {
    for (const role of ['gateway', 'worker'] as const) expect(COMMANDS[role]).not.toContain(command)
  }
})

const patterns = (role: Role) => roleRules(role, '{p}').filter((rule) => /^(~|%|&)/.test(rule))

test('a worker’s rules name its keys one kind at a time, a gateway’s all of the prefix, and both nothing else', () => {
  expect(patterns('gateway')).toEqual(['~{p}:*', '&{p}:replies:*'])
  expect(patterns('worker')).toEqual(expect.arrayContaining(['%R~{p}:gateway:*', '%R~{p}:drained']))
  expect(patterns('worker').every((rule) => /^(~|%R~|&)\{p\}:\w/.test(rule))).toBe(true)
})

test('the file of users holds hashes, no password, and nobody comes in without one', () => {
  const text = userFile({ owner: 'o'.repeat(32), gateway: 'g'.repeat(32), worker: 'w'.repeat(32) }, '{p}')
  expect(text).not.toMatch(/o{32}|g{32}|w{32}/)
  expect(text.split('\n')[0]).toBe('user default reset off')
  expect(text.match(/#[\da-f]{64}/g)).toHaveLength(3)
})

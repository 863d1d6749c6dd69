import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { keys } from './keys.ts'
import { COMMANDS, type Role, roleRules, userFile } from './roles.ts'

const bullmq = createRequire(import.meta.url).resolve('bullmq')

const OF_WEBHOOKS = ['webhook', 'enlist', 'delist', 'dispatch', 'delivered', 'redeliver']
const OF_RESPONSES = ['responses', 'response_keep', 'response_read', 'response_seal', 'response_chain', 'response_drop']
const OF_LOANS = ['loan', 'loan_borrow', 'loan_renew', 'loan_release', 'loan_want', 'loan_list', 'loan_tell']
const OF_BATCHES = ['batch', 'file_add', 'file_trash', 'file_drop', 'file_sweep', 'batch_add', 'batch_claim', 'batch_hold', 'batch_turn', 'batch_commit', 'batch_cancel', 'batch_finish', 'batch_forget']

/** BullMQ's scripts and ours, by the role that sends them. */
const SCRIPTS: Record<Role, { bullmq: string[]; own: string[] }> = {
  gateway: {
    bullmq: ['addPrioritizedJob-9', 'removeJob-2', 'moveStalledJobsToWait-9'],
    own: [
      'submit', 'settle', 'follow', 'read', 'progress', 'inspect', 'drop', 'claim', 'view', 'heartbeat', 'nodes', 'sweep', 'announce', 'key', 'awaited', 'refuse', 'forget', 'desired_put', 'desired_turn',
      ...OF_BATCHES, ...OF_WEBHOOKS, ...OF_RESPONSES,
    ],
  },
  worker: {
    bullmq: ['moveToActive-11', 'moveToFinished-14', 'moveJobFromActiveToWait-9', 'removeJob-2', 'moveStalledJobsToWait-9'],
    own: ['take', 'append', 'settle', 'release', 'renew', 'reclaim', 'view', 'heartbeat', 'nodes', 'sweep', ...OF_LOANS],
  },
}

const commandsIn = (script: string): string[] => [...script.matchAll(/(?:rcall|redis\.p?call)\(\s*["'](\w+)["']/g)].map(([, command = '']) => command.toLowerCase())

test.each(['gateway', 'worker'] as const)('a %s may do what its scripts do, and publish where they do', (role) => {
  const { bullmq: theirs, own } = SCRIPTS[role]
  const sources = [
    ...theirs.map((name) => readFileSync(new URL(`./scripts/${name}.js`, `file://${bullmq}`), 'utf8')),
    ...['limit', 'job', ...own].map((name) => readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8')),
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
  expect(patterns('gateway')).toEqual(['~{p}:*', '&{p}:replies:*', '&{p}:apikeys:changed'])
  expect(patterns('worker')).toEqual(expect.arrayContaining(['%R~{p}:gateway:*', '%R~{p}:drained']))
  expect(patterns('worker').every((rule) => /^(~|%[RW]~|&)\{p\}:\w/.test(rule))).toBe(true)
})

/** The rules by which a worker reaches a key. */
const reaching = (key: string) => patterns('worker').filter((rule) => new RegExp(`^${rule.replace(/^.*?~/, '').replaceAll(/[{}]/g, '\\$&').replaceAll('*', '.*')}$`).test(key))

test('a worker reads neither the secret of a webhook nor what one is told: only whether an owner has some', () => {
  const named = keys('{p}')
  for (const key of [named.webhook('w'), named.webhooks, named.due, named.pending('w'), named.past('w'), named.delivery('w', 'e'), named.claimed('t')]) expect([key, reaching(key)]).toEqual([key, []])
  expect(reaching(named.webhooksOf('o'))).toEqual(['%R~{p}:webhooks:*'])
  expect(reaching(named.outbox)).toEqual(['%W~{p}:outbox'])
})

test('the file of users holds hashes, no password, and nobody comes in without one', () => {
  const text = userFile({ owner: 'o'.repeat(32), gateway: 'g'.repeat(32), worker: 'w'.repeat(32) }, '{p}')
  expect(text).not.toMatch(/o{32}|g{32}|w{32}/)
  expect(text.split('\n')[0]).toBe('user default reset off')
  expect(text.match(/#[\da-f]{64}/g)).toHaveLength(3)
})

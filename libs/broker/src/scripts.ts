import { readFileSync } from 'node:fs'
import { addPrioritizedJob } from 'bullmq/dist/cjs/scripts/addPrioritizedJob-9.js'
import { moveToActive } from 'bullmq/dist/cjs/scripts/moveToActive-11.js'
import { moveToFinished } from 'bullmq/dist/cjs/scripts/moveToFinished-14.js'
import type { Redis } from 'ioredis'
import { ALLOW_OOM } from './connection.ts'

/** Scripts that have something in common: `lua/<name>.lua` is included before each. */
const OF = {
  batch: ['file_add', 'file_trash', 'file_drop', 'file_sweep', 'batch_add', 'batch_claim', 'batch_hold', 'batch_turn', 'batch_commit', 'batch_cancel', 'batch_finish', 'batch_forget'],
  webhook: ['dispatch', 'delivered', 'redeliver'],
  responses: ['response_keep', 'response_read', 'response_seal', 'response_chain', 'response_drop'],
  loan: ['loan_borrow', 'loan_renew', 'loan_release', 'loan_want', 'loan_list', 'loan_tell'],
} as const
const names = [
  'submit', 'take', 'append', 'settle', 'follow', 'release', 'renew', 'reclaim', 'read', 'progress', 'inspect', 'drop', 'claim', 'pulls', 'view', 'heartbeat', 'nodes', 'sweep', 'key', 'announce',
  'enlist', 'delist', 'awaited', 'refuse', 'forget', 'desired_put', 'desired_turn',
  ...OF.batch, ...OF.webhook, ...OF.responses, ...OF.loan,
] as const
export type ScriptName = (typeof names)[number]

/** Runs one of `lua/*.lua`. Each lists its KEYS, ARGV and answers on top, and may be sent twice. */
export type Scripts = Record<ScriptName, (keys: string[], args: (string | number)[]) => Promise<unknown>>

/**
 * BullMQ's own scripts, by deep import (BullMQ is pinned exactly), as functions of the scripts that call them: a step of ours and one
 * of BullMQ's then happen both or neither, and in one round trip.
 */
const within: Partial<Record<ScriptName, readonly { name: string; content: string }[]>> = {
  submit: [addPrioritizedJob],
  take: [moveToActive],
  append: [moveToFinished],
}
const asFunction = ({ name, content }: { name: string; content: string }) => `local function bullmq_${name}(KEYS, ARGV)\n${content}\nend\n`

/** What some scripts have in common, behind what all have. */
const besides = (name: ScriptName): string =>
  Object.entries(OF).flatMap(([part, some]) => ((some as readonly string[]).includes(name) ? [source(part)] : [])).join('\n')

/**
 * What is new to Redis: with these it is refused when the memory is full. All that goes on with what is there, or ends it, runs. So does
 * `key`: whoever revokes one cannot wait.
 */
const ADMITS: ReadonlySet<ScriptName> = new Set<ScriptName>(['submit', 'response_keep', 'claim', 'pulls', 'file_add', 'batch_add', 'enlist', 'desired_put'])

const source = (name: string) => readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8')

type Run = (...args: (string | number)[]) => Promise<unknown>

/** @param scriptFlags Redis knows them: then only what is new is refused when its memory is full */
export const scripts = (redis: Redis, { scriptFlags = false } = {}): Scripts => {
  const common = `${source('limit')}\n${source('job')}`
  const defined = redis as unknown as Record<string, Run>
  return Object.fromEntries(
    names.map((name) => {
      const command = `drover:${name}`
      const flags = scriptFlags && !ADMITS.has(name) ? ALLOW_OOM : ''
      redis.defineCommand(command, { lua: `${flags}${(within[name] ?? []).map(asFunction).join('')}${common}\n${besides(name)}\n${source(name)}` })
      return [name, (keys: string[], args: (string | number)[]) => defined[command]!(keys.length, ...keys, ...args)]
    }),
  ) as Scripts
}

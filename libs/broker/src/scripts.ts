import { readFileSync } from 'node:fs'
import { addPrioritizedJob } from 'bullmq/dist/cjs/scripts/addPrioritizedJob-9.js'
import { moveToActive } from 'bullmq/dist/cjs/scripts/moveToActive-11.js'
import { moveToFinished } from 'bullmq/dist/cjs/scripts/moveToFinished-14.js'
import type { Redis } from 'ioredis'
import { ALLOW_OOM } from './connection.ts'

const names = ['submit', 'take', 'append', 'settle', 'follow', 'release', 'renew', 'reclaim', 'read', 'progress', 'view', 'heartbeat', 'nodes', 'sweep'] as const
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

const source = (name: string) => readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8')

type Run = (...args: (string | number)[]) => Promise<unknown>

/** @param scriptFlags Redis knows them: then only new jobs are refused when its memory is full, and all that ends jobs goes on */
export const scripts = (redis: Redis, { scriptFlags = false } = {}): Scripts => {
  const common = source('job')
  const defined = redis as unknown as Record<string, Run>
  return Object.fromEntries(
    names.map((name) => {
      const command = `drover:${name}`
      const flags = scriptFlags && name !== 'submit' ? ALLOW_OOM : ''
      redis.defineCommand(command, { lua: `${flags}${(within[name] ?? []).map(asFunction).join('')}${common}\n${source(name)}` })
      return [name, (keys: string[], args: (string | number)[]) => defined[command]!(keys.length, ...keys, ...args)]
    }),
  ) as Scripts
}

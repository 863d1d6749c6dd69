import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'

const names = ['submit', 'begin', 'append', 'settle', 'release', 'renew', 'reclaim', 'read', 'progress', 'view', 'heartbeat', 'nodes', 'sweep'] as const
export type ScriptName = (typeof names)[number]

/** Runs one of `lua/*.lua`. Each lists its KEYS, ARGV and answers on top, and may be sent twice. */
export type Scripts = Record<ScriptName, (keys: string[], args: (string | number)[]) => Promise<unknown>>

const source = (name: string) => readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8')

type Run = (...args: (string | number)[]) => Promise<unknown>

export const scripts = (redis: Redis): Scripts => {
  const common = source('job')
  const defined = redis as unknown as Record<string, Run>
  return Object.fromEntries(
    names.map((name) => {
      const command = `drover:${name}`
      redis.defineCommand(command, { lua: `${common}\n${source(name)}` })
      return [name, (keys: string[], args: (string | number)[]) => defined[command]!(keys.length, ...keys, ...args)]
    }),
  ) as Scripts
}

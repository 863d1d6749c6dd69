import { compareVersions, olderThan, readVersion } from './versions.ts'

/**
 * First repaired release of each branch (`major.minor`), by the project's own advisory. A branch older than all of these has no repair,
 * one newer than all of them has it from its first release.
 */
type Repaired = Readonly<Record<string, string>>

interface Hole {
  id: string
  what: string
  /** Whether a version has it. */
  has(version: string): boolean
}

const byBranch = (repaired: Repaired) => (version: string): boolean => {
  const own = readVersion(version)
  if (!own) return false
  const first = repaired[own.slice(0, 2).join('.')]
  if (first !== undefined) return olderThan(version, first)
  const newest = Object.values(repaired).map((text) => readVersion(text) ?? []).toSorted(compareVersions).at(-1) ?? []
  return compareVersions(own, newest) < 0
}

/** Lua cannot be switched off: every state change of Drover is a script. */
const LUA = 'code execution through Lua scripts'

const redisHoles: readonly Hole[] = [
  { id: 'CVE-2025-49844', what: LUA, has: byBranch({ '6.2': '6.2.20', '7.2': '7.2.11', '7.4': '7.4.6', '8.0': '8.0.4', '8.2': '8.2.2' }) },
  {
    id: 'CVE-2026-23479',
    what: 'memory corruption when a blocked client is woken',
    has: (version) => !olderThan(version, '7.2.0') && olderThan(version, '8.6.3'),
  },
]
const valkeyHoles: readonly Hole[] = [{ id: 'CVE-2025-49844', what: LUA, has: byBranch({ '7.2': '7.2.11', '8.0': '8.0.6', '8.1': '8.1.4' }) }]

const ollamaHoles: readonly Hole[] = [
  { id: 'CVE-2026-7482', what: 'a crafted model file makes it send out its memory', has: (version) => olderThan(version, '0.17.1') },
]

/** The build number of `b11669-Debian`. */
const build = (version: string): number | undefined => {
  const [, number] = /^b(\d+)/.exec(version) ?? []
  return number === undefined ? undefined : Number(number)
}

/** The oldest build that is known to have both repairs (August 2026, the one that Ollama 0.33 carries). */
const LLAMA_BUILD = 10_488
const oldBuild = (version: string): boolean => (build(version) ?? Infinity) < LLAMA_BUILD
const llamaHoles: readonly Hole[] = [
  { id: 'CVE-2026-21869', what: 'a negative n_discard writes outside of memory', has: oldBuild },
  { id: 'llama.cpp #24496', what: 'it may go on generating when the client has left', has: oldBuild },
]

const lists = { Redis: redisHoles, Valkey: valkeyHoles, ollama: ollamaHoles, 'llama-server': llamaHoles } as const

/** Known holes of a version, for people; empty when there are none, or none are known. */
export const holesOf = (program: keyof typeof lists, version: string): string[] =>
  lists[program].filter(({ has }) => has(version)).map(({ id, what }) => `${id} (${what})`)

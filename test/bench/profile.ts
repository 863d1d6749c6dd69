import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { table } from './report.ts'

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  timeDeltas: number[]
}

const shortUrl = (url: string): string => url.replace(/^.*\/node_modules\//, '').replace(/^.*\/(?=(?:apps|libs)\/)/, '')

/** The functions in which a process spent most of its own time, by the profile that Node's `--cpu-prof` left. */
export const dearest = (path: string, most = 30): { busyMs: number; functions: { name: string; ms: number; share: number }[] } => {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(path, 'utf8')) as Profile
  const names = new Map(nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [id, `${functionName || '(anonymous)'} ${shortUrl(url)}${url ? `:${lineNumber + 1}` : ''}`]))
  const own = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const name = names.get(id) ?? ''
    own.set(name, (own.get(name) ?? 0) + (timeDeltas[i] ?? 0) / 1000)
  }
  own.delete('(idle) ')
  const busyMs = [...own.values()].reduce((sum, ms) => sum + ms, 0)
  const functions = [...own].map(([name, ms]) => ({ name, ms, share: ms / busyMs })).toSorted((a, b) => b.ms - a.ms)
  return { busyMs, functions: functions.slice(0, most) }
}

export const profileTables = (dir: string): string =>
  readdirSync(dir)
    .filter((file) => file.endsWith('.cpuprofile'))
    .map((file) => {
      const { busyMs, functions } = dearest(join(dir, file))
      const rows = functions.map(({ name, ms, share }) => [name, ms.toFixed(0), `${(100 * share).toFixed(1)} %`])
      return table([`${file}: ${(busyMs / 1000).toFixed(1)} s of work, by function`, 'own ms', 'share'], rows)
    })
    .join('\n\n')

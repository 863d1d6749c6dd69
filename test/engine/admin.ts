import { noCounts, withTag, type LibraryModel, type ModelCounts } from './library.ts'
import type { ModelOptions } from './options.ts'
import type { Script } from './script.ts'
import type { EngineStats, JobStats } from './stats.ts'

/** What a test does to a running engine. Every call has taken effect when it resolves. */
export interface EngineAdmin {
  /** What requests meet from now on: those of `key`, or all. A new script replaces the old one; `undefined` takes it away. */
  set(script: Script | undefined, key?: string): Promise<void>
  /** Lets go of holds and stalls, of `key` or of all, those of running requests that are still to come included. */
  release(key?: string): Promise<void>
  /** Takes all rules away, releases everything and begins to count anew. */
  reset(): Promise<void>
  /** Replaces what the engine holds. */
  models(models: (string | ModelOptions)[]): Promise<void>
  /** Replaces what it can pull. */
  library(models: LibraryModel[]): Promise<void>
  /** Cuts the connections of all pulls. */
  breakOff(): Promise<void>
  /** What was asked about a model of this name; zeros for one never asked about. */
  managed(name: string): Promise<ModelCounts>
  /** Ends the engine at once, connections cut. */
  die(): Promise<void>
  stats(): Promise<EngineStats>
  /** Counts of one job; zeros for one never seen. */
  job(key: string): Promise<JobStats>
}

export const engineAdmin = (url: string): EngineAdmin => {
  const post = async (body: Record<string, unknown>) => {
    const answer = await fetch(new URL('/__engine', url), { method: 'POST', body: JSON.stringify(body) })
    const { error } = (await answer.json()) as { error?: string }
    if (error !== undefined) throw new Error(`the scripted engine refused: ${error}`)
  }
  const stats = async (query = '') => {
    const answer = await fetch(new URL(`/__engine/stats${query}`, url))
    if (!answer.ok) throw new Error(`the scripted engine refused: ${await answer.text()}`)
    return (await answer.json()) as EngineStats
  }
  return {
    set: (script, key) => post({ set: script ?? null, ...(key !== undefined && { key }) }),
    release: (key) => post({ release: true, ...(key !== undefined && { key }) }),
    reset: () => post({ reset: true }),
    models: (models) => post({ models }),
    library: (library) => post({ library }),
    breakOff: () => post({ breakOff: true }),
    managed: async (name) => {
      const { management } = (await stats()) as EngineStats & { management: Record<string, ModelCounts> }
      return management[withTag(name)] ?? noCounts()
    },
    die: () => post({ die: true }),
    stats: () => stats(),
    async job(key) {
      const { jobs } = await stats(`?key=${encodeURIComponent(key)}`)
      const job = jobs[key]
      if (!job) throw new Error(`the scripted engine does not count job ${key}`)
      return job
    },
  }
}

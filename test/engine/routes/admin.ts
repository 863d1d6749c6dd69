import type { EngineContext } from '../context.ts'
import type { LibraryModel } from '../library.ts'
import { toModel, type ModelOptions } from '../options.ts'
import { readScript } from '../script.ts'

/** Applies one admin command. @throws Error that says what is wrong with it */
export const command = (context: EngineContext, value: unknown) => {
  if (typeof value !== 'object' || value === null) throw new Error('a command is a JSON object')
  const { key, set, release, reset, models, library, breakOff, die, ...unknown } = value as Record<string, unknown>
  const [stranger] = Object.keys(unknown)
  if (stranger !== undefined) throw new Error(`"${stranger}" is not a command`)
  if (key !== undefined && typeof key !== 'string') throw new Error('"key" is a text')
  const { rules, runs, stats, residency, settings } = context
  if (reset === true) {
    rules.clear()
    for (const run of runs) run.release()
    stats.reset()
  }
  if (set !== undefined) rules.set(set === null ? undefined : readScript(set), key)
  if (release === true) {
    rules.release(key)
    for (const run of runs) if (key === undefined || run.key === key) run.release()
  }
  if (Array.isArray(models)) residency.setModels(models.map((model: string | ModelOptions) => toModel(model, settings)))
  if (Array.isArray(library)) context.library.set(library as LibraryModel[])
  if (breakOff === true) for (const response of context.library.open) response.destroy()
  if (die === true) setImmediate(() => context.die())
}

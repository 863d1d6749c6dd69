import type { ModelName } from '@drover/core'
import type { Engine } from './engine.ts'

/** The engine, as if it held no other models than these. */
export const onlyModels = (engine: Engine, models: readonly ModelName[]): Engine => {
  const allowed = new Set(models)
  return {
    ...engine,
    only: models,
    // It may learn another dialect with its first look.
    get speaks() {
      return engine.speaks
    },
    async look(signal) {
      const view = await engine.look(signal)
      // What else it has in memory stays listed: it takes its place there all the same.
      return { ...view, held: view.held.filter(({ model }) => allowed.has(model)) }
    },
  }
}

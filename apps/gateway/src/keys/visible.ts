import type { Caller } from '@drover/core'
import type { View } from '../registry-view.ts'

/** The registry as a caller may see it: with the models that it may use, and no others. */
export const visibleTo = ({ allowsModel }: Pick<Caller, 'allowsModel'>, view: View): View =>
  allowsModel === undefined
    ? view
    : {
        nodes: view.nodes.map((node) => ({
          ...node,
          ...(node.clusters && { clusters: node.clusters.filter(({ model }) => allowsModel(model)) }),
          ...(node.shortOf && { shortOf: node.shortOf.filter(({ model }) => allowsModel(model)) }),
          engines: node.engines.map((engine) => ({
            ...engine,
            held: engine.held.filter(({ model }) => allowsModel(model)),
            loaded: engine.loaded.filter(({ model }) => allowsModel(model)),
            busy: Object.fromEntries(Object.entries(engine.busy).filter(([model]) => allowsModel(model))),
          })),
        })),
        holders: new Map([...view.holders].filter(([model]) => allowsModel(model))),
        short: new Map([...view.short].filter(([model]) => allowsModel(model))),
        resolve: async (asked) => {
          const model = await view.resolve(asked)
          return model !== undefined && allowsModel(model) ? model : undefined
        },
      }
